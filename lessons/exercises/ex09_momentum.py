"""Exercise 9: one step of gradient descent with momentum.

The weights theta and their velocity v are arrays of the same shape. Given the gradient g at theta,

    v      <-  mu v + g
    theta  <-  theta - rate v

The velocity is updated first, and the step uses the new one. Write one such step. It returns the new theta and the new v, as
new arrays: theta, v and g must not change, because the caller may want to record the trajectory.

Two steps in a row with the same gradient, 1. The second is longer:

    >>> theta, v, g = np.array([10.0]), np.array([0.0]), np.array([1.0])
    >>> theta, v = momentum(theta, v, g, 0.5, 0.9)
    >>> print(theta.tolist(), v.tolist())
    [9.5] [1.0]
    >>> theta, v = momentum(theta, v, g, 0.5, 0.9)
    >>> print(theta.tolist(), v.tolist())
    [8.55] [1.9]
"""

import numpy as np


def momentum(theta, v, g, rate, mu):
    """theta, v, g, all of one shape; rate, mu numbers -> the new theta and the new v, of the same shape."""
    raise NotImplementedError
