"""Where in a model do the weights move, how far, and in how many directions?"""

import numpy as np

from ..train.parts import block_of, parameter_kinds

KINDS = {"embedding": "words, positions", "attention": "attention", "MLP": "MLP", "norm": "norms"}    # in this order
INSERTED = "inserted"


def part_of(name, kind, inserted):
    """(layer, kind) of a parameter: ("2", "attention") of `blocks.2.attn.qkv.weight`."""
    block = block_of(name)
    layer = str(block) if block is not None else "end" if kind == "norm" else "start"
    return layer, INSERTED if inserted else KINDS[kind]


def movement(space, start, end, body):
    """{(layer, kind): (|end - start|, |start|)} of each part of a model, in the order in which a text goes through it."""
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
    parts = sorted(squares, key=lambda part: (order.index(part[0]), kinds.index(part[1])))
    return {part: tuple(float(np.sqrt(square)) for square in squares[part]) for part in parts}


def spectrum(space, start, end, name):
    """The singular values of how one matrix has moved, (rank,), falling: few large ones mean that it moved in few directions."""
    return np.linalg.svd(np.subtract(space.arrays(end)[name], space.arrays(start)[name], dtype=np.float64), compute_uv=False)


def spectrum_of_chance(shape, length, rng):
    """Singular values of a matrix of noise that is as long: what a movement without any direction would show."""
    noise = rng.standard_normal(shape)
    return np.linalg.svd(noise * (length / np.linalg.norm(noise)), compute_uv=False)
