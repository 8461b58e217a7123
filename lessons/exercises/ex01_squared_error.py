"""Exercise 1: the gradient of the squared error.

A neuron with weights w and bias b predicts

    p_n = sum_k x_nk w_k + b

for n = 1 .. N examples, and its loss is the mean of the squared errors:

    L = (1 / N) sum_n (p_n - y_n)^2

Write the prediction, the loss, and the derivatives of the loss with respect to each weight and the bias. Use whole arrays,
without a loop over examples: `x @ w` is the sum over k. As in all exercises, float32 arrays must give float32 results
(np.zeros(K) is float64; np.zeros_like(w) has the type of w).

    >>> x, y = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([1.0, 1.0])
    >>> loss, dw, db = squared_error(x, y, np.array([0.5, 1.0]), 0.0)
    >>> print(loss, dw, db)
    0.625 [-0.5  2. ] 0.5
"""

import numpy as np


def squared_error(x, y, w, b):
    """x (N, K), y (N,), w (K,), b a number -> L a number, dw (K,) = dL/dw, db a number = dL/db."""
    raise NotImplementedError
