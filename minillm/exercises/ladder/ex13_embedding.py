"""Exercise 13: the table of words, read and corrected."""

import numpy as np

LESSON = 7

HINTS = (
    "An array can be an index: W[index] reads a row for each number in it, whatever its shape. For the backward pass, begin with "
    "zeros in the shape of W (np.zeros_like(W), which also has the type of W).",
    "dW[index] += dout looks right but is not: if a row occurs twice, only one gradient is added. np.add.at(dW, index, dout) "
    "adds all.",
    """As a product of arrays: with the one-hot rows O (N, V), O_nv = [index(n) = v], out = O W, so dW = O' dout. In code:

    dW = np.zeros_like(W), and then np.add.at with dW, index and dout""",
)

EXPLANATION = """
Reading a row is the same as a product with a one-hot vector, without computing the product; so only the bookkeeping is new here.
Words that occur often get many gradients in a step, rare ones none: this is why rare words are learned late.

np.add.at is right but slow. `minillm/nn/embedding.py` sorts the index, so that equal words lie side by side, and adds up
neighbours: four times as fast.
"""


def check(attempt):
    for trial, (N, M, V, C) in enumerate(attempt.trials("N M V C", 6)):
        shape = (N,) if trial < 3 else (N, M)
        note = "" if trial < 3 else "with two axes"
        W, index = attempt.rng.normal(size=(V, C)), attempt.rng.integers(0, V - 1, shape)      # the last word never occurs
        index.flat[-1] = index.flat[0]                                                         # and one at least twice
        dout = attempt.rng.normal(size=(*shape, C))
        attempt.check("embedding", (index, W), {"out": W[index]}, {
            "np.take without an axis reads single numbers, not rows": {"out": np.take(W, index)},
            "these are columns of W; a word is a row": {"out": W.T[index % C] if index.max() < C else None},
        }, note)
        dW, last, rows = np.zeros_like(W), np.zeros_like(W), np.zeros_like(W)
        np.add.at(dW, index, dout)
        last[index] = dout
        for row_index, row_dout in zip(index, dout):
            rows[row_index] += row_dout
        count = np.bincount(index.reshape(-1), minlength=V)[:, None]
        attempt.check("embedding_backward", (dout, index, W), {"dW": dW}, {
            "a word that occurs twice got only one of its gradients; they must add up (np.add.at)": {"dW": last},
            "a word that occurs twice in one row of the index got only one of its gradients; a loop over the first axis is not "
            "enough": {"dW": rows},
            "the gradients of a word are averaged; they must add up": {"dW": dW / np.maximum(count, 1)},
            "the table itself is included; start from zeros": {"dW": W + dW},
            "only the rows that were read are returned; dW has the shape of W": {"dW": dout},
        }, note)
