"""Exercise 19: a whole block, forward and backward.

    x1  = x  + attention(norm_1(x))
    out = x1 + mlp(norm_2(x1))

The parameters come in a dictionary p, under their names in the project:

    ln_1.weight, ln_1.bias                      gain and bias of norm_1 (C,)
    attn.qkv.weight, attn.qkv.bias              W (C, 3 C), b (3 C,)
    attn.proj.weight, attn.proj.bias            W_o (C, C), b_o (C,)
    ln_2.weight, ln_2.bias                      of norm_2 (C,)
    mlp.fc.weight, mlp.fc.bias                  W1 (C, 4 C), b1 (4 C,)
    mlp.proj.weight, mlp.proj.bias              W2 (4 C, C), b2 (C,)

so that p["attn.qkv.weight"] is W. Return the gradients in a dictionary dp with the same names.

You need no new derivative. A sum passes its gradient to both of its terms; so where the forward pass adds x to the output of a
sublayer, the backward pass adds dout to the gradient that comes back through the sublayer:

    dx1 = dout + (back through mlp and norm_2)(dout)            dx = dx1 + (back through attention and norm_1)(dx1)

A block whose parameters are all 0 passes on x unchanged, and dout too:

    >>> from minillm.nn import Block
    >>> p = {name: 0 * own.data for name, own in Block(4, 2, np.random.default_rng(0)).parameters().items()}
    >>> x = np.arange(8.0).reshape(1, 2, 4)
    >>> out, cache = block(x, p, 2)
    >>> dx, dp = block_backward(x, cache)
    >>> print((out == x).all(), (dx == x).all(), dp["mlp.proj.bias"].tolist(), sorted(dp) == sorted(p))
    True True [4.0, 6.0, 8.0, 10.0] True
"""

import numpy as np
from ex15_layernorm import layernorm, layernorm_backward
from ex17_self_attention import self_attention, self_attention_backward
from ex18_mlp import mlp, mlp_backward


def block(x, p, n_head):
    """x (B, T, C), p {name: array} -> out (B, T, C), cache."""
    raise NotImplementedError


def block_backward(dout, cache):
    """dout (B, T, C) -> dx (B, T, C), dp {name: array}."""
    raise NotImplementedError
