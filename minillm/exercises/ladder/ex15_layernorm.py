"""Exercise 15: LayerNorm and its backward pass."""

import numpy as np

from ..layers import hold_layer, leading_axes, note_of

EPS = 1e-5

LESSON = 8

HINTS = (
    "All means are over the last axis, and keep it (keepdims=True), so that they can be subtracted from x. The backward pass "
    "needs x_hat, r and g: those are the cache. Compute h = dout * g first; the rest is the equation, term by term.",
    "dx has three terms. The first is h itself. The second subtracts its mean, because mu depends on every x_c. The third "
    "subtracts the part of h along x_hat, because r depends on every x_c, too: one number per row, the mean of h * x_hat, times "
    "x_hat.",
    """dg and db are sums over all rows: merge all leading axes into one, (N, C), and sum over the first axis.

    dg = (dout * x_hat).reshape(-1, C).sum(axis=0)

and db is the same with dout alone. In dx, both means are x.mean(axis=-1, keepdims=True) of something.""",
)

EXPLANATION = """
Two changes of a row do not change the output of a LayerNorm: adding a constant to it and, except for eps, scaling it around its
mean. So dx has no part along a constant vector, and none along x_hat; the two terms that are subtracted are exactly these parts.
That is also why a dout of ones, with gains of 1, gives a dx of 0 and proves nothing.

In `minillm/nn/layernorm.py` you will find your lines, applied to a few rows at a time so that they stay in a core's cache.
"""


def check(attempt):
    for trial, (N, M, C) in enumerate(attempt.trials("N M C", 6)):
        rng, leading = attempt.rng, leading_axes(attempt, trial, 3, N, M)
        dout = rng.normal(size=(*leading, C))
        passes = []
        for _ in range(2):
            args = 3 + 2 * rng.normal(size=(*leading, C)), 1 + 0.5 * rng.normal(size=C), rng.normal(size=C)
            passes.append((args, *answers(*args, dout)))
        hold_layer(attempt, "layernorm", "layernorm_backward", dout, passes, note_of(leading))


def mean(x):
    return x.mean(axis=-1, keepdims=True)


def forward(x, axis=-1, ddof=0, eps=EPS):
    """x_hat and r"""
    r = 1 / np.sqrt(x.var(axis=axis, keepdims=True, ddof=ddof) + eps)
    return (x - x.mean(axis=axis, keepdims=True)) * r, r


def answers(x, g, b, dout):
    """The right results, and those of known mistakes."""
    C = len(g)
    x_hat, r = forward(x)
    h = dout * g
    rows = tuple(range(x.ndim - 1))
    right = {"y": g * x_hat + b, "dx": r * (h - mean(h) - x_hat * mean(h * x_hat)), "dg": (dout * x_hat).sum(axis=rows),
             "db": dout.sum(axis=rows)}
    return right, {
        "the variance is divided by C - 1; it must be by C": {"y": g * forward(x, ddof=1)[0] + b},
        "mean and variance are taken over the rows; it must be over the last axis": {"y": g * forward(x, axis=0)[0] + b},
        "eps is missing under the root": {"y": g * forward(x, eps=0)[0] + b},
        "eps is added to the standard deviation; it belongs under the root": {"y": g * (x - mean(x)) / (x.std(
            axis=-1, keepdims=True) + EPS) + b},
        "the mean is not subtracted": {"y": g * x * r + b},
        "the mean is one number for the whole array; each row has its own": {"y": g * (x - x.mean()) * r + b},
        "mean and variance are those of the whole array; each row has its own": {
            "y": g * (x - x.mean()) / np.sqrt(x.var() + EPS) + b},
        "the square root is missing: r is 1 / sqrt(variance + eps)": {"y": g * (x - mean(x)) * r * r + b},
        "the gain is missing in h = dout g": {"dx": r * (dout - mean(dout) - x_hat * mean(dout * x_hat))},
        "the means are taken of dout; they must be of h = dout g": {"dx": r * (h - mean(dout) - x_hat * mean(dout * x_hat))},
        "the first mean is taken of dout; it must be of h = dout g": {"dx": r * (h - mean(dout) - x_hat * mean(h * x_hat))},
        "the sign of the third term: the part along x_hat is subtracted": {"dx": r * (h - mean(h) + x_hat * mean(h * x_hat))},
        "it should be x_hat, not x": {"dx": r * (h - mean(h) - x * mean(h * x))},
        "mu depends on x, too: the term mean of h is missing": {"dx": r * (h - x_hat * mean(h * x_hat))},
        "r depends on x, too: the term x_hat times the mean of h x_hat is missing": {"dx": r * (h - mean(h))},
        "only the direct term r h is there; mu and r depend on x as well": {"dx": r * h},
        "sums are taken; they should be means over the C numbers": {
            "dx": r * (h - C * mean(h) - x_hat * C * mean(h * x_hat))},
        "the factor r is missing": {"dx": h - mean(h) - x_hat * mean(h * x_hat)},
        "the sum over the rows is missing": {"dg": dout * x_hat, "db": dout},
        "only the first axis is summed over; all leading axes must be": {
            "dg": (dout * x_hat).sum(axis=0), "db": dout.sum(axis=0)},
        "this is computed from x; the gain multiplies x_hat": {"dg": (dout * x).sum(axis=rows)},
        "this is computed from h, which contains the gain already; it must be computed from dout": {
            "dg": (h * x_hat).sum(axis=rows), "db": h.sum(axis=rows)},
    }
