"""A model as a plain one that computes the same: for programs that know the model, but not what was inserted into it."""

from dataclasses import replace

import numpy as np

from ..finetune.methods.bottleneck import ParallelAdapter
from ..finetune.methods.head import Untied
from ..finetune.wrapper import all_mergeable, innermost, inserted, linear_maps
from ..nn import GPT
from ..train.blueprint import NoNumbers
from ..train.checkpoint import fingerprint
from .config_file import biases_for


def plain(model):
    """A bare GPT that computes what a model computes, with the biases that its file will have. They share what is the same.

    An untied output layer is a table of its own, and a bottleneck in parallel to the MLP becomes a part of that (`widen`).
    ValueError says what cannot be expressed.
    """
    wrappers = [(slot.path, slot.module) for slot in inserted(model)]
    for path, wrapper in wrappers:
        if not isinstance(wrapper, (Untied, ParallelAdapter)):
            advice = "; merge it first: minillm merge" if all_mergeable(model) else ""
            raise ValueError(f"no plain model does what the {wrapper.label} at {path} does{advice}")
    head = next((wrapper.head for _, wrapper in wrappers if isinstance(wrapper, Untied)), model.head)
    adapters = {innermost(wrapper): wrapper.adapter for _, wrapper in wrappers if isinstance(wrapper, ParallelAdapter)}
    config = replace(model.config, tied=head is model.wte)
    config = replace(widened(config, model, adapters), biases=biases_for(config))
    same = GPT(config, NoNumbers(), model.wte.weight.data.dtype)
    weights = model.state_dict() | {"lm_head.weight": head.weight.data}
    for name, p in same.parameters().items():
        if name in weights and weights[name].shape == p.shape:              # else it is widened below
            p.data = weights[name]
    for block, before in zip(same.blocks, model.blocks) if adapters else ():
        widen(linear_maps(block), linear_maps(before), adapters.get(innermost(before.mlp)))
    return same


def base_fingerprint(model):
    """The fingerprint of what is under everything inserted, as a file of it comes back here.

    So the biases are those that its file has. And a base read with a smaller context is the same one: neither its length nor a
    table of positions counts.
    """
    config = replace(model.config, biases=biases_for(model.config), context=1)
    base = GPT(config, NoNumbers(), model.wte.weight.data.dtype)
    weights, positions = model.state_dict(), base.wpe.weight if base.wpe else None
    for name, p in base.parameters().items():
        if name in weights and p is not positions:
            p.data = weights[name]
    return fingerprint(base)


def widened(config, model, adapters):
    """The Config with room for the bottlenecks in its MLPs. ValueError if that cannot be."""
    if not adapters:
        return config
    others = adapters.keys() - {innermost(block.mlp) for block in model.blocks}
    if others or (config.mlp, config.activation) != ("mlp", "gelu"):
        raise ValueError("a parallel bottleneck is part of a wider MLP only where it is beside an MLP with GELU")
    m = max(adapter.down.weight.shape[1] for adapter in adapters.values())
    return replace(config, n_hidden=config.hidden + m, biases="all")


def widen(maps, before, adapter):
    """Fill the maps of an MLP with those of the one before and, as m hidden features more, a bottleneck:

        gelu(x W_1 + b_1) W_2 + b_2 + s (gelu(x D + d) U + u) = gelu(x [W_1 D] + [b_1 d]) [W_2; s U] + b_2 + s u
    """
    for name, axis in (("fc", 1), ("proj", 0)):
        W, b = maps[name].weight, maps[name].bias
        old = before[name]
        parts = [old.weight.data], [old.bias.data if old.bias else np.zeros(old.weight.shape[1], W.data.dtype)]
        if adapter and name == "fc":
            parts[0].append(adapter.down.weight.data)
            parts[1].append(adapter.down.bias.data)
        if adapter and name == "proj":
            parts[0].append(adapter.scale * adapter.up.weight.data)
            parts[1][0] = parts[1][0] + adapter.scale * adapter.up.bias.data
        W.data, b.data = filled(parts[0], axis, W.shape), filled(parts[1], 0, b.shape)


def filled(parts, axis, shape):
    """Arrays side by side, and zeros up to the shape."""
    array = np.concatenate(parts, axis)
    return np.pad(array, [(0, size - have) for have, size in zip(array.shape, shape)])
