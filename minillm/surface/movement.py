"""Which parts of a model moved, how far, and in how many directions."""

import numpy as np

from ..nn import Linear
from ..train.parts import block_of, parameter_kinds

KINDS = {"embedding": "words, positions", "attention": "attention", "MLP": "MLP", "norm": "norms",
         "head": "output"}      # in this order
INSERTED = "inserted"


def part_of(name, kind, inserted):
    """(layer, kind) of a parameter: ("2", "attention") of `blocks.2.attn.qkv.weight`."""
    block = block_of(name)
    layer = str(block) if block is not None else "start" if kind == "embedding" else "end"
    return layer, INSERTED if inserted else KINDS[kind]


def movement(space, start, end, body):
    """{(layer, kind): (|end - start|, |start|)} of each part of a model, in the order of the forward pass."""
    before, after = space.arrays(start), space.arrays(end)
    squares, model_kinds = {}, parameter_kinds(space.model)
    for name in before:
        part = part_of(name, model_kinds[name], name not in body)
        moved, size = squares.setdefault(part, [0.0, 0.0])
        change = np.subtract(after[name], before[name], dtype=np.float64)
        squares[part] = [moved + float(np.sum(change * change)),
                         size + float(np.sum(np.square(before[name], dtype=np.float64)))]
    numbers = sorted({int(layer) for layer, _ in squares if layer.isdigit()})
    order = ["start", *map(str, numbers), "end"]
    kinds = [*KINDS.values(), INSERTED]
    ordered = sorted(squares, key=lambda part: (order.index(part[0]), kinds.index(part[1])))
    return {part: tuple(float(np.sqrt(square)) for square in squares[part]) for part in ordered}


def movements(family, names):
    """{run: its `movement` from the base to the saved model}"""
    return {name: movement(family.space, family.start, family.end(name), family.body) for name in names}


def spectrum(space, start, end, name):
    """The singular values (rank,) of the change of one matrix, largest first: few large ones mean that it moved in few
    directions."""
    return np.linalg.svd(np.subtract(space.arrays(end)[name], space.arrays(start)[name], dtype=np.float64), compute_uv=False)


def spectrum_of_chance(shape, length, rng):
    """The singular values of a matrix of noise of the same length (Frobenius norm): a change without preferred directions."""
    noise = rng.standard_normal(shape)
    return np.linalg.svd(noise * (length / np.linalg.norm(noise)), compute_uv=False)


def spectra(family, names, seed):
    """{matrix: {run: its `spectrum`, "chance": that of noise as long as the first run's change}}, of the matrices of the linear
    layers of the middle block."""
    rng, model = np.random.default_rng(seed), family.base.model
    block, full_path = len(model.blocks) // 2, {id(module): path for path, module in model.modules()}
    values_of = {}
    for path, module in model.blocks[block].modules():
        if not isinstance(module, Linear):
            continue
        name = f"{full_path[id(module)]}.weight"
        values = {run: spectrum(family.space, family.start, family.end(run), name) for run in names}
        length, shape = np.linalg.norm(values[names[0]]), family.space.arrays(family.start)[name].shape
        values_of[f"block {block}, {path}"] = values | {"chance": spectrum_of_chance(shape, length, rng)}
    return values_of
