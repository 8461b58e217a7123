"""Exercise 14: attention that does not look ahead."""

import math

import numpy as np

HINTS = (
    "Scores first: q times the transpose of k, divided by math.sqrt(D). Then what lies above the diagonal becomes -infinity; "
    "then softmax; then the product with v.",
    "np.tri(T) has ones on and below the diagonal, and zeros above. np.where(condition, a, b) takes from a where the condition "
    "is true, else from b; it stretches (T, T) over all leading axes.",
    """The four lines:

    S = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    S = np.where(np.tri(T, dtype=bool), S, -np.inf)
    P = softmax(S)

and o is P times v. (In float32, take care that the mask does not make S float64; np.where with a plain -np.inf does not.)""",
)

EXPLANATION = """
A row of P says where its position looks. All positions are computed at once, and yet none sees its future, which is what makes
training on a whole text at a time possible: every position is an example of its own.

The root of D keeps the scores of one size whatever D is: a sum of D products of random numbers grows like sqrt(D), and large
scores would saturate softmax (lesson 2).
"""


def check(attempt):
    for trial, (B, H, T, D) in enumerate(attempt.trials("B H T D", 6)):
        leading = () if trial < 2 else (B, H)
        q, k, v = attempt.rng.normal(size=(3, *leading, T, D))
        raw, seen = q @ k.swapaxes(-1, -2), np.tri(T, dtype=bool)
        S = raw / math.sqrt(D)

        def both(S, seen=seen, v=v):
            P = row_softmax(np.where(seen, S, -np.inf))
            return {"o": P @ v, "P": P}

        every = row_softmax(S)
        attempt.check("causal_attention", (q, k, v), both(S), {
            "the mask is missing: a position sees its future": {"o": every @ v, "P": every},
            "the mask is the wrong way round: a position must see what comes before it": both(S, seen.T),
            "a position must see itself, too": {"o": np.full_like(v, np.nan)},
            "the scores are not divided by sqrt(D)": both(raw),
            "the scores are divided by D, not by its root": both(raw / D),
            "the scores are masked with 0; exp(0) is 1, and not nothing": masked_with_zero(S, seen, v),
            "P is masked after softmax, so its rows no longer sum to 1": {"o": (every * seen) @ v, "P": every * seen},
            "softmax runs over the queries; it must be over the keys, row by row": over_queries(S, seen, v),
            "queries and keys are exchanged": both(S.swapaxes(-1, -2)),
        }, "" if trial < 2 else "with two leading axes")
        check_the_future(attempt, q, k, v)


def check_the_future(attempt, q, k, v):
    """What comes after t must not change what stands at t, not even in the last bit."""
    t = q.shape[-2] // 2
    before, _ = attempt.call("causal_attention", q, k, v, returns="o P")
    k, v = k.copy(), v.copy()
    k[..., t + 1:, :] += 5
    v[..., t + 1:, :] += 5
    after, _ = attempt.call("causal_attention", q, k, v, returns="o P")
    attempt.insist(np.array_equal(before[..., :t + 1, :], after[..., :t + 1, :]),
                   f"Changing keys and values after position {t} has changed what position {t}, or one before it, gathers.")


def row_softmax(S):
    with np.errstate(invalid="ignore"):
        e = np.exp(S - S.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def masked_with_zero(S, seen, v):
    P = row_softmax(np.where(seen, S, 0))
    return {"o": P @ v, "P": P}


def over_queries(S, seen, v):
    P = row_softmax(np.where(seen, S, -np.inf).swapaxes(-1, -2)).swapaxes(-1, -2)
    return {"o": P @ v, "P": P}
