"""Exercise 10: which learning rate is too large?"""

import numpy as np

from ..diagnose import shape

STEPS = 300
CLOSE = 1e-6        # a rate that is so near to that of a known mistake, relative to it, comes from it

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
The steepest direction sets the limit, and the flattest decides how long it takes: at a rate near 2 / lambda_max its distance
shrinks by the factor 1 - 2 lambda_min / lambda_max each step. So what counts is the ratio of the two, the condition number.
Inputs that are brought to mean 0 and to one size mostly make it smaller: that is why data are standardised.

The loss of a deep network is no bowl, but near a minimum it is like one, and the steepest direction there sets a limit as well.
Nobody writes down the Hessian of a million weights; its largest eigenvalue can be had from gradients alone, and
`minillm sharpness` tells it of any model (`minillm/surface/sharpness.py`).
"""


def check(attempt):
    rng = attempt.rng
    for trial, (N, K) in enumerate(attempt.trials("N K", 9)):
        N += 20 if trial < 7 else 0
        K = 1 if trial in (5, 6) else K
        x, note = rng.normal(size=(N, K)) * rng.uniform(0.3, 3, K), ""
        if trial in (3, 4):
            x, note = x + rng.uniform(3, 6, K), "inputs whose mean is far from 0"
        elif trial in (5, 6):
            note = "one input"
        elif trial > 6:
            x, note = x @ rng.normal(size=(K, K)), "few examples, of inputs that depend on each other"
        attempt.sizes = {"N": N, "K": K}
        hold(attempt, x, note)


def hold(attempt, x, note):
    rate = attempt.call("largest_rate", x, returns="rate")
    case = f"largest_rate(x) with x {shape(x, attempt.sizes)}{', ' * bool(note)}{note}:"
    attempt.insist(np.ndim(rate) == 0, case, f"the rate must be one number, and yours has the shape {np.shape(rate)}. "
                                             "Of several eigenvalues only one decides.")
    attempt.insist(np.isfinite(rate) and rate > 0, case, f"your rate is {rate:.4g}; it must be a number above 0.")
    rate = float(rate)
    for factor, diverges in ((0.9, False), (1.1, True)):
        before, after = descend(x, factor * rate, attempt.rng)
        attempt.insist((after > before) == diverges, case,
                       f"your rate is {rate:.4g}. At {factor} times of it, gradient descent must "
                       f"{'diverge' if diverges else 'converge'}.",
                       f"But in {STEPS} steps from a random start, the length of the gradient has gone from {number(before)} to "
                       f"{number(after)}.", *likely(x, rate))


def descend(x, rate, rng):
    """The length of the gradient at a random start, and after some steps; infinity if it has left the numbers."""
    N, K = x.shape
    steepest = np.linalg.eigh(x.T @ x)[1][:, -1]
    w, y = rng.normal(size=K) + 10 * steepest, rng.normal(size=N)
    lengths = []
    with np.errstate(all="ignore"):
        for _ in range(STEPS + 1):
            gradient = 2 / N * x.T @ (x @ w - y)
            lengths.append(np.linalg.norm(gradient))
            w = w - rate * gradient
    return lengths[0], lengths[-1] if np.isfinite(lengths[-1]) else np.inf


def number(value):
    return f"{value:.3g}" if np.isfinite(value) else "infinity"


def likely(x, rate):
    """What a wrong rate looks like, if it is a known mistake."""
    N, K = x.shape
    rising = np.linalg.eigvalsh(2 / N * x.T @ x)
    limit = 2 / rising[-1]
    mistakes = {
        "1/N is missing in the Hessian; the loss is the mean of the squares, not their sum": limit / N,
        "it is divided by K, the number of inputs, where the loss is a mean over N examples": limit * K / N,
        "this is 1 / lambda, with which one step leads straight to the bottom; larger steps still converge": limit / 2,
        "this is twice as much: the derivative of a square brings a 2, which the Hessian keeps": 2 * limit,
        "the smallest eigenvalue is taken; the direction of the largest is the first to diverge": 2 / rising[0],
        "the sum of all eigenvalues is taken (the trace); the largest alone decides": 2 / rising.sum(),
        "the mean of the eigenvalues is taken; the largest alone decides": 2 / rising.mean(),
        "this is the eigenvalue itself; the rate is 2 divided by it": rising[-1],
        "singular values of x are not yet the eigenvalues of x' x: those are their squares": N / np.linalg.norm(x, 2),
        "the covariance is used (np.cov), which takes the mean away first; the Hessian has x as it is": (
            1 / np.linalg.eigvalsh(np.cov(x.T).reshape(K, K))[-1]),
    }
    return [f"Likely: {sentence}." for sentence, wrong in mistakes.items() if abs(rate - wrong) < CLOSE * abs(wrong)][:1]
