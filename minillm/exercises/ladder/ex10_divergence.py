"""Exercise 10: which learning rate is too large?"""

import numpy as np

from ..diagnose import shape

STEPS = 300
CLOSE = 1e-6        # the largest relative difference at which a rate counts as that of a known mistake

LESSON = 5

HINTS = (
    "Along an eigenvector of the Hessian, with eigenvalue lambda, each step multiplies the distance from the lowest point by "
    "1 - rate lambda. When does that shrink? It must do so along every eigenvector: for which of them does it fail first?",
    "The gradient is dL/dw = (2 / N) x'(x w - y). The Hessian is the derivative of the gradient with respect to w, and no longer "
    "contains w or y. It is a (K, K) matrix.",
    """The Hessian is H = (2 / N) x' x. Let lambda be its largest eigenvalue. |1 - rate lambda| = 1 at rate = 0 and at

    rate = 2 / lambda

and for larger rates each step increases the distance and changes its sign.""",
)

EXPLANATION = """
The steepest direction sets the limit, and the flattest decides how many steps are needed: at a rate near 2 / lambda_max, the
distance along it shrinks by the factor 1 - 2 lambda_min / lambda_max each step. So what counts is the ratio of the two, the
condition number. It is usually smaller if the inputs have mean 0 and equal variance, which is why data are standardised.

The loss of a deep network is not a bowl, but near a minimum it resembles one, and the steepest direction there sets a limit as
well. Nobody computes the whole Hessian of a million weights, but its largest eigenvalue can be found from gradients alone:
`minillm sharpness` does it for any model (`minillm/surface/sharpness.py`).
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
                                             "Only one of the eigenvalues counts.")
    attempt.insist(np.isfinite(rate) and rate > 0, case, f"your rate is {rate:.4g}; it must be a number above 0.")
    rate = float(rate)
    for factor, diverges in ((0.9, False), (1.1, True)):
        before, after = descend(x, factor * rate, attempt.rng)
        attempt.insist((after > before) == diverges, case,
                       f"your rate is {rate:.4g}. At {factor} times this rate, gradient descent must "
                       f"{'diverge' if diverges else 'converge'}.",
                       f"But in {STEPS} steps from a random start, the length of the gradient has gone from {number(before)} to "
                       f"{number(after)}.", *likely(x, rate))


def descend(x, rate, rng):
    """The length of the gradient at a random start and after STEPS steps; infinity if it has overflowed."""
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
    """[a line with the likely cause of a wrong rate], or [] if it is not a known mistake."""
    N, K = x.shape
    rising = np.linalg.eigvalsh(2 / N * x.T @ x)
    limit = 2 / rising[-1]
    mistakes = {
        "1/N is missing in the Hessian; the loss is the mean of the squares, not their sum": limit / N,
        "it is divided by K, the number of inputs; but the loss is a mean over N examples": limit * K / N,
        "this is 1 / lambda, at which one step leads straight to the minimum; larger steps still converge": limit / 2,
        "this is twice as much: the derivative of a square has a factor 2, which stays in the Hessian": 2 * limit,
        "the smallest eigenvalue is taken; the direction of the largest is the first to diverge": 2 / rising[0],
        "the sum of all eigenvalues is taken (the trace); only the largest counts": 2 / rising.sum(),
        "the mean of the eigenvalues is taken; only the largest counts": 2 / rising.mean(),
        "this is the eigenvalue itself; the rate is 2 divided by it": rising[-1],
        "these are singular values of x; the eigenvalues of x' x are their squares": N / np.linalg.norm(x, 2),
        "the covariance is used (np.cov), which subtracts the mean first; the Hessian uses x as it is": (
            1 / np.linalg.eigvalsh(np.cov(x.T).reshape(K, K))[-1]),
    }
    return [f"Likely: {sentence}." for sentence, wrong in mistakes.items() if abs(rate - wrong) < CLOSE * abs(wrong)][:1]
