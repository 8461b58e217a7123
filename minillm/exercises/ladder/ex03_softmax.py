"""Exercise 3: softmax, for scores of any size."""

import numpy as np

LESSON = 2

HINTS = (
    "Write the equation for one row first: call the exponentials e; then p is e divided by its sum. Then ask along which axis "
    "the sum must run if there are several rows, and what shape it must have so that each row is divided by its own sum.",
    "`e.sum(axis=-1, keepdims=True)` sums over the last axis, for any number of axes, and keeps that axis with length 1, so that "
    "(..., T) / (..., 1) divides row by row. For large scores: adding the same number c to all scores of a row changes nothing, "
    "since exp(s_i + c) = exp(s_i) exp(c), and exp(c) cancels. With which c is the largest exponential of the row "
    "exactly 1?",
    "c = minus the largest score of the row. Then each exponent is at most 0, so no exponential exceeds 1, and the sum is at "
    "least 1. Each row must use its own largest score: s.max has `axis` and `keepdims`, like sum. Do not write `s -= ...`, "
    "which would change the caller's array.",
)

EXPLANATION = """
Softmax depends only on differences of scores. That is why you could shift each row. The backward pass shows the same: ds sums to
0 over each row, because shifting all scores together changes nothing.

Subtracting the largest score of the *whole* array would have worked only for the rows near it: in a row that is 2000 below, all
exponentials are 0, and 0 / 0 is not a number.

A language model ends in this function, over its whole vocabulary, and contains it in each attention head, over the positions of
a text (`minillm/nn/softmax.py`). There, a score of minus infinity is used on purpose: its probability is exactly 0, and your
function gives that, too. This is how lesson 7 hides the future from the model.
"""


def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def check(attempt):
    for trial, (N, M, T) in enumerate(attempt.trials("N M T", 6)):
        size = [(N, T), (T,), (N, M, T)][trial % 3]
        s = 2 * attempt.rng.normal(size=size)
        note = {1: "with one axis", 3: "with three axes"}.get(len(size), "")
        attempt.check("softmax", (s,), {"p": softmax(s)}, mistakes(s), note)

    s = np.round(attempt.rng.normal(size=(3, 4)), 1) + 1000.0
    large(attempt, s, "Likely: exp(1000) is infinite in floating point, and infinity / infinity is not a number. What may be "
                      "added to all scores of a row without changing its probabilities?",
          {"the scores are clipped at a limit. That makes different scores equal": {"p": np.full(s.shape, 1 / s.shape[1])}})
    large(attempt, s - 2000.0, "Likely: exp(-1000) is 0 in floating point, and 0 / 0 is not a number. Make the largest exponent "
                               "of each row 0, whether the scores are large or small.")
    large(attempt, s - np.array([[0.0], [1000.0], [2000.0]]),
          "Likely: one number has been subtracted from all rows, the largest of the whole array, say. In a row far below it, "
          "all exponentials are 0. Each row needs its own.")
    wide = np.array([[0.0, 2000.0, 3.0], [-2000.0, -3000.0, -2001.0]])
    large(attempt, wide, "Likely: the lowest score of the row, or its mean, has been subtracted. Scores far above it are "
                         "still too large for exp. Which score must be shifted to 0, so that no other is above it?")
    masked = np.array([[1.0, -np.inf, 0.0]])
    p = attempt.call("softmax", masked, returns="p")
    attempt.compare("softmax", (masked,), p, {"p": softmax(masked)}, note="with a score of minus infinity")
    attempt.check("softmax", (s[:, :1],), {"p": np.ones((3, 1))}, note="with a single score in each row")


def mistakes(s):
    """The results of known mistakes, with plain exponentials, and with those after subtracting the row's largest score."""
    known = {}
    row = s.max(axis=-1, keepdims=True)
    for e, praise in ((np.exp(s), ""), (np.exp(s - row), ". (The row's largest score is subtracted: good)")):
        known |= {
            f"the exponentials are not divided by their sum{praise}": e,
            f"the denominator is the mean; it should be the sum{praise}": e / e.mean(axis=-1, keepdims=True)}
        if s.ndim > 1:
            known |= {
                f"the sum runs over the wrong axis: each row, along the last axis, must sum to 1{praise}": e / e.sum(axis=0),
                f"everything is divided by one sum over the whole array; each row has its own sum{praise}": e / e.sum()}
    known |= {
        "exp is missing: the scores themselves are divided by their sum": s / s.sum(axis=-1, keepdims=True),
        "the sign: the largest score must get the largest probability": softmax(-s)}
    if s.ndim > 1:
        e = np.exp(s - s.max(axis=0))
        sentence = "the numbers subtracted from the scores differ within a row, and then they do not cancel"
        known[sentence] = e / e.sum(axis=-1, keepdims=True)
    return {sentence: {"p": wrong} for sentence, wrong in known.items()}


def large(attempt, s, sentence, known=()):
    """Check scores for which exp would overflow or become 0."""
    p = attempt.call("softmax", s, returns="p")
    bad = ~np.isfinite(p).all(axis=-1)
    row = bad.argmax()
    attempt.insist(not bad.any(), f"softmax(s) with s {s.shape}, where row {row} is {s[row].round(1).tolist()}, gives "
                                  f"p = {p[row].tolist()} there.", sentence)
    attempt.compare("softmax", (s,), p, {"p": softmax(s)}, known, note=f"with scores near {s[0, 0]:.0f}")
