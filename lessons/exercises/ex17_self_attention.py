"""Exercise 17: self-attention with several heads.

The layer of the transformer, around exercises 14 and 16:

    y = x W + b                  (B, T, 3 C): for each position its queries, then its keys, then its values, C numbers each
    q, k, v (B, H, T, D)         each C split into H heads of D = C / H numbers: head 0 has the first D, head 1 the next, ...
    o = attention, head by head  (B, H, T, D)
    m                            (B, T, C): the heads side by side again, in the same order
    out = m W_o + b_o            (B, T, C)

`split_heads` and `merge_heads` only rearrange numbers, with reshape and transpose. Which axis is which after
y.reshape(B, T, 3, H, D)? Their backward passes rearrange the gradients back: each is nearly the other's forward pass.

    >>> q, k, v = split_heads(np.arange(12.0).reshape(1, 1, 12), 2)
    >>> print(q.tolist(), v.tolist())
    [[[[0.0, 1.0]], [[2.0, 3.0]]]] [[[[8.0, 9.0]], [[10.0, 11.0]]]]
    >>> print(merge_heads(q).tolist())
    [[[0.0, 1.0, 2.0, 3.0]]]
"""

import numpy as np
from ex05_linear import linear
from ex07_linear_backward import linear_backward
from ex14_causal_attention import causal_attention
from ex16_attention_backward import attention_backward


def split_heads(y, n_head):
    """y (B, T, 3 C) -> q, k, v (B, H, T, D) each."""
    raise NotImplementedError


def merge_heads(o):
    """o (B, H, T, D) -> (B, T, C)."""
    raise NotImplementedError


def self_attention(x, W, b, W_o, b_o, n_head):
    """x (B, T, C), W (C, 3 C), b (3 C,), W_o (C, C), b_o (C,) -> out (B, T, C), cache."""
    raise NotImplementedError


def self_attention_backward(dout, cache):
    """dout (B, T, C) -> dx (B, T, C), dW (C, 3 C), db (3 C,), dW_o (C, C), db_o (C,)."""
    raise NotImplementedError
