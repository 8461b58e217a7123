"""Exercise 17: self-attention with several heads."""

import numpy as np

from ...nn import CausalSelfAttention

HINTS = (
    "y.reshape(B, T, 3, H, D) cuts each row into thirds, and each third into heads; nothing moves in memory. Then .transpose "
    "brings the axes into the order (3, B, H, T, D), and its three parts are q, k and v. merge_heads is a transpose, then a "
    "reshape.",
    "The backward pass, last layer first: linear_backward gives dm, dW_o, db_o; dm is cut into heads like m was merged, do (B, "
    "H, T, D); attention_backward gives dq, dk, dv; these are put together again to dy (B, T, 3 C), in the order of y; and "
    "linear_backward gives dx, dW, db.",
    """The two rearrangements of the backward pass:

    do = dm.reshape(B, T, H, D).transpose(0, 2, 1, 3)
    dy = np.stack([dq, dk, dv]).transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * C)

(3, B, H, T, D) has become (B, T, 3, H, D) before the last reshape. The cache needs x, W, q, k, v, P, m and W_o.""",
)

EXPLANATION = """
Heads are a matter of bookkeeping. One large product makes the queries, keys and values of all heads at once, which is far quicker
than twelve small ones, and reshape and transpose only change how the same numbers are read. A rearrangement has no derivative to
find: its backward pass is the rearrangement back.

LoRA (lesson 13) will write into single thirds of the columns of W, so it has to know this order; now you do.
"""


def check(attempt):
    for B, H, T, D in attempt.trials("B H T D", 5):
        C = H * D
        y, o = attempt.rng.normal(size=(B, T, 3 * C)), attempt.rng.normal(size=(B, H, T, D))
        thirds = y.reshape(B, T, 3, H, D)
        right = dict(zip("qkv", thirds.transpose(2, 0, 3, 1, 4)))
        attempt.check("split_heads", (y, H), right, {
            "the axes of positions and heads are mixed up: reshape to (B, T, 3, H, D) first, then transpose": dict(
                zip("qkv", y.reshape(B, T, 3, H, D).transpose(2, 0, 1, 3, 4).reshape(3, B, H, T, D))),
            "the reshape mixes positions and heads: (B, T, 3, H, D) is the order in memory": dict(
                zip("qkv", y.reshape(3, B, H, T, D))),
            "each head has its own q, k, v side by side; here all queries come first, then all keys, then all values": dict(
                zip("qkv", y.reshape(B, T, H, 3, D).transpose(3, 0, 2, 1, 4))),
            "the numbers of a head lie side by side; here they are taken H apart": dict(
                zip("qkv", y.reshape(B, T, 3, D, H).transpose(2, 0, 4, 1, 3))),
        })
        attempt.check("merge_heads", (o,), {"m": o.transpose(0, 2, 1, 3).reshape(B, T, C)}, {
            "heads and positions must be exchanged before the reshape": {"m": o.reshape(B, T, C)},
            "the numbers of a head must lie side by side": {"m": o.transpose(0, 2, 3, 1).reshape(B, T, C)},
        })
        check_layer(attempt, B, H, T, C)


def check_layer(attempt, B, H, T, C):
    """Forward and backward against the project's layer in float64."""
    layer = CausalSelfAttention(C, H, attempt.rng, std=0.5, proj_std=0.5, dtype=np.float64)
    for p in (layer.qkv.bias, layer.proj.bias):
        p.data += attempt.rng.normal(size=p.shape)
    x, dout = attempt.rng.normal(size=(B, T, C)), attempt.rng.normal(size=(B, T, C))
    args = (x, layer.qkv.weight.data, layer.qkv.bias.data, layer.proj.weight.data, layer.proj.bias.data, H)
    right, kept = layer.forward(x)
    layer.zero_grad()
    dx = layer.backward(dout, kept)
    out, cache = attempt.call("self_attention", *args, returns="out cache")
    attempt.compare("self_attention", args, out, {"out": right}, {
        "the output layer, m W_o + b_o, is missing": {"out": layer.merge(kept.heads[3])},
        "the bias b_o is missing": {"out": right - layer.proj.bias.data}})
    dW, db, W = layer.qkv.weight.grad, layer.qkv.bias.grad, layer.qkv.weight.data
    turned_around = np.r_[2 * C:3 * C, C:2 * C, 0:C]                # v, k, q
    dy = upstream_of_qkv(layer, dout, kept)
    attempt.check("self_attention_backward", (dout, cache), {
        "dx": dx, "dW": dW, "db": db, "dW_o": layer.proj.weight.grad, "db_o": layer.proj.bias.grad}, {
        "dq, dk and dv are put together in another order than q, k and v had": {"dx": dy[..., turned_around] @ W.T},
        "the heads of dm are cut by a reshape alone; heads and positions must be exchanged": {
            "dx": upstream_of_qkv(layer, dout, kept, exchange=False) @ W.T}})


def upstream_of_qkv(layer, dout, kept, exchange=True):
    """dL/dy (B, T, 3 C), of the project's attention; or what it is if do is cut into heads without exchanging the axes."""
    q, k, v, o, P = kept.heads
    B, H, T, D = q.shape
    dm = dout @ layer.proj.weight.data.T
    do = dm.reshape(B, T, H, D).transpose(0, 2, 1, 3) if exchange else dm.reshape(B, H, T, D)
    return layer.attend_backward(do, (do * o).sum(axis=-1, keepdims=True), q, k, v, P)
