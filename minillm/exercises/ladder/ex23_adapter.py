"""Exercise 23: an adapter."""

import math

import numpy as np

from ...nn import GELU
from ..diagnose import shape
from ..last_checks import hold_dtype
from ..layers import OTHER_PASS, hold_earlier, product, rows

LESSON = 11

HINTS = (
    "Start: which of U and D must be 0 for the correction to vanish, and which must then not be 0? Forward: two of your linear "
    "layers with gelu between them, and h added at the end. Put into the cache what the backward pass of each part needs: a "
    "linear layer needs its input and its weights, gelu needs its input.",
    """Backward, from the last operation to the first:

    out = h + (a U + b2):   dout goes to both terms of the sum, unchanged
    a U + b2:               linear_backward with input a and weights U gives da, dU, db2
    a = gelu(z):            gelu_backward at z gives dz
    h D + b1:               linear_backward with input h and weights D gives dD, db1, and one part of dh

h is used twice. Its gradient is the sum of the gradients of both uses.""",
    """Start: D = rng.normal(size=(C, m)) scaled by 1 / sqrt(C), and zeros for b1, U and b2.

Backward, with n running over all leading axes:

    dU_jc = sum_n a_nj dout_nc      db2_c = sum_n dout_nc      da_nj = sum_c dout_nc U_jc      dz_nj = da_nj s_nj
    dD_cj = sum_n h_nc dz_nj        db1_j = sum_n dz_nj        dh_nc = dout_nc + sum_j dz_nj D_cj

with s the slope of gelu at z. The first three are one call of linear_backward, the last three another one, plus dout.""",
)

EXPLANATION = """
Because U = 0, the adapted model equals the base at first, to the last bit, and dh = dout: the new layer has no effect yet,
neither forward nor backward. In the first step only U and b2 get a gradient; D and b1 follow. LoRA (lesson 13) starts in the same
way, with one of its two factors at 0.

A layer of the form `out = h + ...` is called residual. Each block of the transformer has this form too, with the same effect: the
gradient passes unchanged, plus the part that goes through the layer.

In `minillm/finetune/methods/bottleneck.py` your two functions are `Bottleneck` and, for the sum with h, `SequentialAdapter`.
There the base is frozen, and its layers do not compute dW; but they need dh wherever there is another adapter below.
"""

BIG, WIDE = 400, 60      # sizes large enough to measure a standard deviation


def check(attempt):
    hold_start(attempt)
    for trial, (N, M, C, m) in enumerate(attempt.trials("N M C m", 6)):
        leading = [(N,), (N, M), ()][trial % 3]
        note = {0: "with no leading axes", 2: "with two leading axes"}.get(len(leading), "")
        first, second = (draw(attempt.rng, leading, C, m) for _ in range(2))
        hold_earlier_exercises(attempt, *first)
        caches = []
        for _, args in (first, second):
            right, mistakes = forward(*args)
            out, cache = attempt.call("adapter", *args, returns="out cache")
            attempt.compare("adapter", args, out, {"out": right}, mistakes, note)
            hold_dtype(attempt, "adapter", args, {"out": right, "cache": None})
            caches.append(cache)
        for cache, (dout, args), (_, others) in zip(caches, (first, second), (second, first)):
            right, mistakes = backward(dout, *args)
            mistakes[OTHER_PASS] = backward(dout, *others)[0]
            attempt.check("adapter_backward", (dout, cache), right, mistakes,
                          f"and the cache of adapter{', ' * bool(note)}{note}")
    hold_promise(attempt)


def draw(rng, leading, C, m):
    """(dout, (h, D, b1, U, b2))"""
    return rng.normal(size=(*leading, C)), (rng.normal(size=(*leading, C)), rng.normal(size=(C, m)), rng.normal(size=m),
                                            rng.normal(size=(m, C)), rng.normal(size=C))


def forward(h, D, b1, U, b2):
    """The right out, and those of known mistakes."""
    z = h @ D + b1
    a, _ = GELU().forward(z)
    correction = a @ U + b2
    return h + correction, {
        "this is only the correction; it must be added to h": {"out": correction},
        "gelu is missing: without it D and U are one matrix of low rank": {"out": h + z @ U + b2},
        "the activation is ReLU, not gelu": {"out": h + np.maximum(z, 0) @ U + b2},
        "the activation is tanh, not gelu": {"out": h + np.tanh(z) @ U + b2},
        "gelu has been applied to the correction as well": {"out": h + GELU().forward(correction)[0]},
        "gelu has been applied to h, before D": {"out": h + GELU().forward(GELU().forward(h)[0] @ D + b1)[0] @ U + b2},
        "b1 is left out": {"out": h + GELU().forward(h @ D)[0] @ U + b2},
        "b1 is added after gelu; it is part of z, before gelu": {"out": h + (GELU().forward(h @ D)[0] + b1) @ U + b2},
        "b2 is left out": {"out": h + a @ U},
    }


def backward(dout, h, D, b1, U, b2):
    """The right gradients, and those of known mistakes."""
    z = h @ D + b1
    a, slope = GELU().forward(z)
    da = dout @ U.T

    def after(dz):
        return {"dh": dout + dz @ D.T, "dD": product(h, dz), "db1": rows(dz).sum(axis=0)}

    right = after(da * slope) | {"dU": product(a, dout), "db2": rows(dout).sum(axis=0)}
    return right, {
        "the residual part of dh is missing: out = h + ..., so dout itself must be added": {"dh": right["dh"] - dout},
        "the part of dh through the adapter is missing: h also goes into z, which gives dz D'": {"dh": dout},
        "the derivative of gelu is missing: dz = da times the slope of gelu at z": after(da),
        "gelu_backward takes the input z of gelu as its second argument, and was given a": after(da * GELU().forward(a)[1]),
        "da was multiplied by gelu(z); it must be its derivative": after(da * a),
        "this is computed from z; U is multiplied by a = gelu(z)": {"dU": product(z, dout)},
        "the results are in another order; it must be dh, dD, db1, dU, db2": {"dD": right["dU"], "db1": right["db2"]},
        "the mean over the positions is taken; the gradient is their sum": {
            name: right[name] / len(rows(dout)) for name in ("dD", "db1", "dU", "db2")},
    }


def hold_start(attempt):
    """Check the start: shapes, zeros, and how D is drawn."""
    for C, m in (*attempt.trials("C m", 2), (BIG, WIDE)):
        attempt.sizes = {"C": C, "m": m}
        case = f"adapter_start({C}, {m}, rng):"
        seeds = attempt.rng.integers(2 ** 32, size=2)
        (D, b1, U, b2), (other, *_), (again, *_) = (
            attempt.call("adapter_start", C, m, np.random.default_rng(seed), returns="D b1 U b2") for seed in (*seeds, seeds[0]))
        for name, array, expected in (("D", D, (C, m)), ("b1", b1, (m,)), ("U", U, (m, C)), ("b2", b2, (C,))):
            has = f"has {shape(array, attempt.sizes)}" if np.ndim(array) else "is a single number"
            attempt.insist(np.shape(array) == expected, case,
                           f"{name} should have the shape {shape(np.empty(expected), attempt.sizes)}, and {has}.")
        for name, array in (("U", U), ("b2", b2)):
            attempt.insist(not np.any(array), case, f"{name} is not 0. So the adapter has an effect at once, and the adapted "
                           "model does not begin bit for bit as the base.")
        attempt.insist(np.any(D), case, "D is 0, and so is U. Then a = gelu(0) = 0, which gives dU = 0, and U = 0 gives dD = 0: "
                       "only b2 would ever change.")
        attempt.insist(not np.any(b1), case, "b1 is not 0. That would do no harm, but it must be 0; only D is random.")
        attempt.insist(np.ptp(D) > 0, case, "all numbers of D are equal. Then so are the m numbers of the bottleneck; they get "
                       "the same gradient, and stay equal for ever. Draw them at random.")
        attempt.insist(np.array_equal(D, again) and not np.array_equal(D, other), case,
                       "D must be drawn from rng, the generator that is passed in: the same seed must give the same D, and "
                       "another seed another D.")
    hold_spread(attempt, D, case)


def hold_spread(attempt, D, case):
    """Check the mean and the standard deviation of D."""
    C, m = D.shape
    spread, expected = float(np.std(D)), 1 / math.sqrt(C)
    mistakes = {
        "the factor 1 / sqrt(C) is missing: h D would be sqrt(C) times as large as h": 1.0,
        "it is 1 / sqrt(m); z is a sum of C terms, so it must be 1 / sqrt(C)": 1 / math.sqrt(m),
        "it is 1 / C; the square root is missing": 1 / C,
        "it is multiplied by sqrt(C) instead of divided": math.sqrt(C),
        "uniform numbers between -1 / sqrt(C) and 1 / sqrt(C) have a smaller standard deviation": expected / math.sqrt(3),
        "this is 0.02, as for the model's own matrices; D must be as the exercise says": 0.02,
    }
    likely = [f"Likely: {sentence}." for sentence, wrong in mistakes.items() if abs(spread / wrong - 1) < 0.05][:1]
    attempt.insist(abs(np.mean(D)) < 0.1 * spread, case, f"the mean of D should be 0, and is {np.mean(D):.3g}.",
                   "Likely: rng.random gives numbers between 0 and 1; rng.normal has mean 0.")
    attempt.insist(abs(spread / expected - 1) < 0.05, case, f"D should have the standard deviation 1 / sqrt({C}) = "
                   f"{expected:.3g}, and has {spread:.3g}.", *likely)


def hold_promise(attempt):
    """Check that an adapter has no effect at its start."""
    C, m = 6, 3
    arrays = [array.astype(np.float32) for array in attempt.call("adapter_start", C, m, attempt.rng, returns="D b1 U b2")]
    h = attempt.rng.normal(size=(4, C)).astype(np.float32)
    out, _ = attempt.call("adapter", h, *arrays, returns="out cache")
    attempt.insist(np.array_equal(out, h), "adapter, with the arrays of your adapter_start, must give h itself, bit for bit; "
                   f"yours differs by up to {np.abs(out - h).max():.2g}.")


def hold_earlier_exercises(attempt, dout, args):
    """Wrong if an exercise that this one uses is wrong, so that the learner does not search in the wrong file."""
    h, D, b1, U, _ = args
    y, slope = GELU().forward(h)
    parts = {("gelu", 18): ((h,), (y,), "y"), ("gelu_backward", 18): ((dout, h), (dout * slope,), "dx"),
             ("linear", 5): ((h, D, b1), (h @ D + b1,), "y"),
             ("linear_backward", 7): ((dout, h @ D, U), (dout @ U.T, product(h @ D, dout), rows(dout).sum(axis=0)), "dx dW db")}
    hold_earlier(attempt, parts)
