"""Exercise 25: LoRA, a layer that learns a change of low rank.

A product of two thin matrices, which learns, is added to a frozen linear layer. Forward, for any number of leading axes (here
one, n = 1 .. N), with a number s, the scale:

    y = x W + b + s (x A) B            x (N, I), W (I, O), b (O,), A (I, r), B (r, O)

Given dout = dL/dy, which has the shape of y, write the gradients of x, A and B:

    dx = dL/dx (N, I),    dA = dL/dA (I, r),    dB = dL/dB (r, O)

W and b are frozen: their gradients are not needed. x may have several leading axes, (B, T, I), and all of them add to dA and dB.
What the cache holds is up to you. Do not write into the arrays that are given.

    >>> x, W, b = np.array([[1.0, 2.0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.0, 1.0])
    >>> A, B = np.array([[1.0], [1.0]]), np.array([[2.0, 0.0]])
    >>> y, cache = lora(x, W, b, A, B, 0.5)
    >>> print(y.tolist())
    [[4.0, 3.0]]
    >>> dx, dA, dB = lora_backward(np.array([[1.0, -1.0]]), cache)
    >>> print(dx.tolist(), dA.tolist(), dB.tolist())
    [[2.0, 0.0]] [[1.0], [2.0]] [[1.5, -1.5]]
"""

import numpy as np


def lora(x, W, b, A, B, scale):
    """x (..., I), W (I, O), b (O,), A (I, r), B (r, O), scale a number -> y (..., O), cache."""
    raise NotImplementedError


def lora_backward(dout, cache):
    """dout (..., O), cache of the forward pass -> dx (..., I), dA (I, r), dB (r, O)."""
    raise NotImplementedError
