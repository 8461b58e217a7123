"""A plane in the space of all weights: theta(a, b) = origin + a u + b v."""

from dataclasses import dataclass, field

import numpy as np

from ..ground.pieces import pieces

# The least sine of an angle that spans a plane. At an angle of 1e-6 the coordinates of a point, which take its square, are right
# to four digits; rounding alone makes angles of up to 1e-13 of none, and more of weights in float32 (see `rounding`).
ONE_LINE = 1e-6


@dataclass
class Plane:
    """Any origin and any two directions that are not one.

    labels      what moving along u, and along v, means: of the axes of a picture
    directions  how they were chosen, for a caption
    notes       what else has to be known of them, in sentences
    """

    origin: np.ndarray
    u: np.ndarray
    v: np.ndarray
    labels: tuple = ("a", "b")
    directions: str = ""
    notes: list = field(default_factory=list)

    def __post_init__(self):
        self.origin, self.u, self.v = (np.asarray(vector, np.float64) for vector in (self.origin, self.u, self.v))
        self.gram = np.array([[self.u @ self.u, self.u @ self.v], [self.v @ self.u, self.v @ self.v]])
        if not sine(self.u, self.v) > ONE_LINE:
            raise ValueError("the two directions are one, so they do not define a plane")

    def at(self, a, b, out=None):
        """theta(a, b), made anew from the origin each time, and written into `out` if given."""
        return self.along(a, self.at_b(b), out)

    def at_b(self, b):
        """origin + b v: what a whole row of a grid has in common."""
        return self.origin + b * self.v

    def along(self, a, row, out=None):
        """row + a u, piece by piece, so that no long vector is written only to be read again."""
        out = np.empty_like(self.origin) if out is None else out
        for piece in pieces(out.size):
            theta = a * self.u[piece]
            theta += row[piece]
            out[piece] = theta
        return out

    def project(self, theta):
        """(a, b) of the nearest point of the plane, and which part of the way from the origin the plane does not show.

        With delta = theta - origin, least squares asks that delta - a u - b v is at right angles to u and v:
            | u.u  u.v | |a|   | u.delta |
            | v.u  v.v | |b| = | v.delta |
        The residual is |delta - a u - b v| / |delta|, in 0 .. 1.
        """
        delta = np.subtract(theta, self.origin, dtype=np.float64)
        length = np.linalg.norm(delta)
        if length == 0:
            return (0.0, 0.0), 0.0
        if not np.isfinite(length):
            return (float("nan"), float("nan")), 1.0
        a, b = np.linalg.solve(self.gram, [self.u @ delta, self.v @ delta])
        delta -= a * self.u
        delta -= b * self.v
        return (float(a), float(b)), float(np.linalg.norm(delta) / length)


def plane_through(origin, first, second, names=("the origin", "the first model", "the second model"), **labels):
    """The plane through three models (Garipov et al. 2018), a and b being distances between weights.

    u points from the origin to the first model; v is what is left of the way to the second when its part along u is taken away
    (Gram-Schmidt). So all three lie exactly in the plane. ValueError, with their `names`, if they lie on one line or coincide.
    """
    noise = max(map(rounding, (origin, first, second)))
    origin = np.asarray(origin, np.float64)
    ways = [np.subtract(point, origin, dtype=np.float64) for point in (first, second)]
    for way, name in zip(ways, names[1:]):
        if not np.linalg.norm(way):
            raise ValueError(f"{names[0]} and {name} are the same weights, so there is no plane through {' and '.join(names)}")
    if np.array_equal(first, second):
        raise ValueError(f"{names[1]} and {names[2]} are the same weights, so there is no plane through them and {names[0]}")
    u = ways[0] / np.linalg.norm(ways[0])
    left = ways[1] - (ways[1] @ u) * u
    if not np.linalg.norm(left) > max(ONE_LINE * np.linalg.norm(ways[1]), noise):
        raise ValueError(f"{names[0]}, {names[1]} and {names[2]} lie on one line, so they do not define a plane")
    return Plane(origin, u, left / np.linalg.norm(left), **labels)


def sine(x, y):
    """Of the angle between two ways, 0 to 1; nan if one of them has no length.

    From what is left of y without its part along x. (1 - cosine^2 would lose half of all digits.)
    """
    lengths = np.linalg.norm(x), np.linalg.norm(y)
    if not all(lengths):
        return float("nan")
    left = y - (x @ y / lengths[0] ** 2) * x
    return float(np.linalg.norm(left) / lengths[1])


def rounding(theta):
    """How far rounding may have moved a point: by half of eps at most in each number, which the length of theta stands for."""
    theta = np.asarray(theta)
    eps = np.finfo(theta.dtype).eps if theta.dtype.kind == "f" else 0.0
    return float(eps * np.linalg.norm(theta))


def cosine(x, y):
    """Of the angle between two ways; nan if one of them has no length."""
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    return float(np.dot(x, y) / lengths) if lengths else float("nan")
