"""Exercise 19: a whole block, forward and backward."""

import numpy as np

from ...nn import Block
from ..layers import hold_layer, looking_at_earlier_ones

LESSON = 8

HINTS = (
    "Forward: four calls and two sums. Each call gives a cache; the block's cache is those four. Name the results n1 (of "
    "norm_1), a (of attention), x1, n2, m.",
    "Backward, last first: mlp_backward of dout, with its cache, gives dn2 and four gradients. layernorm_backward of dn2 gives a "
    "part of dx1 and two gradients. Add dout to that part: this is dx1. Then do the same with attention, norm_1 and dx1.",
    """Your functions return their gradients in the order of the names in the stub:

    dn2, dp["mlp.fc.weight"], dp["mlp.fc.bias"], dp["mlp.proj.weight"], dp["mlp.proj.bias"] = mlp_backward(dout, ...)

and likewise for the norms (dx, dg, db) and attention (dx, dW, db, dW_o, db_o). dx1 is dout plus what layernorm_backward returns
as dx: make a new array, do not write into dout.""",
)

EXPLANATION = """
This is the transformer. Apart from the blocks, there are only two tables and a last norm. Its backward pass is its forward pass
read from the end: in `minillm/nn/block.py` you can compare the two.

"dout plus ..." is why models of a hundred blocks can be trained: the gradient of the loss reaches the first block through the
residual connections, however small or large the other part may be (lesson 4).
"""


def check(attempt):
    with looking_at_earlier_ones(attempt):
        for B, H, T, D in attempt.trials("B H T D", 4):
            attempt.sizes["C"] = H * D
            check_block(attempt, B, H, T, H * D)


def check_block(attempt, B, H, T, C):
    rng = attempt.rng
    dout = rng.normal(size=(B, T, C))
    passes = []
    for _ in range(2):
        layer = Block(C, H, rng, 0.4, 0.4, np.float64)
        for p in layer.parameters().values():
            p.data += 0.3 * rng.normal(size=p.shape)
        x = rng.normal(size=(B, T, C))
        args = x, {name: p.data for name, p in layer.parameters().items()}, H
        passes.append((args, *answers(layer, x, dout)))
    hold_layer(attempt, "block", "block_backward", dout, passes)


def answers(layer, x, dout):
    """The right results, and those of known mistakes."""
    out, cache = layer.forward(x)
    layer.zero_grad()
    dx = layer.backward(dout, cache)
    dp = {name: p.grad.copy() for name, p in layer.parameters().items()}
    return {"out": out, "dx": dx, "dp": dp}, wrong_forward(layer, x) | wrong_backward(layer, dout, cache)


def wrong_forward(layer, x):
    """The outputs of known mistakes."""
    def attention(x):
        return layer.attn.forward(x)[0]

    def mlp(x):
        return layer.mlp.forward(x)[0]

    def norm_1(x):
        return layer.ln_1.forward(x)[0]

    def norm_2(x):
        return layer.ln_2.forward(x)[0]

    def second(x1):
        return x1 + mlp(norm_2(x1))

    x1 = x + attention(norm_1(x))
    return {
        "the residual connection around attention is missing: x1 = x + ...": {"out": second(attention(norm_1(x)))},
        "the residual connection around the MLP is missing: out = x1 + ...": {"out": mlp(norm_2(x1))},
        "both residual connections are missing": {"out": mlp(norm_2(attention(norm_1(x))))},
        "the MLP is given norm_2(x); it must be norm_2(x1)": {"out": x1 + mlp(norm_2(x))},
        "the MLP is added to x; it must be added to x1": {"out": x + mlp(norm_2(x1))},
        "attention is added to norm_1(x); it must be added to x": {"out": second(norm_1(x) + attention(norm_1(x)))},
        "the MLP is added to norm_2(x1); it must be added to x1": {"out": norm_2(x1) + mlp(norm_2(x1))},
        "norm_1 is left out": {"out": second(x + attention(x))},
        "norm_2 is left out": {"out": x1 + mlp(x1)},
        "norm_1 is used twice; before the MLP it must be norm_2": {"out": x1 + mlp(norm_1(x1))},
        "the norms come after the sums; in this block each comes before its sublayer": {
            "out": norm_2((y := norm_1(x + attention(x))) + mlp(y))},
    }


def wrong_backward(layer, dout, cache):
    """The dx of known mistakes."""
    def through_mlp(d):
        return layer.mlp.backward(d, cache.mlp[1])

    def through_norm_2(d):
        return layer.ln_2.backward(d, cache.mlp[0])

    def back(d):
        return layer.ln_1.backward(layer.attn.backward(d, cache.attn[1]), cache.attn[0])

    dn2 = through_mlp(dout)
    back2 = through_norm_2(dn2)
    dx1 = back2 + dout
    return {
        "the residual connection around attention is missing: dx = dx1 + ...": {"dx": back(dx1)},
        "the residual connection around the MLP is missing: dx1 = dout + ...": {"dx": back2 + back(back2)},
        "both residual connections are missing: dx1 = dout + ..., dx = dx1 + ...": {"dx": back(back2)},
        "dout is added around attention; it must be dx1": {"dx": back(dx1) + dout},
        "attention's backward pass is given dout; it must be given dx1": {"dx": dx1 + back(dout)},
        "norm_2 is left out in the backward pass: dn2 is added to dout before it has gone through the norm": {
            "dx": dout + dn2 + back(dout + dn2)},
        "norm_1 is left out in the backward pass": {"dx": dx1 + layer.attn.backward(dx1, cache.attn[1])},
        "this is dx1; attention and norm_1 are still missing": {"dx": dx1},
    }
