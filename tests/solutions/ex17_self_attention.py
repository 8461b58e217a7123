import numpy as np
from ex05_linear import linear
from ex07_linear_backward import linear_backward
from ex14_causal_attention import causal_attention
from ex16_attention_backward import attention_backward


def split_heads(y, n_head):
    B, T, C3 = y.shape
    return tuple(y.reshape(B, T, 3, n_head, C3 // 3 // n_head).transpose(2, 0, 3, 1, 4))


def merge_heads(o):
    B, H, T, D = o.shape
    return o.transpose(0, 2, 1, 3).reshape(B, T, H * D)


def self_attention(x, W, b, W_o, b_o, n_head):
    q, k, v = split_heads(linear(x, W, b), n_head)
    o, P = causal_attention(q, k, v)
    m = merge_heads(o)
    return linear(m, W_o, b_o), (x, W, q, k, v, P, m, W_o)


def self_attention_backward(dout, cache):
    x, W, q, k, v, P, m, W_o = cache
    dm, dW_o, db_o = linear_backward(dout, m, W_o)
    B, H, T, D = q.shape
    do = dm.reshape(B, T, H, D).transpose(0, 2, 1, 3)
    dqkv = np.stack(attention_backward(do, q, k, v, P))
    dy = dqkv.transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * H * D)
    dx, dW, db = linear_backward(dy, x, W)
    return dx, dW, db, dW_o, db_o


WRONG = [
    ("y.reshape(B, T, 3, n_head, C3 // 3 // n_head).transpose(2, 0, 3, 1, 4)", "y.reshape(3, B, n_head, T, C3 // 3 // n_head)",
     "mixes positions and heads"),
    ("y.reshape(B, T, 3, n_head, C3 // 3 // n_head).transpose(2, 0, 3, 1, 4)",
     "y.reshape(B, T, n_head, 3, C3 // 3 // n_head).transpose(3, 0, 2, 1, 4)", "all queries come first"),
    ("o.transpose(0, 2, 1, 3).reshape(B, T, H * D)", "o.reshape(B, T, H * D)", "before the reshape"),
    ("return linear(m, W_o, b_o), (", "return m, (", "the output layer"),
    ("np.stack(attention_backward(do, q, k, v, P))", "np.stack(attention_backward(do, q, k, v, P)[::-1])", "another order"),
    ("dm.reshape(B, T, H, D).transpose(0, 2, 1, 3)", "dm.reshape(B, H, T, D)", "must be swapped"),
    ("dqkv.transpose(1, 3, 0, 2, 4).reshape", "dqkv.reshape", "by a reshape alone"),
    ("dqkv.transpose(1, 3, 0, 2, 4)", "dqkv.transpose(1, 3, 2, 0, 4)", "side by side for each head"),
    ("linear_backward(dout, m, W_o)", "linear_backward(dout, x, W_o)", "the input of the output layer is m"),
]
