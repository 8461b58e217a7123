"""Exercise 2: three activations and their backward passes."""

import numpy as np

LESSON = 2

HINTS = (
    "NumPy's functions work on whole arrays: np.exp(x) is the exponential of each number in x, whatever its shape. A backward "
    "pass is the chain rule for each number separately: dx = dout times the slope of the activation at that number.",
    """The slopes, as derived in lesson 2:

    sigmoid   dp/dx = p (1 - p)        tanh   dt/dx = 1 - t^2        ReLU   dy/dx = 1 where x > 0, else 0

p and t are outputs already: do not put them through the function again. For ReLU, `x > 0` is an array of True and False, which
count as 1 and 0 in a product.""",
    """np.maximum(x, 0) takes the larger of each number and 0, in a new array. For sigmoid use the equation as it is, with
exp(-x) in the denominator: where exp(-x) overflows to infinity, 1 / infinity is 0, which is right. The form
exp(x) / (1 + exp(x)) ends in infinity / infinity there. Each of the three backward passes is one product, dout * ...""",
)

EXPLANATION = """
The slopes of sigmoid and tanh can be computed from the output alone. So a network need not keep x once it has p or t, which
halves the memory. What is kept for the backward pass is called a cache; lesson 3 begins to count its size.

`sigmoid(-1000)` may have printed a warning, "overflow in exp", with the right result. If that bothers you, the same function is
(1 + tanh(x / 2)) / 2, and tanh never overflows.

GPT-2 uses none of the three. It uses GELU, a ReLU with a smooth corner: `minillm/nn/gelu.py`. Its slope is a longer function of
x; it is exercise 18. But its backward pass is again one product: dout * slope.
"""


def sigmoid(x):
    return (1 + np.tanh(x / 2)) / 2


def check(attempt):
    for trial, (N, M, C) in enumerate(attempt.trials("N M C")):
        size = [(N, C), (C,), (N, M, C)][trial % 3]
        x, dout = 2 * attempt.rng.normal(size=size), attempt.rng.normal(size=size)
        x.flat[::3] = np.round(x.flat[::3])
        x.flat[1] = 0.0                                        # the corner of ReLU
        p, t = sigmoid(x), np.tanh(x)
        attempt.check("sigmoid", (x,), {"p": p}, {
            "the sign of the exponent: it is exp(x), and should be exp(-x), so large x give 0 instead of 1": {"p": 1 - p},
            "this is tanh, which runs from -1 to 1": {"p": t},
            "the 1 in the denominator is missing": {"p": np.exp(x)},
        })
        attempt.check("sigmoid_backward", (dout, p), {"dx": dout * p * (1 - p)}, {
            "p is the output already, and has been put through sigmoid once more": {"dx": dout * sigmoid(p) * (1 - sigmoid(p))},
            "this is the slope alone; the chain rule multiplies it by dout": {"dx": p * (1 - p)},
            "a factor of the slope is missing: it is p times (1 - p)": {"dx": dout * p},
            "the factor p of the slope is missing: it is p times (1 - p)": {"dx": dout * (1 - p)},
            "this is the slope of tanh; that of sigmoid is another": {"dx": dout * (1 - p * p)},
        })
        attempt.check("tanh_backward", (dout, t), {"dx": dout * (1 - t * t)}, {
            "t is the output already, and has been put through tanh once more": {"dx": dout * (1 - np.tanh(t) ** 2)},
            "t is not squared": {"dx": dout * (1 - t)},
            "this is the slope alone; the chain rule multiplies it by dout": {"dx": 1 - t * t},
            "this is the slope of sigmoid; that of tanh is another": {"dx": dout * t * (1 - t)},
        })
        attempt.check("relu", (x,), {"y": np.maximum(x, 0)}, {
            "negative numbers have changed their sign, as with np.abs; they should become 0": {"y": np.abs(x)},
            "the smaller of x and 0 is taken; it should be the larger": {"y": np.minimum(x, 0)},
        })
        attempt.check("relu_backward", (dout, x), {"dx": np.where(x > 0, dout, 0.0)}, {
            "at the corner, x = 0, the slope should be 0: x > 0, not x >= 0": {"dx": dout * (x >= 0)},
            "dout is multiplied by the output of ReLU, not by its slope (1 or 0)": {"dx": dout * np.maximum(x, 0)},
            "ReLU is applied to dout; whether a number passes depends on x, not on dout": {"dx": np.maximum(dout, 0)},
            "this is the slope alone; the chain rule multiplies it by dout": {"dx": (x > 0) * 1.0},
            "everything passes: where x is negative, no change of x changes the output": {"dx": dout},
        })

    x = np.array([-1000.0, -40.0, 0.0, 40.0, 1000.0])
    p = attempt.call("sigmoid", x, returns="p")
    attempt.insist(np.isfinite(p).all(), f"sigmoid(x) with x = {x.tolist()} gives p = {np.round(p, 4).tolist()}.",
                   "Likely: exp(1000) is infinite in floating point, and infinity / infinity is not a number. Is there a form of "
                   "the fraction in which only the denominator can become infinite?")
    attempt.compare("sigmoid", (x,), p, {"p": sigmoid(x)}, {
        "x is cut off too early: at 40, say, the result is no longer 1": {"p": sigmoid(np.clip(x, -10, 10))}})
