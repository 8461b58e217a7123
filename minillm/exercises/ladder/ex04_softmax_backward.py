"""Exercise 4: the backward pass of softmax."""

import numpy as np

LESSON = 2

HINTS = (
    "A score s_j affects every probability of its row. So its gradient is a sum over all of them: ds_j = sum_i dout_i dp_i/ds_j. "
    "Which two cases does dp_i/ds_j have?",
    """dp_i/ds_j is p_j (1 - p_j) if i = j, and -p_i p_j otherwise: in one formula, p_i ([i = j] - p_j). Insert it into the sum
over i. Of the first part, a single term is left; in the second, p_j comes before the sum:

    ds_j = p_j (dout_j - sum_i dout_i p_i)""",
    "The last sum is one number for each row, the average of dout weighted by p. It is a sum over the last axis of the product "
    "dout * p, and it needs keepdims=True to stay beside its row.",
)

EXPLANATION = """
sum_i dout_i p_i is the average of dout, weighted by the probabilities. ds_j is p_j times the difference between dout_j and this
average: only differences count. So ds sums to 0 over each row, and if dout is the same everywhere, ds is 0, as in the second row
of the example. (So a check with a dout of ones would let almost any mistake pass; the check that you have passed drew dout at
random.)

The matrix dp_i/ds_j has T^2 entries for each row, and you have never computed it. Every good backward pass is like this: it
computes not the Jacobian, but its product with dout. `minillm/nn/softmax.py` has your line in two, and attention (lesson 8) uses
it in every head.
"""


def check(attempt):
    for trial, (N, M, T) in enumerate(attempt.trials("N M T", 6)):
        size = [(N, T), (T,), (N, M, T)][trial % 3]
        s, dout = attempt.rng.normal(size=size), attempt.rng.normal(size=size)
        e = np.exp(s)
        p = e / e.sum(axis=-1, keepdims=True)
        average = (dout * p).sum(axis=-1, keepdims=True)
        known = {
            "each probability is taken to depend on its own score alone, as if it were a sigmoid": {"ds": dout * p * (1 - p)},
            "the sum over the row is missing: a score affects all probabilities, not only its own": {"ds": dout * p},
            "dout is not weighted by p in the sum": {"ds": p * (dout - dout.sum(axis=-1, keepdims=True))},
            "the plain mean over the row is taken; it should be the average weighted by p": {
                "ds": p * (dout - dout.mean(axis=-1, keepdims=True))},
            "the factor p before the bracket is missing": {"ds": dout - average},
            "the sum is added; it should be subtracted": {"ds": p * (dout + average)},
            "the factor p covers only one of the two parts": {"ds": dout * p - average},
            "the other probabilities are forgotten: dout_i p_i is not summed over i": {"ds": p * (dout - dout * p)},
        }
        if len(size) > 1:
            known |= {
                "the sum runs over the wrong axis: over the rows instead of along each": {
                    "ds": p * (dout - (dout * p).sum(axis=0, keepdims=True))},
                "one sum over the whole array is taken; each row has its own": {"ds": p * (dout - (dout * p).sum())}}
        attempt.check("softmax_backward", (dout, p), {"ds": p * (dout - average)}, known,
                      note={1: "with one axis", 3: "with three axes"}.get(len(size), ""))
