import numpy as np


def squared_error(x, y, w, b):
    e = x @ w + b - y
    return np.mean(e ** 2), 2 / len(y) * x.T @ e, 2 * np.mean(e)


WRONG = [
    ("2 / len(y) * x.T", "2 * x.T", "1/N is missing"),
    ("2 / len(y) * x.T", "1 / len(y) * x.T", "factor 2"),
    ("2 / len(y) * x.T", "-2 / len(y) * x.T", "the other way round"),
    ("+ b - y", "- y", "the bias is left out"),
    ("x.T @ e", "x @ e", "is a transpose (.T) missing"),
]
