import math

import numpy as np
from ex03_softmax import softmax


def causal_attention(q, k, v):
    T, D = q.shape[-2:]
    S = q @ k.swapaxes(-1, -2) / math.sqrt(D)
    S = np.where(np.tri(T, dtype=bool), S, -np.inf)
    P = softmax(S)
    return P @ v, P
