import math

import numpy as np
from ex03_softmax import softmax


def causal_attention(q, k, v):
    T, D = q.shape[-2:]
    S = q @ k.swapaxes(-1, -2) / math.sqrt(D)
    S = np.where(np.tri(T, dtype=bool), S, -np.inf)
    P = softmax(S)
    return P @ v, P


WRONG = [
    ("np.tri(T, dtype=bool)", "np.tri(T, dtype=bool).T", "wrong way round"),
    ("    S = np.where(np.tri(T, dtype=bool), S, -np.inf)\n", "", "the mask is missing"),
    ("-np.inf", "0", "masked with 0"),
    (" / math.sqrt(D)", "", "not divided by sqrt(D)"),
    ("P = softmax(S)", "P = softmax(S.swapaxes(-1, -2)).swapaxes(-1, -2)", "over the queries"),
    ("np.tri(T, dtype=bool)", "np.tri(T, k=-1, dtype=bool)", "nan"),
]
