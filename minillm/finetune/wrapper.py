"""Inserting: a new module takes the place of another, which it keeps inside. The model around it does not notice."""

from collections.abc import MutableMapping, MutableSequence
from typing import NamedTuple

from ..ground.schema import article
from ..nn import Linear, Module


class Wrapper(Module):
    """A module in the place of `inner`, whose parameters keep their names; those of `added` are named beside them.

    In the place of `blocks.0.attn.qkv`, the weight is still `blocks.0.attn.qkv.weight`, and new is `blocks.0.attn.qkv.lora.q.A`.
    """

    label = None                    # what it is called in a message
    can_be_identity = True          # are there values of what is added, phi_0, at which it changes nothing?
    mergeable = False               # if True, `merged` gives the weight and bias of a plain linear layer that does the same

    def __init__(self, inner):
        self.inner = inner

    @property
    def kind(self):
        return self.inner.kind

    def added(self):
        """Yield (name, Parameter or Module) of what is new. All of it trains, and a file holds nothing else: random numbers that
        stay as they are would be others when the file is read.
        """
        raise NotImplementedError

    def children(self):
        yield from self.inner.children()
        yield from self.added()

    def forward_cached(self, x, kv_cache):
        """Each wrapper must say itself how it reads on: the form of `Module` would pass no KV cache on to an attention inside."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it reads on with a KV cache")

    def added_parameters(self):
        for _, part in self.added():
            yield from part.parameters().values()

    def not_interpolated(self):
        """The added parameters that an interpolation towards the start leaves as they were learned.

        Of a product in which one factor started at zero, only that factor goes back: it alone scales the product.
        """
        return []

    def interpolate_added(self, start, keep):
        """Go back towards the start until the fraction `keep` of the change is left: of the function, where that is possible.

        start   {Parameter: array}, what the added parameters that train were at first
        """
        for p in start.keys() - set(self.not_interpolated()):
            interpolate_parameter(p, start[p], keep)


def interpolate_parameter(p, start, keep):
    """theta <- start + keep (theta - start)"""
    p.data[...] = start + keep * (p.data - start)


class Slot(NamedTuple):
    """A place in a model that holds a module, and could hold another: holder[key]."""

    path: str
    holder: MutableMapping | MutableSequence
    key: str | int

    @property
    def module(self):
        return self.holder[self.key]

    def put(self, module):
        self.holder[self.key] = module


def slots(module, path=""):
    """Yield the slots of all modules inside a module, the outer before the inner. A wrapper and its inner have the same path.

    ValueError if modules are in a tuple, where none can be replaced.
    """
    for name, value in vars(module).items():
        if isinstance(value, tuple) and any(isinstance(item, Module) for item in value):
            raise ValueError(f"{join(path, name)} is a tuple of layers, into which nothing can be inserted; make it a list")
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
    """The module that was there before anything was inserted."""
    while isinstance(module, Wrapper):
        module = module.inner
    return module


def modules_of(block, kind):
    """All modules of a class inside a block, without what is wrapped around them."""
    return [innermost(module) for _, module in block.modules() if isinstance(innermost(module), kind)]


def linear_maps(block):
    """{name: the Linear that has it} of the linear maps of a block; q, k and v, say, share one Linear.

    ValueError if two have the same name.
    """
    maps = {}
    for linear in modules_of(block, Linear):
        for name in filter(None, linear.maps):
            if maps.setdefault(name, linear) is not linear:
                raise ValueError(f"two Linear layers of a {type(block).__name__} have a map named {name!r}: rename one")
    return maps


def slot_of(model, module):
    """The slot of a module of the body. ValueError if something was inserted there already."""
    slot = next(slot for slot in slots(model) if innermost(slot.module) is innermost(module))
    if isinstance(slot.module, Wrapper):
        advice = "merge it into the weights, or begin" if all_mergeable(model) else "begin"
        raise ValueError(f"{slot.path} has {article(slot.module.label)} already; {advice} from the base")
    return slot


def inserted(model):
    """The slots of everything that was inserted, the outer before the inner."""
    return [slot for slot in slots(model) if isinstance(slot.module, Wrapper)]


def all_mergeable(model):
    """Can all that was inserted be merged into the weights? True as well if nothing was."""
    return all(slot.module.mergeable for slot in inserted(model))


def must_be_bare(model):
    """ValueError if something has been inserted into a model that is to be a base."""
    if inserted(model):
        advice = ", or merge the adapter into it first" if all_mergeable(model) else ""
        raise ValueError(f"this model is a base with an adapter on; use the base itself{advice}")
