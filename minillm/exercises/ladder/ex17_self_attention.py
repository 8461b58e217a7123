"""Exercise 17: self-attention with several heads."""

import numpy as np

from ...nn import CausalSelfAttention
from ..every_call import hold_form
from ..layers import hold_layer, looking_at_earlier_ones, product

LESSON = 8

HINTS = (
    "y.reshape(B, T, 3, H, D) cuts each row into thirds, and each third into heads; nothing moves in memory. Then .transpose "
    "puts the axes into the order (3, B, H, T, D), and the three parts are q, k and v. merge_heads is a transpose, then a "
    "reshape.",
    "The backward pass, last layer first: linear_backward gives dm, dW_o, db_o; dm is split into heads, do (B, H, T, D), the "
    "inverse of how m was merged; attention_backward gives dq, dk, dv; these are put together to dy (B, T, 3 C), in the order of "
    "y; and linear_backward gives dx, dW, db.",
    """The two rearrangements of the backward pass:

    do = dm.reshape(B, T, H, D).transpose(0, 2, 1, 3)
    dy = np.stack([dq, dk, dv]).transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * C)

(3, B, H, T, D) has become (B, T, 3, H, D) before the last reshape. The cache needs x, W, q, k, v, P, m and W_o.""",
)

EXPLANATION = """
Heads are only bookkeeping. One large product gives the queries, keys and values of all heads at once, instead of three small
products for each head, and reshape and transpose only change how the same numbers are read. A rearrangement needs no derivation:
its backward pass is the inverse rearrangement.

LoRA (lesson 13) changes single thirds of the columns of W, so it depends on this order.
"""


def check(attempt):
    with looking_at_earlier_ones(attempt):
        for B, H, T, D in attempt.trials("B H T D", 5):
            attempt.sizes["C"] = H * D
            check_split(attempt, attempt.rng.normal(size=(B, T, 3 * H * D)), H, D)
            check_merge(attempt, attempt.rng.normal(size=(B, H, T, D)))
            check_layer(attempt, B, H, T, D)


def check_split(attempt, y, H, D):
    """Check split_heads; q, k, v may be three results, or one array (3, B, H, T, D)."""
    def thirds(array):
        return dict(zip("qkv", array))

    B, T, _ = y.shape
    right = thirds(y.reshape(B, T, 3, H, D).transpose(2, 0, 3, 1, 4))
    heads = attempt.call("split_heads", y, H, returns="cache")              # accept any type here; hold_form checks it
    heads = hold_form(attempt, "split_heads", tuple(heads) if isinstance(heads, np.ndarray) and len(heads) == 3 else heads,
                      ["q", "k", "v"])
    attempt.compare("split_heads", (y, H), heads, right, {
        "the axes of positions and heads are mixed up: reshape to (B, T, 3, H, D) first, then transpose": thirds(
            y.reshape(B, T, 3, H, D).transpose(2, 0, 1, 3, 4).reshape(3, B, H, T, D)),
        "the reshape mixes positions and heads: (B, T, 3, H, D) is the order in memory": thirds(y.reshape(3, B, H, T, D)),
        "each third must be cut into (B, T, H, D), and then heads and positions swapped; a reshape alone mixes them": thirds(
            y.reshape(B, T, 3, H * D).transpose(2, 0, 1, 3).reshape(3, B, H, T, D)),
        "each head has its own q, k, v side by side; here all queries come first, then all keys, then all values": thirds(
            y.reshape(B, T, H, 3, D).transpose(3, 0, 2, 1, 4)),
        "the numbers of a head are side by side; here they are taken H apart": thirds(
            y.reshape(B, T, 3, D, H).transpose(2, 0, 4, 1, 3)),
    })
    attempt.done["split_heads"] = (y, H), right


def check_merge(attempt, o):
    B, H, T, D = o.shape
    attempt.check("merge_heads", (o,), {"m": o.transpose(0, 2, 1, 3).reshape(B, T, H * D)}, {
        "heads and positions must be swapped before the reshape": {"m": o.reshape(B, T, H * D)},
        "the numbers of a head must be side by side": {"m": o.transpose(0, 2, 3, 1).reshape(B, T, H * D)},
    })


def check_layer(attempt, B, H, T, D):
    """Check forward and backward against the project's layer in float64."""
    C, rng = H * D, attempt.rng
    dout = rng.normal(size=(B, T, C))
    passes = []
    for _ in range(2):
        layer = CausalSelfAttention(C, H, rng, std=0.5, proj_std=0.5, dtype=np.float64)
        for p in (layer.qkv.bias, layer.proj.bias):
            p.data += rng.normal(size=p.shape)
        x = rng.normal(size=(B, T, C))
        args = (x, layer.qkv.weight.data, layer.qkv.bias.data, layer.proj.weight.data, layer.proj.bias.data, H)
        passes.append((args, *answers(layer, x, dout)))
    hold_layer(attempt, "self_attention", "self_attention_backward", dout, passes)


def answers(layer, x, dout):
    """The right results, and those of known mistakes."""
    out, cache = layer.forward(x)
    layer.zero_grad()
    dx = layer.backward(dout, cache)
    W, W_o, b_o = layer.qkv.weight, layer.proj.weight, layer.proj.bias
    right = {"out": out, "dx": dx, "dW": W.grad, "db": layer.qkv.bias.grad, "dW_o": W_o.grad, "db_o": b_o.grad}

    heads, o = layer.heads, cache.heads.o
    B, H, T, D = o.shape
    C, m, dm = H * D, heads.merge(o), dout @ W_o.data.T

    def dy(do):
        """do (B, H, T, D) -> dqkv (B, T, 3C)"""
        return heads.backward(heads.merge(do), cache.heads)

    right_dy = heads.backward(dm, cache.heads)
    stacked = np.stack(tuple(heads.split(right_dy)))                        # (3, B, H, T, D)
    dq, dk, dv = np.split(right_dy, 3, axis=-1)

    def wrong(dy):
        return {"dx": dy @ W.data.T}

    return right, {
        "the output layer, m W_o + b_o, is missing": {"out": m},
        "the bias b_o is missing": {"out": out - b_o.data},
        "W_o has been transposed": {"out": m @ W_o.data.T + b_o.data},
        "dq, dk and dv are put together in another order than q, k and v had": wrong(np.concatenate([dv, dk, dq], -1)),
        "dq and dk are swapped": wrong(np.concatenate([dk, dq, dv], -1)),
        "dq, dk and dv are put together by a reshape alone; put the axes into the order (B, T, 3, H, D) first": wrong(
            stacked.reshape(B, T, 3 * C)),
        "dq, dk and dv are put together by a reshape alone, one by one; swap heads and positions first": wrong(
            np.concatenate([third.reshape(B, T, C) for third in stacked], -1)),
        "dq, dk and dv are put side by side for each head; y has all queries first, then all keys, then all values": wrong(
            stacked.transpose(1, 3, 2, 0, 4).reshape(B, T, 3 * C)),
        "dm is split into heads by a reshape alone; heads and positions must be swapped": wrong(dy(dm.reshape(B, H, T, D))),
        "the numbers of a head of dm are side by side; here they are taken H apart": wrong(
            dy(dm.reshape(B, T, D, H).transpose(0, 3, 1, 2))),
        "W_o is left out in the backward pass: dm = dout W_o'": wrong(heads.backward(dout, cache.heads)),
        "this is dy, before the first layer; dx = dy W'": {"dx": right_dy},
        "this is computed from x; the input of the output layer is m": {"dW_o": product(x, dout)},
    }
