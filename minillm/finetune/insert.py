"""Inserting: a new module takes the place of another, which it keeps inside. The model around it does not notice."""

from collections.abc import MutableMapping, MutableSequence
from typing import NamedTuple

from ..nn import Module


class Wrapper(Module):
    """In the place of `inner`, whose parameters keep their names; the new ones, of `own`, are named beside them.

    In the place of `blocks.0.attn.qkv`, the weight is still `blocks.0.attn.qkv.weight`, and new is `blocks.0.attn.qkv.lora.q.A`.
    """

    label = None      # what it is called in a message

    def __init__(self, inner):
        self.inner = inner

    def own(self):
        """Yield (name, Parameter or Module) of what is new."""
        raise NotImplementedError

    def children(self):
        yield from self.inner.children()
        yield from self.own()

    def new_parameters(self):
        for _, part in self.own():
            yield from part.parameters().values()

    def stays(self):
        """The parameters of its own that stay as they were learned when part of the way is gone back; others go in their place.

        Of a product of which one factor began as zero, that one alone is the measure of the change.
        """
        return []

    def go_back(self, start, keep):
        """Let only the part `keep` be left of what the own parameters have changed: of the function here, wherever that can be.

        start {Parameter: array}, of those of its own that train, as they were at first.
        """
        for p in start.keys() - set(self.stays()):
            towards(p, start[p], keep)


def towards(p, start, keep):
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
    """Yield the slot of every module below one, the outer before the inner. What is inserted and its inner have one path."""
    for name, value in list(vars(module).items()):
        if isinstance(value, Module):
            found = [(path if isinstance(module, Wrapper) else join(path, name), vars(module), name)]
        elif isinstance(value, list):
            found = [(join(path, f"{name}.{i}"), value, i) for i, item in enumerate(value) if isinstance(item, Module)]
        else:
            found = []
        for slot in map(Slot._make, found):
            yield slot
            yield from slots(slot.module, slot.path)


def join(path, name):
    return f"{path}.{name}" if path else name


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
