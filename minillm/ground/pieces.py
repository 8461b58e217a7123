"""Pieces of long arrays, each small enough that a chain of elementwise operations on it stays in a core's cache."""

PIECE = 1 << 16      # numbers: the arrays in use at a time fit into an L2 cache of 2 MiB, and few calls are needed


def pieces(size, rank=0, n=1):
    """Slices that cover 0..size; with n workers, every n-th of them, starting with the rank-th."""
    for start in range(rank * PIECE, size, n * PIECE):
        yield slice(start, start + PIECE)


def row_pieces(N, C):
    """Slices of the rows of an (N, C) array, at least one row each."""
    rows = max(1, PIECE // C)
    for start in range(0, N, rows):
        yield slice(start, start + rows)
