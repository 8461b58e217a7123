"""Exercise 11: cross-entropy and its gradient."""

import numpy as np

from ..diagnose import same

LESSON = 6

HINTS = (
    "Compute log p first, (N, V), by the equation with m. Then p = np.exp(log_p). Loss and gradient follow from these two.",
    "To pick the entry y_n from each row n, index with two lists at once: log_p[np.arange(N), targets] is (N,). In the same way "
    "the 1 of [j = y_n] can be subtracted from a copy of p.",
    """For the gradient, start from p, subtract 1 at the targets, and divide by N:

    d = p.copy()
    d[np.arange(N), targets] -= 1

The loss is minus the mean of the picked log p.""",
)

EXPLANATION = """
The gradient is p - y: the model's answer minus the right one, as for the squared error of lesson 1. It does not saturate: if the
model is very sure of a wrong class, the gradient is near 1, since the steep logarithm cancels softmax's flat ends (lesson 2).

A language model is this classifier at every position of a text, with the next word as the class.
`minillm/nn/cross_entropy.py` adds what batches of texts need: targets that do not count, and a constant to divide by.
"""


def cross_entropy(logits, targets):
    """loss, dlogits, log_p (N, V)"""
    s = logits - logits.max(axis=1, keepdims=True)
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(s)), targets].mean(), (np.exp(log_p) - np.eye(s.shape[1])[targets]) / len(s), log_p


def check(attempt):
    for N, V in attempt.trials("N V"):
        logits, targets = 2 * attempt.rng.normal(size=(N, V)), attempt.rng.integers(0, V, N)
        loss, dlogits, log_p = cross_entropy(logits, targets)
        p, y, picked = np.exp(log_p), np.eye(V)[targets], log_p[np.arange(N), targets]
        down = np.exp(logits - logits.max(axis=0))
        down /= down.sum(axis=0)
        attempt.check("cross_entropy", (logits, targets), {"loss": loss, "dlogits": dlogits}, {
            "the losses are added up, not averaged: 1/N is missing": {"loss": -picked.sum(), "dlogits": p - y},
            "the mean is taken over all N V numbers; it must be over the N examples": {
                "loss": -picked.sum() / (N * V), "dlogits": (p - y) / (N * V)},
            "the mean is taken over -log p of every class; only that of the right one counts": {"loss": -log_p.mean()},
            "the minus is missing: a likely answer must have a small loss": {"loss": picked.mean()},
            "this is the mean probability of the right class; its logarithm is missing": {"loss": -np.exp(picked).mean()},
            "the logarithm is taken of the mean probability; the mean must be that of the logarithms": {
                "loss": -np.log(np.exp(picked).mean())},
            "softmax is missing: these are the scores themselves": {"loss": -logits[np.arange(N), targets].mean()},
            "softmax runs over the examples; it must run over the classes, row by row": {
                "loss": -np.log(down[np.arange(N), targets]).mean(), "dlogits": (down - y) / N},
            "it is y - p; it must be p - y, since a larger score of the right class lowers the loss": {"dlogits": (y - p) / N},
            "the 1 is not subtracted at the target": {"dlogits": p / N},
            "1 is subtracted after the division by N; it must be divided by N as well": {"dlogits": p / N - y},
            "it is divided by p once too often: in the derivative of softmax and logarithm together, 1/p cancels": {
                "dlogits": (p - y) / p / N},
            "this is the gradient with respect to p; that of the scores is asked for": {"dlogits": -y / p / N},
            "the logarithm is to base 2": {"loss": -picked.mean() / np.log(2)},
        })
    for N, V in attempt.trials("N V", 2):
        large(attempt, N, V)


def large(attempt, N, V):
    """Check scores for which exp overflows, each row in another range, and one right class with a hopeless score."""
    logits, targets = 300 * attempt.rng.normal(size=(N, V)), attempt.rng.integers(0, V, N)
    logits += 5000 * (np.arange(N)[:, None] - N // 2)
    logits[0, targets[0]] = logits[0].max() - 1200
    loss, dlogits, log_p = cross_entropy(logits, targets)
    note = f"with scores between {logits.min():.0f} and {logits.max():.0f}"
    results = attempt.call("cross_entropy", logits, targets, returns="loss dlogits", note=note)
    if not all(np.isfinite(array).all() for array in results):
        complaint = f"cross_entropy(logits, targets) {note} gives numbers that are infinite or NaN."
        attempt.insist(not same(dlogits, results[1]), complaint, "dlogits is right.",
                       "Likely: a probability has been rounded to 0, and then its logarithm was taken. Compute log p by the "
                       "equation with m, without computing p first.")
        attempt.insist(False, complaint, "Likely: exp of a large number has overflowed, or all exponentials of a row are 0, and "
                                         "so is their sum. Subtract from each row its own largest score, before exp.")
    picked = np.exp(log_p[np.arange(N), targets])
    saved = [-np.log(rule(picked, tiny)).mean() for rule in (np.add, np.maximum) for tiny in 10.0 ** -np.arange(5, 31)]
    attempt.compare("cross_entropy", (logits, targets), results, {"loss": loss, "dlogits": dlogits}, {
        "a small number is added to p, or p is clipped from below, so that its logarithm is not infinite. Then the loss of a "
        "hopeless answer is too small": {"loss": next((wrong for wrong in saved if same(wrong, results[0])), None)},
    }, note)
