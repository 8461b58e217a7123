"""Exercise 14: attention that does not look ahead."""

import math

import numpy as np

from ..diagnose import same

LESSON = 7

HINTS = (
    "Scores first: q times the transpose of k, divided by math.sqrt(D). Then everything above the diagonal becomes -infinity; "
    "then softmax; then the product with v.",
    "np.tri(T) has ones on and below the diagonal, and zeros above. np.where(condition, a, b) takes from a where the condition "
    "is true, else from b; it broadcasts (T, T) over all leading axes.",
    """The four steps, and their shapes:

    scores     q times the transposed k, divided by the root of D = q.shape[-1]           (..., T, T)
    mask       np.where: the score where np.tri(T, dtype=bool) is True, else -np.inf      (..., T, T)
    softmax    your own, over the last axis                                               (..., T, T)
    gather     P times v                                                                  (..., T, D)

(A mask of zeros and ones, multiplied by -np.inf, does not work: 0 times infinity is not a number.)""",
)

EXPLANATION = """
A row of P says how much its position attends to each position. All positions are computed at once, and none sees its future. This
makes it possible to train on a whole text at a time: every position is a training example.

Dividing by the root of D keeps the size of the scores independent of D: a sum of D products of random numbers grows like sqrt(D),
and large scores would saturate softmax (lesson 2).

`minillm/nn/attention.py` has these steps in `attend`, tile by tile: scores that are in the future of all queries of a tile are
never computed.
"""


def check(attempt):
    for trial, (B, H, T, D) in enumerate(attempt.trials("B H T D", 6)):
        leading = () if trial < 2 else (B, H)
        if leading and H == D * D:
            continue                                                # sqrt(H) would be D: two mistakes would look alike
        q, k, v = attempt.rng.normal(size=(3, *leading, T, D))
        raw, visible = q @ k.swapaxes(-1, -2), np.tri(T, dtype=bool)
        S = raw / math.sqrt(D)

        def both(S, visible=visible, v=v):
            P = row_softmax(np.where(visible, S, -np.inf))
            return {"o": P @ v, "P": P}

        every = row_softmax(S)
        hold_numbers(attempt, q, k, v)
        attempt.check("causal_attention", (q, k, v), both(S), {
            "the mask is missing: a position sees its future": {"o": every @ v, "P": every},
            "this is S; softmax is missing": {"P": np.where(visible, S, -np.inf)},
            "a position sees the next one as well: the mask is off by one position": both(S, np.tri(T, k=1, dtype=bool)),
            "the mask is the wrong way round: a position must see what comes before it": both(S, visible.T),
            "the scores are not divided by sqrt(D)": both(raw),
            "the scores are divided by D, not by its root": both(raw / D),
            "D is the last length of q, q.shape[-1]; the scores are divided by the root of another length": both(
                raw / math.sqrt(H if leading else T)),
            "the scores are masked with 0; but exp(0) is 1, not 0": masked_with_zero(S, visible, v),
            "P is masked after softmax, so its rows no longer sum to 1": {"o": (every * visible) @ v, "P": every * visible},
            "softmax runs over the queries; it must be over the keys, row by row": over_queries(S, visible, v),
            "queries and keys are swapped": both(S.swapaxes(-1, -2)),
        }, "" if trial < 2 else "with two leading axes")
        check_the_future(attempt, q, k, v)


def hold_numbers(attempt, q, k, v):
    """Wrong if P is NaN: where a position sees nothing, or -infinity was used in a wrong way."""
    _, P = attempt.call("causal_attention", q, k, v, returns="o P")
    if np.shape(P) != (*q.shape[:-1], q.shape[-2]):
        return
    lost = np.isnan(P).any(axis=-1)
    attempt.insist(not lost.all(), "All rows of P are NaN.",
                   "Likely: -infinity was multiplied by a mask of zeros and ones. 0 times infinity is not a number; np.where "
                   "chooses instead.")
    attempt.insist(not lost[..., 0].any(), "The first row of P is NaN, the others are numbers.",
                   "Likely: a position must see itself, too. With your mask the first position sees nothing at all.")


def check_the_future(attempt, q, k, v):
    """Wrong if positions after t change the output at t by more than rounding. (The largest score of a row may include them.)"""
    t = q.shape[-2] // 2
    before, _ = attempt.call("causal_attention", q, k, v, returns="o P")
    k, v = k.copy(), v.copy()
    k[..., t + 1:, :] += 5
    v[..., t + 1:, :] += 5
    after, _ = attempt.call("causal_attention", q, k, v, returns="o P")
    attempt.insist(same(before[..., :t + 1, :], after[..., :t + 1, :]),
                   f"Changing keys and values after position {t} has changed the output at position {t} or before it.")


def row_softmax(S):
    with np.errstate(invalid="ignore"):
        e = np.exp(S - S.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def masked_with_zero(S, visible, v):
    P = row_softmax(np.where(visible, S, 0))
    return {"o": P @ v, "P": P}


def over_queries(S, visible, v):
    P = row_softmax(np.where(visible, S, -np.inf).swapaxes(-1, -2)).swapaxes(-1, -2)
    return {"o": P @ v, "P": P}
