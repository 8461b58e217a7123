"""Exercise 11: cross-entropy and its gradient."""

import numpy as np

HINTS = (
    "Make log p first, (N, V), by the equation with m. Then p = np.exp(log_p). Both loss and gradient are made of these two.",
    "To pick from each row n the entry y_n, index with two lists at once: log_p[np.arange(N), targets] is (N,). In the same way "
    "the 1 of [j = y_n] can be taken away from a copy of p.",
    """In the gradient, start from p, take 1 away at the targets, divide by N:

    d = p.copy()
    d[np.arange(N), targets] -= 1

The loss is minus the mean of the picked log p.""",
)

EXPLANATION = """
p - y: the model's answer minus the right one, as for the squared error of lesson 1. It does not saturate. However sure the model
is of a wrong class, the gradient is near 1, since the steep logarithm cancels softmax's flat ends (lesson 2).

A language model is this classifier at every position of a text, with the next word as the class.
`minillm/nn/cross_entropy.py` adds what batches of texts need: targets that do not count, and a constant to divide by.
"""


def check(attempt):
    for trial, (N, V) in enumerate(attempt.trials("N V", 8)):
        scale = 1 if trial < 5 else 800                             # later: scores for which exp overflows
        logits, targets = scale * attempt.rng.normal(size=(N, V)), attempt.rng.integers(0, V, N)
        log_p = logits - logits.max(axis=1, keepdims=True)
        log_p = log_p - np.log(np.exp(log_p).sum(axis=1, keepdims=True))
        p, rows, y = np.exp(log_p), np.arange(N), np.eye(V)[targets]
        picked = log_p[rows, targets]
        attempt.check("cross_entropy", (logits, targets), {"loss": -picked.mean(), "dlogits": (p - y) / N}, {
            "the losses are added up, not averaged: 1/N is missing": {"loss": -picked.sum(), "dlogits": p - y},
            "the mean is taken over all N V numbers; it must be over the N examples": {
                "loss": -picked.sum() / (N * V), "dlogits": (p - y) / (N * V)},
            "the minus is missing: a likely answer is a small surprise": {"loss": picked.mean()},
            "this is the mean probability; its logarithm is missing": {"loss": -p[rows, targets].mean()},
            "it is y - p; it must be p - y, since a larger score of the right class lowers the loss": {"dlogits": (y - p) / N},
            "the 1 is not taken away at the target": {"dlogits": p / N},
            "1 is taken away after the division by N, which it needs as well": {"dlogits": p / N - y},
            "the logarithm is to base 2": {"loss": -picked.mean() / np.log(2)},
        }, note="" if scale == 1 else "with large scores")
