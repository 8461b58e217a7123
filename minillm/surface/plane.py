"""A plane in the space of all weights: theta(a, b) = origin + a u + b v."""

from dataclasses import dataclass, field

import numpy as np

from ..ground.pieces import pieces

# The least sine of the angle between two directions that span a plane. At 1e-6 the coordinates of a point, in which the sine is
# squared, are right to four digits. Rounding alone makes angles of up to 1e-13 out of 0, larger ones in float32 (see `rounding`).
ONE_LINE = 1e-6


@dataclass
class Plane:
    """A plane through any origin along any two linearly independent directions u and v.

    labels      (what moving along u means, along v), for the axes of a picture
    directions  how u and v were chosen, for a caption
    notes       further remarks about them, in sentences
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
            raise ValueError("the two directions are parallel, so they do not define a plane")

    def at(self, a, b, out=None):
        """theta(a, b), computed from the origin each time, and written into `out` if given."""
        return self.along(a, self.at_b(b), out)

    def at_b(self, b):
        """origin + b v, which all points in a row of a grid share."""
        return self.origin + b * self.v

    def along(self, a, row, out=None):
        """row + a u, piece by piece, so that intermediate results stay in the processor's cache."""
        out = np.empty_like(self.origin) if out is None else out
        for piece in pieces(out.size):
            theta = a * self.u[piece]
            theta += row[piece]
            out[piece] = theta
        return out

    def project(self, theta):
        """(a, b) of the nearest point of the plane, and the projection error relative to the distance from the origin.

        With delta = theta - origin, least squares requires delta - a u - b v to be orthogonal to u and v:
            | u.u  u.v | |a|   | u.delta |
            | v.u  v.v | |b| = | v.delta |
        The projection error is |delta - a u - b v| / |delta|, from 0 to 1; nan coordinates and 1 if delta is not finite.
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
    """The plane through three models (Garipov et al. 2018); a and b are distances between weights.

    u points from the origin to the first model. v is the difference between the second model and the origin without its part
    along u (Gram-Schmidt). Both have length 1, and all three models lie in the plane up to rounding. ValueError, with their
    `names`, if they lie on one line or coincide.
    """
    noise = max(map(rounding, (origin, first, second)))
    origin = np.asarray(origin, np.float64)
    differences = [np.subtract(point, origin, dtype=np.float64) for point in (first, second)]
    for difference, name in zip(differences, names[1:]):
        if not np.linalg.norm(difference):
            raise ValueError(f"{names[0]} and {name} are the same weights, so there is no plane through {' and '.join(names)}")
    if np.array_equal(first, second):
        raise ValueError(f"{names[1]} and {names[2]} are the same weights, so there is no plane through them and {names[0]}")
    u = differences[0] / np.linalg.norm(differences[0])
    rest = differences[1] - (differences[1] @ u) * u
    if not np.linalg.norm(rest) > max(ONE_LINE * np.linalg.norm(differences[1]), noise):
        raise ValueError(f"{names[0]}, {names[1]} and {names[2]} lie on one line, so they do not define a plane")
    return Plane(origin, u, rest / np.linalg.norm(rest), **labels)


def sine(x, y):
    """The sine of the angle between two vectors, 0 to 1; nan if one of them has length 0.

    It is the length of y without its part along x, divided by |y|. (1 - cosine^2 would lose half of all digits.)
    """
    lengths = np.linalg.norm(x), np.linalg.norm(y)
    if not all(lengths):
        return float("nan")
    rest = y - (x @ y / lengths[0] ** 2) * x
    return float(np.linalg.norm(rest) / lengths[1])


def rounding(theta):
    """A bound on how far rounding has moved a point: eps |theta|, since each number is off by at most eps / 2 of itself."""
    theta = np.asarray(theta)
    eps = np.finfo(theta.dtype).eps if theta.dtype.kind == "f" else 0.0
    return float(eps * np.linalg.norm(theta))


def cosine(x, y):
    """The cosine of the angle between two vectors; nan if one of them has length 0."""
    lengths = np.linalg.norm(x) * np.linalg.norm(y)
    return float(np.dot(x, y) / lengths) if lengths else float("nan")
