"""A plane in the space of all weights, through three models (Garipov et al. 2018)."""

import numpy as np

from ..nn.pieces import pieces


class Plane:
    """theta(a, b) = origin + a u + b v with u, v of length 1 and at right angles.

    u points from the origin to the first model; v is what is left of the way to the second when its part along u is taken away
    (Gram-Schmidt). So all three models lie exactly in the plane, and a and b are distances between weights.
    """

    def __init__(self, origin, first, second):
        """Three vectors. ValueError if they lie on one line, which no plane is defined by."""
        self.origin = np.asarray(origin, np.float64)
        self.u = unit(np.subtract(first, self.origin, dtype=np.float64))
        way = np.subtract(second, self.origin, dtype=np.float64)
        along_u = np.dot(way, self.u)
        left = way - along_u * self.u
        if np.linalg.norm(left) <= 1e-9 * np.linalg.norm(way):
            raise ValueError("the three models lie on one line, so they do not define a plane")
        self.v = unit(left)

    def at(self, a, b, out=None):
        """theta(a, b), written into `out` if given: piece by piece, so that no long vector is written only to be read again."""
        out = np.empty_like(self.origin) if out is None else out
        for piece in pieces(out.size):
            theta = a * self.u[piece]
            theta += self.origin[piece]
            theta += b * self.v[piece]
            out[piece] = theta
        return out

    def project(self, theta):
        """(a, b) of the nearest point of the plane, and which part of the way from the origin the plane does not show.

        For orthonormal u and v least squares are two dot products. The residual is |delta - a u - b v| / |delta|, in 0 .. 1.
        """
        delta = np.subtract(theta, self.origin, dtype=np.float64)
        length = np.linalg.norm(delta)
        a, b = np.dot(delta, self.u), np.dot(delta, self.v)
        if length == 0:
            return (0.0, 0.0), 0.0
        return (float(a), float(b)), float(np.linalg.norm(delta - a * self.u - b * self.v) / length)


def unit(vector):
    length = np.linalg.norm(vector)
    if length == 0:
        raise ValueError("two of the three models are the same, so they do not define a plane")
    return vector / length


def cosine(x, y):
    """Of the angle between two ways; nan if one of them has no length."""
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    return float(np.dot(x, y) / lengths) if lengths else float("nan")
