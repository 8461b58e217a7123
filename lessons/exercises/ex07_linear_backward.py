"""Exercise 7: the backward pass of a linear layer.

Forward, for any number of leading axes (here one, n = 1 .. N):

    y_ni = sum_k x_nk W_ki + b_i            y = x W + b

Given dout = dL/dy, which has the shape of y, write the gradients:

    dx = dL/dx (..., I),    dW = dL/dW (I, O),    db = dL/db (O,)

x may have several leading axes: (N, I), or (B, T, I). The same W is used for all of them, so all of them add to dW.

    >>> x, W = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    >>> dx, dW, db = linear_backward(np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 0.0]]), x, W)
    >>> print(dx.tolist(), dW.tolist(), db.tolist())
    [[3.0, 1.0], [0.0, 6.0]] [[1.0, 0.0, 1.0], [2.0, 2.0, 2.0]] [1.0, 2.0, 1.0]
"""

import numpy as np


def linear_backward(dout, x, W):
    """dout (..., O), x (..., I), W (I, O) -> dx (..., I), dW (I, O), db (O,)."""
    raise NotImplementedError
