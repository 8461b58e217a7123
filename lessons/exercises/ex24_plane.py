"""Exercise 24: a plane through three models.

Three models are three points in weight space, vectors (n,): P, where two fine-tunings began, and F and A, where they ended. A
plane through them consists of the points

    theta(a, b) = P + a u + b v

with two directions u and v of length 1, at right angles to each other:

    u   points from P towards F
    v   points along what is left of A - P when its part along u is removed

Write the directions, and the coordinates of any other weights theta on such a plane. With delta = theta - P, the point of the
plane nearest to theta has the coordinates a and b, and the part of the movement from P to theta that the plane does not show is

    error = |delta - a u - b v| / |delta|

a number from 0 (theta lies in the plane) to 1 (the plane shows nothing of the movement). At theta = P there is no movement, and
the error is 0. u and v are as returned by `directions`; lesson 12 derives a and b. P, F and A must lie in the plane: their error
is 0.

    >>> P, F, A = np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0, 4.0]), np.array([3.0, 1.0, 3.0])
    >>> u, v = directions(P, F, A)
    >>> print(u.round(4).tolist(), v.round(4).tolist())
    [0.0, 0.0, 1.0] [1.0, 0.0, 0.0]
    >>> for theta in (P, F, A, np.array([2.0, 3.0, 3.0])):
    ...     print([round(float(number), 4) for number in coordinates(theta, P, u, v)])
    [0.0, 0.0, 0.0]
    [3.0, 0.0, 0.0]
    [2.0, 2.0, 0.0]
    [2.0, 1.0, 0.6667]
"""

import numpy as np


def directions(P, F, A):
    """P, F, A (n,) -> u (n,), v (n,)."""
    raise NotImplementedError


def coordinates(theta, P, u, v):
    """theta, P, u, v (n,) -> a, b, error, three numbers."""
    raise NotImplementedError
