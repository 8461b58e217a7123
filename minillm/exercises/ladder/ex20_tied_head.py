"""Exercise 20: the tied head, and a table that is used twice."""

import numpy as np

from ..layers import leading_axes, looking_at_earlier_ones, note_of

LESSON = 8

HINTS = (
    "It is a linear layer without a bias, whose matrix is W transposed. What were dx and dW in exercise 7, and what are they if "
    "W is replaced by W'?",
    """In index notation:

    dx_nc = sum_v dout_nv W_vc        dW_vc = sum_n dout_nv x_nc

dW must be (V, C), so dout comes first, transposed. For dW, all leading axes are merged into one.""",
    "tied_gradient is one sum: dW of tied_head_backward, plus what your embedding_backward gives for demb and index.",
)

EXPLANATION = """
The tie needs only an addition. Whenever an array is used twice, its gradient is the sum over its uses; so all layers of the
project add to p.grad and never overwrite it. A `=` in a backward pass where `+=` should be is a typical bug.

The two uses give very different gradients. As the embedding, only the rows of words that occur get a gradient; as the output
layer, every row gets one at every position, since each wrong word must become a little less likely.
"""


def check(attempt):
    with looking_at_earlier_ones(attempt):
        for trial, (N, M, V, C) in enumerate(attempt.trials("N M V C", 6)):
            check_both_uses(attempt, leading_axes(attempt, trial, 3, N, M), V, C)


def check_both_uses(attempt, leading, V, C):
    rng, note = attempt.rng, note_of(leading)
    x, W, dout = rng.normal(size=(*leading, C)), rng.normal(size=(V, C)), rng.normal(size=(*leading, V))
    demb, index = rng.normal(size=(*leading, C)), rng.integers(0, V - 1, leading)
    index.flat[-1] = index.flat[0]                                          # a word that is read twice
    attempt.check("tied_head", (x, W), {"logits": x @ W.T}, note=note)
    dW = dout.reshape(-1, V).T @ x.reshape(-1, C)
    attempt.check("tied_head_backward", (dout, x, W), {"dx": dout @ W, "dW": dW}, {
        "it is the transpose, (C, V); W is (V, C)": {"dW": dW.T},
        "the mean over the examples is taken; the gradient is their sum": {"dW": dW / index.size}}, note)

    def read(rows):
        gradient = np.zeros_like(W)
        np.add.at(gradient, index, rows)
        return gradient

    last = np.zeros_like(W)
    last[index] = demb
    attempt.check("tied_gradient", (dout, x, demb, index, W), {"dW": dW + read(demb)}, {
        "only the gradient of the output layer is there; the table is also the embedding": {"dW": dW},
        "only the gradient of the embedding is there; the table is also the output layer": {"dW": read(demb)},
        "a word that is read twice got only one of its gradients; they must add up": {"dW": dW + last},
        "embedding_backward was given x; it must be given demb": {"dW": dW + read(x)},
        "embedding_backward was given dx of the head; it must be given demb, which has gone back through the whole model": {
            "dW": dW + read(dout @ W)},
        "the mean of both gradients is taken; the gradient is their sum": {"dW": (dW + read(demb)) / 2},
        "the gradient of the embedding is subtracted; it must be added": {"dW": dW - read(demb)}}, note)
