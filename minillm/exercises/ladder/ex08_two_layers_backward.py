"""Exercise 8: the backward pass of two layers."""

import numpy as np

from ..diagnose import same
from ..layers import OTHER_PASS, hold_earlier, product, rows

LESSON = 4

HINTS = (
    "Write the three lines of the forward pass one below the other, and read them from the last to the first. Each has an input "
    "and an output. You know the gradient of its output; it must pass on the gradient of its input. Which of your functions does "
    "that?",
    """The names of the gradients, in the order in which they are computed:

    dout  ->  dh, dW2, db2  ->  da  ->  dx, dW1, db1

The first and the last arrow are the same function, with other arguments: the upstream gradient, the input that this layer
had in the forward pass, and its weights.""",
    """Second layer: upstream dout, input h, weights W2. Then tanh: upstream dh, and its derivative from its output,
da = dh (1 - h^2). First layer: upstream da, input x, weights W1.

So the cache must hold x, W1, h and W2. The biases are not needed: no derivative depends on them.""",
)

EXPLANATION = """
This is all of backpropagation. For a network of a hundred layers, the same loop runs a hundred times: each layer takes the
gradient of its output, computes the gradients of its own weights, and passes on the gradient of its input. No layer knows which
layers come before or after it. In `minillm/nn/module.py` the loop is `backward_chain`; `minillm/nn/mlp.py` is your network with
GELU for tanh.

The caches are the memory cost of training: each layer keeps what it needs until its backward pass is done. A model that only
answers can free every array as soon as the next layer has used it.
"""


def check(attempt):
    for trial, (N, M, n_in, H, n_out) in enumerate(attempt.trials("N M I H O", 6)):
        leading = (N,) if trial < 3 else (N, M)
        first, second = (network(attempt.rng, leading, n_in, H, n_out) for _ in range(2))
        hold_earlier_exercises(attempt, *first)
        caches = [attempt.call("two_layers", *inputs, returns="out cache")[1] for _, inputs in (first, second)]
        note = "after two_layers" + ("" if trial < 3 else ", with two leading axes")
        for cache, (dout, inputs), (_, others) in zip(caches, (first, second), (second, first)):
            right, mistakes = answers(dout, *inputs)
            mistakes[OTHER_PASS] = answers(dout, *others)[0]
            attempt.check("two_layers_backward", (dout, cache), right, mistakes, note)


def network(rng, leading, n_in, H, n_out):
    """(dout, (x, W1, b1, W2, b2))"""
    x, W1, b1 = rng.normal(size=(*leading, n_in)), rng.normal(size=(n_in, H)), 0.5 * rng.normal(size=H)
    return rng.normal(size=(*leading, n_out)), (x, 0.7 * W1, b1, rng.normal(size=(H, n_out)), rng.normal(size=n_out))


def answers(dout, x, W1, b1, W2, b2):
    """The right gradients, and those of known mistakes."""
    a = x @ W1 + b1
    h = np.tanh(a)
    dh = dout @ W2.T

    def after(da):
        return {"dx": da @ W1.T, "dW1": product(x, da), "db1": rows(da).sum(axis=0)}

    da = dh * (1 - h * h)
    second = {"dW2": product(h, dout), "db2": rows(dout).sum(axis=0)}
    right = after(da) | second
    t = "tanh_backward takes the output h of tanh as its second argument"
    return right, {
        "the derivative of tanh is missing between the two layers: da = dh (1 - h^2)": after(dh),
        f"{t}, and was given a, the input of tanh": after(dh * (1 - a * a)),
        f"{t}, and was given x W1, the input of tanh without the bias": after(dh * (1 - (x @ W1) ** 2)),
        f"{t}, and was given tanh(h): tanh is applied twice": after(dh * (1 - np.tanh(h) ** 2)),
        f"{t}, and was given its own upstream gradient": after(dh * (1 - dh * dh)),
        "the derivative of tanh is 1 - h^2, not 1 - h": after(dh * (1 - h)),
        "the last step is missing: this is da, and dx = da W1'": {"dx": da},
        "the results are in another order; it must be dx, dW1, db1, dW2, db2": {"dW1": second["dW2"], "db1": second["db2"]},
        "this is computed from x; the input of the second layer is h": {"dW2": product(x, dout)},
        "this is computed from a; the input of the second layer is h": {"dW2": product(a, dout)},
    }


def hold_earlier_exercises(attempt, dout, inputs):
    """Wrong if an exercise that this one uses is wrong, so that the learner does not search in the wrong file."""
    x, W1, b1, W2, b2 = inputs
    h = np.tanh(x @ W1 + b1)
    out, _ = attempt.call("two_layers", *inputs, returns="out cache")
    attempt.insist(same(h @ W2 + b2, out), "two_layers, which this exercise starts from, does not return the right out yet.",
                   "See `minillm check 6`.")
    parts = {("linear_backward", 7): ((dout, h, W2), (dout @ W2.T, product(h, dout), rows(dout).sum(axis=0)), "dx dW db"),
             ("tanh_backward", 2): ((x, np.tanh(x)), (x * (1 - np.tanh(x) ** 2),), "dx")}
    hold_earlier(attempt, parts)
