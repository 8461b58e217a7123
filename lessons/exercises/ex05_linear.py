"""Exercise 5: a layer of neurons.

A layer has O neurons, and all of them read the same I inputs. Neuron i has the weights W_1i .. W_Ii, which are column i of
W, and the bias b_i. For example n:

    y_ni = sum_k x_nk W_ki + b_i

Write it for all examples and all neurons at once. x may have any number of leading axes, and y must have the same ones:

    x (I,) -> y (O,)        x (N, I) -> y (N, O)        x (B, T, I) -> y (B, T, O)

    >>> W, b = np.array([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]]), np.array([0.0, 10.0, 100.0])
    >>> print(linear(np.array([[1.0, 2.0], [0.0, 1.0]]), W, b).tolist())
    [[1.0, 16.0, 104.0], [0.0, 13.0, 101.0]]
    >>> print(linear(np.zeros((4, 5, 2)), W, b).shape)
    (4, 5, 3)
"""

import numpy as np


def linear(x, W, b):
    """x (..., I), W (I, O), b (O,) -> y (..., O)."""
    raise NotImplementedError
