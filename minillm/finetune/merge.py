"""Merging: what was inserted is folded into the weights, so that the model is as small and as quick as its base again."""

from .wrapper import inserted


class Merged:
    """What `merge` has changed, to be undone."""

    def __init__(self):
        self.kept = []          # (slot, what stood there, its weight before, its bias before)

    def undo(self):
        """Put back what was merged, and the very bits of the weights. (To subtract what was added would leave rounding.)"""
        for slot, module, W, b in reversed(self.kept):
            module.inner.weight.data[...], module.inner.bias.data[...] = W, b
            slot.put(module)
        self.kept = []


def merge(model):
    """Fold all that was inserted into the weights of the body, in place. Returns a `Merged` that can undo it.

    It can be done where the inserted structure is linear in what the layer reads: LoRA, DoRA, (IA)^3. ValueError if there is
    nothing to merge, or something of another kind; the model is then left as it was.
    """
    found = inserted(model)
    if not found:
        raise ValueError("there is nothing to merge: nothing was inserted into this model")
    for slot in found:
        if not hasattr(slot.module, "merged"):
            raise ValueError(f"the {slot.module.label} at {slot.path} cannot be merged: what it adds is no linear function of "
                             "what the layer there reads, so no other weights of that layer do the same")
    result = Merged()
    for slot in found:
        module = slot.module
        W, b = module.merged()
        weight, bias = module.inner.weight.data, module.inner.bias.data
        result.kept.append((slot, module, weight.copy(), bias.copy()))
        weight[...], bias[...] = W, b
        slot.put(module.inner)
    return result
