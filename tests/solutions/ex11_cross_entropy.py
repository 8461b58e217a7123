import numpy as np


def cross_entropy(logits, targets):
    n = len(targets)
    s = logits - logits.max(axis=1, keepdims=True)
    z = np.exp(s).sum(axis=1, keepdims=True)
    loss = -np.mean(s[np.arange(n), targets] - np.log(z[:, 0]))
    d = np.exp(s) / z
    d[np.arange(n), targets] -= 1
    return loss, d / n


WRONG = [
    ("-np.mean(", "-np.sum(", "1/N is missing"),
    ("loss, d / n", "loss, d", "1/N is missing"),
    ("loss, d / n", "loss, -d / n", "it must be p - y"),
    ("    d[np.arange(n), targets] -= 1\n", "", "not subtracted"),
    (" - logits.max(axis=1, keepdims=True)", " + 0", "has overflowed"),
    ("-np.mean(s", "np.mean(s", "the minus is missing"),
    (" - logits.max(axis=1, keepdims=True)", " - logits.max()", "its own largest score"),
    ("s[np.arange(n), targets] - np.log(z[:, 0])", "np.log((np.exp(s) / z)[np.arange(n), targets])", "rounded to 0"),
    ("s[np.arange(n), targets] - np.log(z[:, 0])", "np.log((np.exp(s) / z)[np.arange(n), targets] + 1e-12)", "p is clipped"),
    ("loss, d / n", "loss, -np.eye(s.shape[1])[targets] * z / np.exp(s) / n", "with respect to p"),
]
