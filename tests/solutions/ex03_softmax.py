import numpy as np


def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


WRONG = [
    ("s - s.max(axis=-1, keepdims=True)", "s", "exp(1000) is infinite"),
    ("s - s.max(axis=-1, keepdims=True)", "s - s.max()", "one number has been subtracted from all rows"),
    ("s - s.max(axis=-1, keepdims=True)", "np.minimum(s, 100)", "clipped at a limit"),
    ("s - s.max(axis=-1, keepdims=True)", "s - np.maximum(s.max(axis=-1, keepdims=True), 0)", "exp(-1000) is 0"),
    ("s.max(axis=-1, keepdims=True)", "s.max(axis=0)", "differ within a row"),
    ("e.sum(axis=-1, keepdims=True)", "e.sum(axis=0)", "over the wrong axis"),
    ("e.sum(axis=-1, keepdims=True)", "e.sum()", "one sum over the whole array"),
    ("e.sum(axis=-1, keepdims=True)", "e.sum(axis=-1)", "keepdims=True"),
]
