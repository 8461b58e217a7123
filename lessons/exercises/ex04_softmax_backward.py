"""Exercise 4: the backward pass of softmax.

Forward, for each row along the last axis:

    p_i = exp(s_i) / sum_j exp(s_j)

Each score affects all probabilities of its row: if one goes up, the others must come down. Lesson 2 derives what this means
for the gradient. Given dout = dL/dp and the output p, write ds = dL/ds. There may be any number of leading axes, and rows do
not mix.

Use no loop over rows, and no (T, T) matrix for each row: the derivation ends with an equation that needs neither.

    >>> ds = softmax_backward(np.array([[1.0, 0.0], [3.0, 3.0]]), np.array([[0.75, 0.25], [0.5, 0.5]]))
    >>> print(ds.tolist())
    [[0.1875, -0.1875], [0.0, 0.0]]
"""

import numpy as np


def softmax_backward(dout, p):
    """dout (..., T), p (..., T) -> ds (..., T)."""
    raise NotImplementedError
