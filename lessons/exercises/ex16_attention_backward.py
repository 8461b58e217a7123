"""Exercise 16: the backward pass of attention.

Forward, for one head of one text (exercise 14):

    S = q k' / sqrt(D) + mask               P = softmax of each row of S               o = P v

Given do = dL/do (T, D), and q, k, v (T, D) and P (T, T) from the forward pass, step by step from the output back:

    dv_sc = sum_t P_ts do_tc                                 from o_tc = sum_s P_ts v_sc
    dP_ts = sum_c do_tc v_sc
    dS    = the backward pass of softmax, row by row           (exercise 4)
    dq_tc = sum_s dS_ts k_sc / sqrt(D)                       from S_ts = sum_c q_tc k_sc / sqrt(D)
    dk_sc = sum_t dS_ts q_tc / sqrt(D)

The mask, 0 for s <= t and minus infinity for s > t, needs no extra code: where a score was masked, P is 0. There may be leading
axes, as in exercise 14: (B, H, T, D). (In the example P is chosen to give round numbers. It is not the P of these q and k; use
the P that is given.)

    >>> q, k, v = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]]), np.array([[1.0], [3.0]])
    >>> P = np.array([[1.0, 0.0], [0.25, 0.75]])
    >>> dq, dk, dv = attention_backward(np.array([[1.0], [1.0]]), q, k, v, P)
    >>> print(dq.tolist(), dk.tolist(), dv.tolist())
    [[0.0], [0.375]] [[-0.75], [0.75]] [[1.25], [0.75]]
"""

import math

import numpy as np
from ex04_softmax_backward import softmax_backward


def attention_backward(do, q, k, v, P):
    """do, q, k, v (..., T, D), P (..., T, T) -> dq, dk, dv (..., T, D)."""
    raise NotImplementedError
