"""Exercise 14: attention that does not look ahead.

Each of T positions has a query q_t, a key k_t and a value v_t, with D numbers each. Position t weights all positions s up to
itself by how well its query matches their keys, and takes the weighted mean of their values:

    S_ts = sum_c q_tc k_sc / sqrt(D)   for s <= t,   and -infinity for s > t
    P    = softmax of each row of S    (so the P of a row sum to 1, and are 0 for s > t)
    o_tc = sum_s P_ts v_sc

Return o and P; the backward pass (exercise 16) needs P. There may be leading axes, (B, H, T, D), each with its own attention:
the product @ works on the last two axes, and x.swapaxes(-1, -2) swaps them. Your softmax is imported. (It turns a score of
-infinity into exactly 0, as long as another score of the row is finite; and each position sees at least itself.)

    >>> o, P = causal_attention(np.array([[1.0], [0.0]]), np.array([[5.0], [7.0]]), np.array([[1.0], [3.0]]))
    >>> print(o.tolist(), P.tolist())
    [[1.0], [2.0]] [[1.0, 0.0], [0.5, 0.5]]
"""

import math

import numpy as np
from ex03_softmax import softmax


def causal_attention(q, k, v):
    """q, k, v (..., T, D) -> o (..., T, D), P (..., T, T)."""
    raise NotImplementedError
