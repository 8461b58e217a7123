"""Merging: inserted modules are folded into the weights, so that the model is as small and as fast as its base again."""

import numpy as np

from .wrapper import inserted


class Merged:
    """What `merge` has changed, so that it can be undone."""

    def __init__(self):
        self.replaced = []          # (slot, the wrapper that was there, weight and bias of the body before)

    def undo(self):
        """Put back the wrappers and the weights, bit for bit. (Subtracting what was added would leave rounding errors.)"""
        for slot, wrapper, W, b in reversed(self.replaced):
            write(wrapper.inner, W, b)
            slot.put(wrapper)
        self.replaced = []


def merge(model):
    """Fold all inserted modules into the weights of the body, in place. Returns a `Merged` that can undo it.

    This is possible if a linear layer together with what was inserted is again a linear layer with weights of its own: LoRA,
    DoRA, (IA)^3. Not `head`: the table of words, which its weights would replace, is also read on the way in. ValueError if
    nothing is inserted, or something that cannot be merged; the model is then unchanged.
    """
    inserted_slots = inserted(model)
    if not inserted_slots:
        raise ValueError("there is nothing to merge: nothing was inserted into this model")
    for slot in inserted_slots:
        if not slot.module.mergeable:
            raise ValueError(f"the {slot.module.label} at {slot.path} cannot be merged: no other weights of the layer there "
                             "would do the same")
    merged = Merged()
    for slot in inserted_slots:
        wrapper = slot.module
        linear = wrapper.inner
        merged.replaced.append((slot, wrapper, linear.weight.data.copy(), np.copy(linear.bias_or_zero())))
        write(linear, *wrapper.merged())
        slot.put(wrapper.inner)
    return merged


def write(linear, W, b):
    """Give a Linear other numbers; b counts only if it has a bias."""
    linear.weight.data[...] = W
    if linear.bias is not None:
        linear.bias.data[...] = b
