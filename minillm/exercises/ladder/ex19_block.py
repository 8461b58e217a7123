"""Exercise 19: a whole block, forward and backward."""

import numpy as np

from ...nn import Block
from ..layers import hold_layer, looking_at_earlier_ones

HINTS = (
    "Forward: four calls and two sums. Each call gives a cache; the block's cache is those four. Name the results n1 (of "
    "norm_1), a (of attention), x1, n2, m.",
    "Backward, last first: mlp_backward of dout, with its cache, gives dn2 and four gradients. layernorm_backward of dn2 gives a "
    "part of dx1 and two gradients. Add dout to that part: this is dx1. Then the same again with attention, norm_1 and dx1.",
    """The order in which your functions return their gradients is that of the names in the stub:

    dn2, dp["mlp.fc.weight"], dp["mlp.fc.bias"], dp["mlp.proj.weight"], dp["mlp.proj.bias"] = mlp_backward(dout, ...)

and likewise for the norms (dx, dg, db) and attention (dx, dW, db, dW_o, db_o). dx1 = dout + what came back: a new array, do not
write into dout.""",
)

EXPLANATION = """
This is the transformer. All that is left around it are two tables and a last norm. Its backward pass reads like its forward pass
from the end: in `minillm/nn/block.py` you can lay the two side by side.

The 1 in "dout plus what comes back" is why models of a hundred blocks can be trained: the loss's gradient reaches the first block
along the way around everything, however small or wild the other part may be (lesson 4).
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
    out, kept = layer.forward(x)
    layer.zero_grad()
    dx = layer.backward(dout, kept)
    dp = {name: p.grad.copy() for name, p in layer.parameters().items()}
    return {"out": out, "dx": dx, "dp": dp}, wrong_forward(layer, x) | wrong_backward(layer, dout, kept)


def wrong_forward(layer, x):
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
        "the way around attention is missing: x1 = x + ...": {"out": second(attention(norm_1(x)))},
        "the way around the MLP is missing: out = x1 + ...": {"out": mlp(norm_2(x1))},
        "both ways around are missing": {"out": mlp(norm_2(attention(norm_1(x))))},
        "the MLP is given norm_2(x); it must be norm_2(x1)": {"out": x1 + mlp(norm_2(x))},
        "the way around the MLP begins at x; it must at x1": {"out": x + mlp(norm_2(x1))},
        "the way around attention begins behind norm_1; it must at x": {"out": second(norm_1(x) + attention(norm_1(x)))},
        "the way around the MLP begins behind norm_2; it must at x1": {"out": norm_2(x1) + mlp(norm_2(x1))},
        "norm_1 is left out": {"out": second(x + attention(x))},
        "norm_2 is left out": {"out": x1 + mlp(x1)},
        "norm_1 is used twice; before the MLP it must be norm_2": {"out": x1 + mlp(norm_1(x1))},
        "the norms stand behind the sums; here each stands before its sublayer": {
            "out": norm_2((y := norm_1(x + attention(x))) + mlp(y))},
    }


def wrong_backward(layer, dout, kept):
    """What dx is if a way around is forgotten, or begins in the wrong place."""
    def through_mlp(d):
        return layer.mlp.backward(d, kept.mlp[1])

    def through_norm_2(d):
        return layer.ln_2.backward(d, kept.mlp[0])

    def back(d):
        return layer.ln_1.backward(layer.attn.backward(d, kept.attn[1]), kept.attn[0])

    dn2 = through_mlp(dout)
    back2 = through_norm_2(dn2)
    dx1 = back2 + dout
    return {
        "the way around attention is missing: dx = dx1 + ...": {"dx": back(dx1)},
        "the way around the MLP is missing: dx1 = dout + ...": {"dx": back2 + back(back2)},
        "both ways around are missing: dx1 = dout + ..., dx = dx1 + ...": {"dx": back(back2)},
        "dout is added around attention; it must be dx1": {"dx": back(dx1) + dout},
        "attention's backward pass is given dout; it must be given dx1": {"dx": dx1 + back(dout)},
        "norm_2 is left out on the way back: what is added to dout is dn2, before it went through the norm": {
            "dx": dout + dn2 + back(dout + dn2)},
        "norm_1 is left out on the way back": {"dx": dx1 + layer.attn.backward(dx1, kept.attn[1])},
        "this is dx1; attention and norm_1 are still to come": {"dx": dx1},
    }
