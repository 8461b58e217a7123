"""Exercise 10: which learning rate is too large?"""

import numpy as np

from ..diagnose import shape

STEPS = 200
CLOSE = 0.01        # two rates that differ by less than this part are taken for the same: which mistake is it?

HINTS = (
    "Along an eigenvector of the Hessian, with eigenvalue lambda, each step multiplies the distance from the lowest point by "
    "1 - rate lambda. When does that shrink? It must do so along every eigenvector: which of them is the first that fails?",
    "The gradient is dL/dw = (2 / N) x'(x w - y). The Hessian is its derivative with respect to w once more, which no longer "
    "contains w or y. It is a (K, K) matrix.",
    """The Hessian is H = (2 / N) x' x. Let lambda be its largest eigenvalue. |1 - rate lambda| = 1 at rate = 0 and at

    rate = 2 / lambda

and beyond that each step makes the distance larger, with its sign changed.""",
)

EXPLANATION = """
The steepest direction sets the limit, and the flattest decides how long it takes: at a rate near 2 / lambda_max, its distance shrinks
by 1 - 2 lambda_min / lambda_max each step. So what counts is the ratio of the two, the condition number. Inputs that are brought to
mean 0 and the same size make it smaller, which is why data are standardised, and why networks have normalisation layers (lesson 8).

A deep network's loss is no bowl, but near a point it is like one, and the same limit is seen in training: raise the rate, and there
is a place at which the loss goes up instead of down. Nobody writes down the Hessian of a million weights; its largest eigenvalue can be
had from gradients alone, and `minillm sharpness` tells it of any model (`minillm/surface/sharpness.py`).
"""


def check(attempt):
    for trial, (N, K) in enumerate(attempt.trials("N K", 8)):
        if trial == 0:
            attempt.sizes, note = {"N": N, "K": 1}, "one input"
            x = attempt.rng.normal(size=(N, 1))
        elif trial < 4:
            attempt.sizes, note = {"N": N + 20, "K": K}, ""
            x = attempt.rng.normal(size=(N + 20, K)) * attempt.rng.uniform(0.3, 3, K)
        elif trial < 6:
            attempt.sizes, note = {"N": N + 20, "K": K}, "the inputs have a mean that is far from 0"
            x = attempt.rng.normal(size=(N + 20, K)) + attempt.rng.uniform(1, 3, K)
        else:
            x, note = attempt.rng.normal(size=(N, K)) @ attempt.rng.normal(size=(K, K)), "inputs that depend on each other"
        hold(attempt, x, note)


def hold(attempt, x, note):
    rate = attempt.call("largest_rate", x, returns="rate")
    case = f"largest_rate(x) with x {shape(x, attempt.sizes)}{', ' * bool(note)}{note}:"
    attempt.insist(np.ndim(rate) == 0, case, f"The rate must be one number, and yours has the shape {np.shape(rate)}. "
                                             "Of several eigenvalues only one decides.")
    attempt.insist(np.isfinite(rate) and rate > 0, case, f"The rate is {rate}; it must be a number above 0.")
    rate = float(rate)
    told = [case, f"your rate is {rate:.4g}.", *likely(x, rate)]
    for factor, due in ((0.9, False), (1.1, True)):
        before, after = descend(x, factor * rate, attempt.rng)
        attempt.insist((after > before) == due, *told[:2], f"At {factor} times of it, gradient descent should "
                       f"{'diverge' if due else 'converge'}. From a random start, {STEPS} steps have changed the length of the "
                       f"gradient from {before:.3g} to {number(after)}.", *told[2:])


def descend(x, rate, rng):
    """The length of the gradient at a random start, and after some steps; infinity if it has left the numbers."""
    w, y, n = rng.normal(size=x.shape[1]), rng.normal(size=len(x)), len(x)
    w += top(x) * (1 + rng.random())            # along the steepest direction, too
    first = gradient = 2 / n * x.T @ (x @ w - y)
    with np.errstate(all="ignore"):
        for _ in range(STEPS):
            w = w - rate * gradient
            gradient = 2 / n * x.T @ (x @ w - y)
    length = np.linalg.norm(gradient)
    return np.linalg.norm(first), length if np.isfinite(length) else np.inf


def top(x):
    return np.linalg.eigh(x.T @ x)[1][:, -1]


def number(value):
    return f"{value:.3g}" if np.isfinite(value) else "infinity"


def likely(x, rate):
    """What a wrong rate looks like: a known mistake; else that it is too small or too large."""
    N, K = x.shape
    H = 2 / N * x.T @ x
    rising = np.linalg.eigvalsh(H)
    largest, limit = rising[-1], 2 / rising[-1]
    mistakes = {
        "the errors are averaged in the loss: 1/N is missing in the Hessian": limit / N,
        "it is divided by K, the number of inputs, where the loss is a mean over N examples": limit * K / N,
        "this is 1 / lambda, the rate that goes straight to the bottom in one step; one can still go farther": limit / 2,
        "it is twice what it should be: the derivative of a square brings a 2, also in the Hessian": 2 * limit,
        "the smallest eigenvalue is taken; the steepest direction is the first that diverges": 2 / max(rising[0], 1e-300),
        "the sum of all eigenvalues is taken (the trace); they do not add up, the largest decides": 2 / rising.sum(),
        "the mean of the eigenvalues is taken; the largest decides": 2 / rising.mean(),
        "this is the eigenvalue itself, not a rate": largest,
        "the root is taken: singular values of x are not eigenvalues of x' x; those are their squares": 2 / (2 / N * largest ** 0.5
                                                                                                      * (N / 2) ** 0.5),
        "the covariance of x is used (np.cov), which takes the mean away; the Hessian has x as it is": (
            1 / np.linalg.eigvalsh(np.atleast_2d(np.cov(x.T, bias=True)))[-1]),
    }
    known = [sentence for sentence, wrong in mistakes.items() if abs(rate - wrong) < CLOSE * abs(wrong)]
    return [f"Likely: {known[0]}."] if known else []
