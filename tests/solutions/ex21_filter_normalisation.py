import numpy as np


def lengths(x):
    return np.linalg.norm(x, axis=0, keepdims=True)


def filter_normalised(d, W):
    return d * (lengths(W) / lengths(d))


WRONG = [
    ("axis=0", "axis=1", "rows are normalised"),
    ("np.linalg.norm(x, axis=0, keepdims=True)", "np.linalg.norm(x)", "as a whole"),
    ("d * (lengths(W) / lengths(d))", "d / lengths(d)", "as long as those of W"),
    ("np.linalg.norm(x, axis=0, keepdims=True)", "(x ** 2).sum(axis=0)", "the root is missing"),
]
