"""Where in a model do the weights move, how far, and in how many directions?"""

import re

import numpy as np

PLACES = (("wte|wpe", "words, places"), (r"blocks\.(\d+)\.attn", "attention"), (r"blocks\.(\d+)\.mlp", "MLP"),
          (r"blocks\.(\d+)\.ln|ln_f", "norms"))
INSERTED = "inserted"


def part_of(name, body):
    """(layer, kind) of a parameter: ("2", "attention") of `blocks.2.attn.qkv.weight`. What is not of the `body` was inserted."""
    block = re.match(r"blocks\.(\d+)\.", name)
    layer = block.group(1) if block else "end" if name.startswith("ln_f") else "start"
    if name not in body:
        return layer, INSERTED
    return layer, next(kind for pattern, kind in PLACES if re.match(pattern, name))


def movement(space, start, end, body):
    """{(layer, kind): (|end - start|, |start|)} of each part of a model, in the order in which a text goes through it."""
    before, after = space.arrays(start), space.arrays(end)
    squares = {}
    for name in before:
        moved, size = squares.setdefault(part_of(name, body), [0.0, 0.0])
        way = np.subtract(after[name], before[name], dtype=np.float64)
        squares[part_of(name, body)] = [moved + float(np.sum(way * way)),
                                        size + float(np.sum(np.square(before[name], dtype=np.float64)))]
    numbers = sorted({int(layer) for layer, _ in squares if layer.isdigit()})
    order = ["start", *map(str, numbers), "end"]
    kinds = [kind for _, kind in PLACES] + [INSERTED]
    parts = sorted(squares, key=lambda part: (order.index(part[0]), kinds.index(part[1])))
    return {part: tuple(float(np.sqrt(square)) for square in squares[part]) for part in parts}


def spectrum(space, start, end, name):
    """The singular values of how one matrix has moved, (rank,), falling: few large ones mean that it moved in few directions."""
    return np.linalg.svd(np.subtract(space.arrays(end)[name], space.arrays(start)[name], dtype=np.float64), compute_uv=False)


def spectrum_of_chance(shape, length, rng):
    """Singular values of a matrix of noise that is as long: what a movement without any direction would show."""
    noise = rng.standard_normal(shape)
    return np.linalg.svd(noise * (length / np.linalg.norm(noise)), compute_uv=False)
