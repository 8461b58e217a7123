"""Exercise 5: a layer of neurons."""

import numpy as np

LESSON = 3

HINTS = (
    "One neuron for all examples was `x @ w + b` in lesson 1: (N, I) times (I,) gives (N,). What changes if w is not one column "
    "but O of them, side by side?",
    "`x @ W` sums over the last axis of x and the first of W: (N, I) times (I, O) gives (N, O). That is the sum over k for all n "
    "and i at once. b has one number for each neuron, so it goes with the last axis, and NumPy adds it to every row.",
    "`@` with a matrix on the right works for any number of leading axes on the left: no loop, no reshape and no transpose are "
    "needed. The whole function is one product and one sum.",
)

EXPLANATION = """
Most of the arithmetic of a language model is this one line. It treats all leading axes alike: whether x holds a hundred points
of a plane or a batch of texts (B, T, C), each row along the last axis goes through the same neurons independently. Only
attention mixes the positions of a text (lesson 7).

Weights are stored (I, O) here, inputs first, so that x W reads as in the equation. PyTorch's nn.Linear stores (O, I) and
uses the transpose; GPT-2's own files hold (I, O). `minillm/nn/linear.py` is your line, with its backward pass below it:
exercise 7.
"""


def check(attempt):
    for trial, (N, M, n_in, n_out) in enumerate(attempt.trials("N M I O", 6)):
        leading = [(N,), (), (N, M)][trial % 3]
        x, W, b = (attempt.rng.normal(size=size) for size in ((*leading, n_in), (n_in, n_out), (n_out,)))
        z = x @ W
        known = {
            "the bias is left out": {"y": z},
            "the bias is subtracted; it should be added": {"y": z - b},
            "x W is multiplied by the bias; the bias should be added": {"y": z * b},
            "the bias is added to the sum of all examples": {"y": z.sum(axis=0) + b} if leading else {},
            "the leading axes have been merged, and not separated again": {"y": z.reshape(-1, n_out) + b} if leading[1:] else {},
            "a leading axis has been added that x does not have": {"y": (z + b)[None]},
            "an activation has been applied; a linear layer has none": {"y": np.tanh(z + b)},
        }
        attempt.check("linear", (x, W, b), {"y": z + b}, known,
                      note={0: "with no leading axes", 2: "with two leading axes"}.get(len(leading), ""))
    square(attempt)


def square(attempt):
    """Check with I = O, where an extra transpose fits the shapes and only the numbers show it."""
    N, n = attempt.sizes["N"], attempt.sizes["I"]
    x, W, b = attempt.rng.normal(size=(N, n)), attempt.rng.normal(size=(n, n)), attempt.rng.normal(size=n)
    attempt.sizes = {"N": N}
    attempt.check("linear", (x, W, b), {"y": x @ W + b}, {
        "W has been transposed: neuron i has column i of W, not row i": {"y": x @ W.T + b}}, "with as many neurons as inputs")
