"""Exercise 20: the tied head, and a table that is used twice."""

import numpy as np

from ..layers import leading_axes, looking_at_earlier_ones, note_of

HINTS = (
    "It is a linear layer without a bias, whose matrix is W transposed. What were dx and dW of exercise 7, and what becomes of "
    "them if W' stands in the place of W?",
    """In index notation the sums tell what to do:

    dx_nc = sum_v dout_nv W_vc        dW_vc = sum_n dout_nv x_nc

dW must be (V, C), so dout comes first, transposed. All leading axes are made one for dW.""",
    "tied_gradient is one sum: dW of tied_head_backward, and what your embedding_backward says of demb and index.",
)

EXPLANATION = """
Nothing had to be done for the tie but to add. Whenever one array is used twice, its gradient is the sum over its uses; so all
layers of the project add to p.grad and never overwrite it. If you find `=` in a backward pass where `+=` should be, you have
found the bug.

The two ways feel very different. On the way in only the rows of words that occur get a gradient; on the way out every row
gets one at every position, since each wrong word must be made a little less likely.
"""


def check(attempt):
    with looking_at_earlier_ones(attempt):
        for trial, (N, M, V, C) in enumerate(attempt.trials("N M V C", 6)):
            check_both_ways(attempt, leading_axes(attempt, trial, 3, N, M), V, C)


def check_both_ways(attempt, leading, V, C):
    rng, note = attempt.rng, note_of(leading)
    x, W, dout = rng.normal(size=(*leading, C)), rng.normal(size=(V, C)), rng.normal(size=(*leading, V))
    demb, index = rng.normal(size=(*leading, C)), rng.integers(0, V - 1, leading)
    index.flat[-1] = index.flat[0]                                          # a word that is read twice
    attempt.check("tied_head", (x, W), {"logits": x @ W.T}, note=note)
    dW = dout.reshape(-1, V).T @ x.reshape(-1, C)
    attempt.check("tied_head_backward", (dout, x, W), {"dx": dout @ W, "dW": dW}, {
        "it is the transpose, (C, V); W is (V, C)": {"dW": dW.T},
        "the mean over the examples is taken, where the gradient is their sum": {"dW": dW / index.size}}, note)

    def read(rows):
        gradient = np.zeros_like(W)
        np.add.at(gradient, index, rows)
        return gradient

    last = np.zeros_like(W)
    last[index] = demb
    attempt.check("tied_gradient", (dout, x, demb, index, W), {"dW": dW + read(demb)}, {
        "only the way out is there; the table is read on the way in, too": {"dW": dW},
        "only the way in is there; the table is the output layer, too": {"dW": read(demb)},
        "of a word that is read twice only one reading counts; they must add up": {"dW": dW + last},
        "the embedding was given x; what comes back to it is demb": {"dW": dW + read(x)},
        "the embedding was given dx of the head; what comes back to it, through the whole model, is demb": {
            "dW": dW + read(dout @ W)},
        "the mean of both ways is taken; the gradient is their sum": {"dW": (dW + read(demb)) / 2},
        "the way in is taken away; both add": {"dW": dW - read(demb)}}, note)
