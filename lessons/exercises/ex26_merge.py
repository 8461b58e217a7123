"""Exercise 26: merging a LoRA into its matrix.

A layer with a LoRA computes  x W + b + s (x A) B. One plain matrix does the same,

    W_merged = W + s A B            W (I, O), A (I, r), B (r, O), s a number, the scale

so that x W_merged + b is the merged layer. Write `merge`.

In attention q, k and v share one array W (C, 3C): its columns 0 .. C - 1 compute q, the next C compute k, the last C compute v.
Each of the three may have its own LoRA, with the same scale: parts is {"q": (A, B), "k": (A, B), "v": (A, B)}, or some of these,
in any order, with A (C, r) and B (r, C). Write `merge_qkv`. The columns of a part that is not named stay the same, bit for
bit.

Both return a new array. W itself must not change: you need it to remove the LoRA again.

    >>> A, B = np.array([[1.0], [2.0]]), np.array([[3.0, 1.0]])
    >>> print(merge(np.zeros((2, 2)), A, B, 0.5).tolist())
    [[1.5, 0.5], [3.0, 1.0]]
    >>> print(merge_qkv(np.zeros((2, 6)), {"k": (A, B)}, 0.5).tolist())
    [[0.0, 0.0, 1.5, 0.5, 0.0, 0.0], [0.0, 0.0, 3.0, 1.0, 0.0, 0.0]]
"""

import numpy as np


def merge(W, A, B, scale):
    """W (I, O), A (I, r), B (r, O), scale a number -> W_merged (I, O), a new array."""
    raise NotImplementedError


def merge_qkv(W, parts, scale):
    """W (C, 3C), parts {"q", "k" or "v": (A (C, r), B (r, C))}, scale a number -> W_merged (C, 3C), a new array."""
    raise NotImplementedError
