"""Inserting: a new module takes the place of another, which it keeps inside. The model around it does not notice."""

from collections.abc import MutableMapping, MutableSequence
from typing import NamedTuple

from ..nn import Linear, Module


class Wrapper(Module):
    """In the place of `inner`, whose parameters keep their names; the new ones, of `added`, are named beside them.

    In the place of `blocks.0.attn.qkv`, the weight is still `blocks.0.attn.qkv.weight`, and new is `blocks.0.attn.qkv.lora.q.A`.
    """

    label = None      # what it is called in a message

    def __init__(self, inner):
        self.inner = inner

    @property
    def kind(self):
        return self.inner.kind

    def added(self):
        """Yield (name, Parameter or Module) of what is new."""
        raise NotImplementedError

    def children(self):
        yield from self.inner.children()
        yield from self.added()

    def added_parameters(self):
        for _, part in self.added():
            yield from part.parameters().values()

    def kept_fixed(self):
        """The parameters of its own that stay as they were learned when part of the way is gone back; others go in their place.

        Of a product of which one factor began as zero, that one alone is the measure of the change.
        """
        return []

    def interpolate_added(self, start, keep):
        """Let only the part `keep` be left of what the own parameters have changed: of the function here, wherever that can be.

        start {Parameter: array}, of those of its own that train, as they were at first.
        """
        for p in start.keys() - set(self.kept_fixed()):
            interpolate_parameter(p, start[p], keep)


def interpolate_parameter(p, start, keep):
    """theta <- start + keep (theta - start)"""
    p.data[...] = start + keep * (p.data - start)


class Slot(NamedTuple):
    """A place in a model where a module is, and another could be: holder[key]."""

    path: str
    holder: MutableMapping | MutableSequence
    key: str | int

    @property
    def module(self):
        return self.holder[self.key]

    def put(self, module):
        self.holder[self.key] = module


def slots(module, path=""):
    """Yield the slot of every module of the body below one, the outer before the inner. A wrapper and its inner have one path."""
    if isinstance(module, Wrapper):
        below = [(path, vars(module), "inner")]
    else:
        below = [(join(path, name), vars(module), name) for name, value in vars(module).items() if isinstance(value, Module)]
        below += [(join(path, f"{name}.{i}"), value, i) for name, value in vars(module).items() if isinstance(value, list)
                  for i, item in enumerate(value) if isinstance(item, Module)]
    for slot in map(Slot._make, below):
        yield slot
        yield from slots(slot.module, slot.path)


def join(path, name):
    return f"{path}.{name}" if path else name


def innermost(module):
    """What stood in the place of a module before anything was inserted there."""
    while isinstance(module, Wrapper):
        module = module.inner
    return module


def parts(block, kind):
    """[(path, module)] of all modules of a class inside a block, wrapped or not."""
    return [(path, innermost(module)) for path, module in block.modules() if isinstance(innermost(module), kind)]


def linear_maps(block):
    """{name: (path, the Linear that has it)} of the linear maps of a block, such as q, k and v, which are side by side in one."""
    return {name: (path, linear) for path, linear in parts(block, Linear) for name in linear.maps if name}


def slot_at(model, path):
    """The place of a dotted path, such as `blocks.0.attn.qkv`. ValueError if there is none, or something was inserted there."""
    slot = next((slot for slot in slots(model) if slot.path == path), None)
    if slot is None:
        raise ValueError(f"the model has no {path}")
    if isinstance(slot.module, Wrapper):
        raise ValueError(f"{path} has a {slot.module.label} already; merge it into the weights, or begin from the base")
    return slot


def inserted(model):
    """The slots of all that was inserted, the outer before the inner."""
    return [slot for slot in slots(model) if isinstance(slot.module, Wrapper)]
