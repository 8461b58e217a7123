"""Exercise 24: a plane through three models."""

import numpy as np

HINTS = (
    "Directions: u is a way divided by its length. The part of another way w along u is the vector (w . u) u, where w . u is the "
    "dot product `w @ u`. Take it away, then bring what is left to length 1. Coordinates: they are those of delta, not of theta.",
    """Since u and v have length 1 and are at right angles, each coordinate is one dot product:

    a = delta . u        b = delta . v

What is left over is the vector delta - a u - b v. How long is it, measured by the length of delta? And what if that is 0?""",
    """With np.linalg.norm for lengths:

    u = (F - P) / |F - P|
    w = A - P,   then   w - (w . u) u   in its place,   and v is that divided by its length
    error = |delta - a u - b v| / |delta|, but 0 if |delta| = 0""",
)

EXPLANATION = """
The picture of lesson 12 is made of these few lines: two directions for the grid, and the place of every recorded point. The error
belongs to it. A point on a map says "the nearest place that this map has", and a million dimensions are left out; with the error
beside it the map admits how much.

In minillm they are `plane_through` and `Plane.project` in `minillm/surface/plane.py`. There u and v may be any two directions
(random ones, say), so a small system of equations takes the place of the dot products. It also works in float64 whatever the
weights are: delta is a small difference of large numbers, and a point of the plane shall have an error of 1e-15, not of 1e-4.

By Pythagoras the error is also sqrt(1 - (a^2 + b^2) / |delta|^2). On paper that is the same; in a computer it is the difference
of two nearly equal numbers, and near the plane half of the digits are lost.
"""

EXACT = 1e-6          # as IN_PLANE in minillm/surface/data.py: an error below counts as 0
ROUNDING = 1e-9       # of |delta|: so far may a coordinate be off


def check(attempt):
    rng = attempt.rng
    for trial, n in enumerate(attempt.trials("n", 6)):
        n = 2000 if trial == 5 else n + 1
        attempt.sizes = {"n": n}
        P, ways = rng.normal(size=n), rng.normal(size=(2, n))
        if trial > 2:
            P = P + 10                                              # far from 0
        ways[1] += rng.choice([-1, 1]) * rng.uniform(0.5, 1.5) * ways[0]
        F, A = P + 3 * ways[0], P + ways[1]
        right, mistakes = spanned(P, F, A)
        results = attempt.call("directions", P, F, A, returns="u v", like=(P, P))
        attempt.compare("directions", (P, F, A), results, right, mistakes)
        u, v = right["u"], right["v"]
        points = {"at theta = P": P.copy(), "at theta = F": F, "at theta = A": A,
                  "at a point of the plane": P + rng.normal() * u + rng.normal() * v,
                  "at a point beside the plane": P + rng.normal(size=n),
                  "at a point near the plane": P + 2 * u - v + 0.05 * rng.normal(size=n)}
        for note, theta in points.items():
            hold(attempt, (theta, P, u, v), note)


def spanned(P, F, A):
    """u and v, and what would come of known mistakes."""
    f, w = F - P, A - P
    u = unit(f)
    left = w - (w @ u) * u
    return {"u": u, "v": unit(left)}, {
        "u does not have length 1: divide F - P by its length": {"u": f},
        "this is the way from 0 to F; u points from P to F": {"u": unit(F)},
        "u is divided by the square of its length": {"u": f / (f @ f)},
        "u points from P towards A; it must point towards F": {"u": unit(w)},
        "v is not at right angles to u: take the part of A - P along u away": {"v": unit(w)},
        "v is not at right angles to u, nor does it have length 1": {"v": w},
        "v does not have length 1: divide it by its length, after the part along u is taken away": {"v": left},
        "v is divided by the length of A - P; it must be that of what is left when the part along u is taken away": {
            "v": left / np.linalg.norm(w)},
        "v begins at 0: take the part along u away from A - P, not from A": {"v": unit(A - (A @ u) * u)},
        "v points from P towards A's part along u; that part must be taken away, not kept": {"v": unit((w @ u) * u)},
        "the part along u is taken away with F - P as it is; that works only with a direction of length 1": {
            "v": unit(w - (w @ f) * f)},
    }


def unit(x):
    length = np.linalg.norm(x)
    return x / length if length else x


def hold(attempt, args, note):
    """Coordinates of one point. Rounding near 0 is forgiven."""
    theta, P, u, v = args
    delta = theta - P
    length = float(np.linalg.norm(delta))
    a, b = float(delta @ u), float(delta @ v)
    missing, shown = float(np.linalg.norm(delta - a * u - b * v)), float(np.hypot(a, b))
    error = missing / length if length else 0.0
    error = 0.0 if error < EXACT else error
    right = {"a": a, "b": b, "error": error}
    room = {"a": ROUNDING * (length + 1), "b": ROUNDING * (length + 1), "error": 0.0 if error else EXACT}
    results = attempt.call("coordinates", *args, returns="a b error", like=(0.0, 0.0, 0.0))
    results = [right[name] if np.ndim(value) == 0 and abs(value - right[name]) <= room[name] else value
             for name, value in zip(right, results)]
    mistakes = {
        "they must be measured from P: a and b belong to delta = theta - P, not to theta": {"a": theta @ u, "b": theta @ v},
        "the coordinates are the other way round: a belongs to u, b to v": {"a": b},
    }
    if length:
        attempt.insist(not np.isnan(results[2]).any(), f"coordinates(theta, P, u, v) {note}: the error is {results[2]}.",
                       "Likely: the square root of a difference that is 0 on paper, and in a computer a little less. Subtract "
                       "the vectors, and take the length of what is left.")
        mistakes |= {
            "the error is not divided by |delta|": {"error": missing},
            "the error is divided by the length of theta; it must be that of delta": {"error": missing / np.linalg.norm(theta)},
            "the error is divided by the length of P; it must be that of delta": {"error": missing / np.linalg.norm(P)},
            "this is what the plane does show; the error is what it does not": {"error": shown / length},
            "this is the square of the error": {"error": error ** 2},
            "this is 1 minus the part that is shown; but that part and the error are at right angles, so it is their squares "
            "that add up to 1": {"error": 1 - shown / length},
            "only a u is taken away from delta, and b v is left": {"error": np.hypot(missing, b) / length},
            "only b v is taken away from delta, and a u is left": {"error": np.hypot(missing, a) / length},
        }
    attempt.compare("coordinates", args, results, right, mistakes, note)
