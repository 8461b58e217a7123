"""Exercise 24: a plane through three models."""

import numpy as np

LESSON = 12

HINTS = (
    "Directions: u is a difference of models divided by its length. The part of another difference w along u is the vector "
    "(w . u) u, where w . u is the dot product `w @ u`. Subtract it, then scale the rest to length 1. Coordinates: they are "
    "those of delta, not of theta.",
    """Since u and v have length 1 and are orthogonal, each coordinate is one dot product:

    a = delta . u        b = delta . v

The rest is the vector delta - a u - b v. How long is it, relative to the length of delta? And what if that length is 0?""",
    """With np.linalg.norm for lengths:

    u = (F - P) / |F - P|
    w = A - P,   then   w - (w . u) u   instead of w,   and v is that divided by its length
    error = |delta - a u - b v| / |delta|, but 0 if |delta| = 0""",
)

EXPLANATION = """
The picture of lesson 12 needs only these few lines: two directions for the grid, and the coordinates of every recorded point. The
error belongs to them. A point of the picture is only the nearest point of the plane, and a million dimensions are left out; the
error says how much is missing.

In minillm they are `plane_through` and `Plane.project` in `minillm/surface/plane.py`. There u and v may be any two directions
(random ones, say), so a small system of linear equations replaces the dot products. It also works in float64 whatever the
weights are: delta is a small difference of large numbers, and a point of the plane shall have an error of 1e-15, not of 1e-4.

By Pythagoras' theorem the error is also sqrt(1 - (a^2 + b^2) / |delta|^2). On paper that is the same; in floating point it is the
difference of two nearly equal numbers, and near the plane half of the digits are lost.
"""

EXACT = 1e-6          # as IN_PLANE in minillm/surface/data.py: a smaller error counts as 0
ROUNDING = 1e-9       # the error allowed for a coordinate, relative to |delta|


def check(attempt):
    rng = attempt.rng
    for trial, n in enumerate(attempt.trials("n", 6)):
        n = 2000 if trial == 5 else n + 1
        attempt.sizes = {"n": n}
        P, differences = rng.normal(size=n), rng.normal(size=(2, n))
        if trial > 2:
            P = P + 10                                              # far from 0
        differences[1] += rng.choice([-1, 1]) * rng.uniform(0.5, 1.5) * differences[0]
        F, A = P + 3 * differences[0], P + differences[1]
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
    """The right u and v, and those of known mistakes."""
    f, w = F - P, A - P
    u = unit(f)
    rest = w - (w @ u) * u
    return {"u": u, "v": unit(rest)}, {
        "u does not have length 1: divide F - P by its length": {"u": f},
        "this points from 0 to F; u must point from P to F": {"u": unit(F)},
        "u is divided by the square of its length": {"u": f / (f @ f)},
        "u points from P towards A; it must point towards F": {"u": unit(w)},
        "v is not orthogonal to u: subtract the part of A - P along u": {"v": unit(w)},
        "v is not orthogonal to u, nor does it have length 1": {"v": w},
        "v does not have length 1: divide it by its length, after subtracting the part along u": {"v": rest},
        "v is divided by the length of A - P; divide it by its own length, after subtracting the part along u": {
            "v": rest / np.linalg.norm(w)},
        "v begins at 0: subtract the part along u from A - P, not from A": {"v": unit(A - (A @ u) * u)},
        "v is the part of A - P along u; that part must be subtracted, not kept": {"v": unit((w @ u) * u)},
        "the part along u is computed with F - P; that is right only for a direction of length 1": {
            "v": unit(w - (w @ f) * f)},
    }


def unit(x):
    length = np.linalg.norm(x)
    return x / length if length else x


def hold(attempt, args, note):
    """Check the coordinates of one point. Rounding near 0 is allowed."""
    theta, P, u, v = args
    delta = theta - P
    length = float(np.linalg.norm(delta))
    a, b = float(delta @ u), float(delta @ v)
    missing, shown = float(np.linalg.norm(delta - a * u - b * v)), float(np.hypot(a, b))
    error = missing / length if length else 0.0
    error = 0.0 if error < EXACT else error
    right = {"a": a, "b": b, "error": error}
    tolerance = {"a": ROUNDING * (length + 1), "b": ROUNDING * (length + 1), "error": 0.0 if error else EXACT}
    results = attempt.call("coordinates", *args, returns="a b error", like=(0.0, 0.0, 0.0))
    results = [right[name] if np.ndim(value) == 0 and abs(value - right[name]) <= tolerance[name] else value
             for name, value in zip(right, results)]
    mistakes = {
        "they must be measured from P: a and b belong to delta = theta - P, not to theta": {"a": theta @ u, "b": theta @ v},
        "the coordinates are swapped: a belongs to u, b to v": {"a": b},
    }
    if length:
        attempt.insist(not np.isnan(results[2]).any(), f"coordinates(theta, P, u, v) {note}: the error is {results[2]}.",
                       "Likely: the square root of a difference that is 0 on paper, but slightly negative in floating point. "
                       "Subtract the vectors, and take the length of the rest.")
        mistakes |= {
            "the error is not divided by |delta|": {"error": missing},
            "the error is divided by the length of theta; it must be that of delta": {"error": missing / np.linalg.norm(theta)},
            "the error is divided by the length of P; it must be that of delta": {"error": missing / np.linalg.norm(P)},
            "this is the part that the plane shows; the error is the part that it does not show": {"error": shown / length},
            "this is the square of the error": {"error": error ** 2},
            "this is 1 minus the part that is shown; but the two parts are orthogonal, so their squares add up to 1": {
                "error": 1 - shown / length},
            "only a u is subtracted from delta, and b v is left": {"error": np.hypot(missing, b) / length},
            "only b v is subtracted from delta, and a u is left": {"error": np.hypot(missing, a) / length},
        }
    attempt.compare("coordinates", args, results, right, mistakes, note)
