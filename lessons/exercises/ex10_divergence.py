"""Exercise 10: which learning rate is too large?

N examples with K inputs each, x (N, K), and their targets y. A neuron without a bias predicts p = x w, and its loss is the mean
of the squared errors:

    L = (1 / N) sum_n (p_n - y_n)^2

Gradient descent, w <- w - rate dL/dw, converges from any start if the rate is small enough, and diverges if it is too large.
Write the rate at the border between the two. It depends only on x, not on y or the start.

It follows from the eigenvalues of the Hessian, the matrix (K, K) of the loss's second derivatives (lesson 5 derives both).
`np.linalg.eigvalsh(H)` returns the eigenvalues of a symmetric matrix H in ascending order.

The check tries your rate: at 0.9 times this rate gradient descent must converge, and at 1.1 times it must diverge.

    >>> print(round(largest_rate(np.array([[3.0]])), 6))
    0.111111
    >>> print(round(largest_rate(np.array([[3.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 1.0]])), 6))
    0.222222
"""

import numpy as np


def largest_rate(x):
    """x (N, K) -> a number: above it gradient descent diverges, below it gradient descent converges."""
    raise NotImplementedError
