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
    ("np.tri(T, dtype=bool)", "np.tri(T, k=-1, dtype=bool)", "must see itself"),
    ("np.where(np.tri(T, dtype=bool), S, -np.inf)", "S + -np.inf * (1 - np.tri(T))", "np.where chooses"),
    ("    P = softmax(S)\n", "    P = softmax(S) * np.tri(T)\n", "float64"),
    ("    S = np.where(np.tri(T, dtype=bool), S, -np.inf)\n    P = softmax(S)\n",
     "    P = softmax(S) * np.tri(T)\n", "no longer sum to 1"),
    ("math.sqrt(D)", "math.sqrt(q.shape[1])", "the root of another"),
    ("math.sqrt(D)", "D", "not by its root"),
    ("q @ k.swapaxes(-1, -2)", "k @ q.swapaxes(-1, -2)", "swapped"),
    ("q @ k.swapaxes(-1, -2)", "q @ k.T", "transpose"),
]
