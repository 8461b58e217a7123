"""Exercise 20: the tied head, and a table that is used twice.

GPT reads the table of words W (V, C) at the input, out = W[index] (exercise 13), and uses it again as its output layer: the
score of word v is the product of x with the row of v,

    logits_nv = sum_c x_nc W_vc            logits = x W'

There may be several leading axes, (B, T, C). Given dout = dL/dlogits:

    dx_nc = sum_v dout_nv W_vc            dW_vc = sum_n dout_nv x_nc

The loss depends on W along both paths. So its whole gradient is the sum of both: `tied_gradient` gets dlogits and x from the
output, and from the input demb = dL/dout of the embedding, with its index.

    >>> W = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> print(tied_head(np.array([[3.0, 4.0]]), W).tolist())
    [[3.0, 8.0, 7.0]]
    >>> dx, dW = tied_head_backward(np.array([[1.0, 0.0, -1.0]]), np.array([[3.0, 4.0]]), W)
    >>> print(dx.tolist(), dW.tolist())
    [[0.0, -1.0]] [[3.0, 4.0], [0.0, 0.0], [-3.0, -4.0]]
    >>> demb, index = np.array([[10.0, 20.0]]), np.array([2])
    >>> print(tied_gradient(np.array([[1.0, 0.0, -1.0]]), np.array([[3.0, 4.0]]), demb, index, W).tolist())
    [[3.0, 4.0], [0.0, 0.0], [7.0, 16.0]]
"""

import numpy as np
from ex13_embedding import embedding_backward


def tied_head(x, W):
    """x (..., C), W (V, C) -> logits (..., V)."""
    raise NotImplementedError


def tied_head_backward(dout, x, W):
    """dout (..., V), x (..., C), W (V, C) -> dx (..., C), dW (V, C)."""
    raise NotImplementedError


def tied_gradient(dlogits, x, demb, index, W):
    """dlogits (..., V), x (..., C), demb (*index.shape, C), index of whole numbers, W (V, C) -> dW (V, C), over both paths."""
    raise NotImplementedError
