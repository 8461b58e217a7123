"""Exercise 19: a whole block, forward and backward."""

import numpy as np

from ...nn import Block

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
    for B, H, T, D in attempt.trials("B H T D", 4):
        C = H * D
        layer = Block(C, H, attempt.rng, 0.4, 0.4, np.float64)
        for p in layer.parameters().values():
            p.data += 0.3 * attempt.rng.normal(size=p.shape)
        x, dout = attempt.rng.normal(size=(B, T, C)), attempt.rng.normal(size=(B, T, C))
        p = {name: parameter.data for name, parameter in layer.parameters().items()}
        out, kept = layer.forward(x)
        layer.zero_grad()
        dx = layer.backward(dout, kept)
        dp = {name: parameter.grad.copy() for name, parameter in layer.parameters().items()}

        a, _ = layer.attn.forward(layer.ln_1.forward(x)[0])
        m = out - (x + a)
        found, cache = attempt.call("block", x, p, H, returns="out cache")
        attempt.compare("block", (x, p, H), found, {"out": out}, {
            "the way around attention is missing: x1 = x + ...": {"out": second(layer, a)},
            "the way around the MLP is missing: out = x1 + ...": {"out": m},
            "the MLP is given norm_2(x); it must be norm_2(x1)": {"out": x + a + mlp_of(layer, x)},
            "the way around the MLP begins at x; it must at x1": {"out": x + m},
            "norm_1 is left out": {"out": second(layer, x + layer.attn.forward(x)[0])},
            "norm_2 is left out": {"out": x + a + layer.mlp.forward(x + a)[0]}})
        attempt.check("block_backward", (dout, cache), {"dx": dx, "dp": dp}, wrong_ways(layer, x, dout, kept))


def mlp_of(layer, x1):
    return layer.mlp.forward(layer.ln_2.forward(x1)[0])[0]


def second(layer, x1):
    return x1 + mlp_of(layer, x1)


def wrong_ways(layer, x, dout, kept):
    """What dx is if a way around is forgotten."""
    def through(norm, sublayer, caches, d):
        return norm.backward(sublayer.backward(d, caches[1]), caches[0])

    back2 = through(layer.ln_2, layer.mlp, kept.mlp, dout)
    dx1 = back2 + dout
    back1 = through(layer.ln_1, layer.attn, kept.attn, dx1)
    return {
        "the way around attention is missing: dx = dx1 + ...": {"dx": back1},
        "the way around the MLP is missing: dx1 = dout + ...": {
            "dx": back2 + through(layer.ln_1, layer.attn, kept.attn, back2)},
        "dout is added around attention; it must be dx1": {"dx": back1 + dout},
    }
