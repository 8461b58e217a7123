"""Exercise 15: LayerNorm and its backward pass.

Forward, for each row of C numbers separately:

    mu = mean of x_c                    r = 1 / sqrt(mean of (x_c - mu)^2 + eps)           eps = 1e-5
    x_hat_c = (x_c - mu) r              y_c = g_c x_hat_c + b_c

The variance is the mean of the squares: the sum is divided by C, not by C - 1. The gain g (C,) and the bias b (C,) are the
same for all rows. There may be several leading axes.

Backward, with h_c = dout_c g_c, which is dL/dx_hat_c:

    dg_c = sum over all rows of dout_c x_hat_c              db_c = sum over all rows of dout_c
    dx_c = r (h_c - mean of h - x_hat_c times the mean of h x_hat)              the means are over the C numbers of the row

You choose what the cache holds: what does the backward pass need?

    >>> y, cache = layernorm(np.array([[1.0, 3.0, 5.0]]), np.array([1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0]))
    >>> print(y.round(3).tolist())
    [[-1.225, 0.0, 3.449]]
    >>> dx, dg, db = layernorm_backward(np.array([[1.0, 0.0, 0.0]]), cache)
    >>> print(dx.round(3).tolist(), dg.round(3).tolist(), db.tolist())
    [[0.102, -0.204, 0.102]] [-1.225, 0.0, 0.0] [1.0, 0.0, 0.0]
"""

import numpy as np


def layernorm(x, g, b):
    """x (..., C), g (C,), b (C,) -> y (..., C), cache."""
    raise NotImplementedError


def layernorm_backward(dout, cache):
    """dout (..., C) -> dx (..., C), dg (C,), db (C,)."""
    raise NotImplementedError
