import numpy as np


def squared_error(x, y, w, b):
    e = x @ w + b - y
    return np.mean(e ** 2), 2 / len(y) * x.T @ e, 2 * np.mean(e)
