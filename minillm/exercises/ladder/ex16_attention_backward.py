"""Exercise 16: the backward pass of attention."""

import math

import numpy as np

from ...nn.attention import causal_mask
from ..layers import looking_at_earlier_ones

LESSON = 8

HINTS = (
    "Four lines, in the order of the stub: dv, dP, dS, and then dq and dk. Write the shapes beside each; with leading axes, the "
    "transpose of the last two is x.swapaxes(-1, -2), since x.T would reverse all of them.",
    """As products, without leading axes:

    dv = P' do        dP = do v'        dq = dS k / sqrt(D)        dk = dS' q / sqrt(D)

and from dP to dS leads your softmax_backward, which already works on the last axis.""",
    "softmax_backward takes the upstream gradient first and the probabilities second. Divide dS by math.sqrt(D) once, with D = "
    "q.shape[-1]; then dq is dS @ k, and dk the transpose of dS times q.",
)

EXPLANATION = """
Attention is two matrix products with softmax between them, and has no parameters of its own. Its backward pass has four products,
twice as many: each factor of each product needs a gradient.

`minillm/nn/attention.py` saves some work. The sum in softmax's backward pass, over r of dP_tr P_tr, equals the sum over c of
do_tc o_tc, since o is P v, and o is known already. And it works in tiles, so most scores that the mask hides are never computed.
"""


def check(attempt):
    with looking_at_earlier_ones(attempt):
        check_gradients(attempt)


def check_gradients(attempt):
    for trial, (B, H, T, D) in enumerate(attempt.trials("B H T D", 6)):
        leading = () if trial < 2 else (B, H)
        if not leading:
            attempt.sizes = {"T": T, "D": D}
        q, k, v, do = attempt.rng.normal(size=(4, *leading, T, D))
        S = q @ transposed(k) / math.sqrt(D) + causal_mask(T, np.dtype(float))
        P = np.exp(S)
        P /= P.sum(axis=-1, keepdims=True)
        right, wrong = answers(do, q, k, v, P)
        attempt.check("attention_backward", (do, q, k, v, P), right, wrong, "" if trial < 2 else "with two leading axes")


def transposed(x):
    return x.swapaxes(-1, -2)


def through_softmax(dP, P):
    return P * (dP - (dP * P).sum(axis=-1, keepdims=True))


def answers(do, q, k, v, P):
    """The right gradients, and those of known mistakes."""
    root, dP = math.sqrt(q.shape[-1]), do @ transposed(v)

    def from_dS(dS, scale=root):
        return {"dq": dS @ k / scale, "dk": transposed(dS) @ q / scale}

    dS = through_softmax(dP, P)
    return from_dS(dS) | {"dv": transposed(P) @ do}, {
        "1/sqrt(D) is missing: the scores were divided by sqrt(D), so their gradient is, too": from_dS(dS, 1),
        "it is divided by D; it must be by sqrt(D), and once": from_dS(dS, root ** 2),
        "it is multiplied by sqrt(D); it must be divided": from_dS(dS, 1 / root),
        "it is divided by sqrt(T), the root of the number of positions; D is the last length of q": from_dS(
            dS, math.sqrt(q.shape[-2])),
        "the backward pass of softmax is left out": from_dS(dP),
        "softmax's sum over the row is missing: dS = P (dP - sum)": from_dS(P * dP),
        "softmax's sum runs over the queries instead of the keys": from_dS(P * (dP - (dP * P).sum(axis=-2, keepdims=True))),
        "softmax_backward was given P first; it takes the upstream gradient first": from_dS(
            dP * (P - (P * dP).sum(axis=-1, keepdims=True))),
        "dS must be transposed: dk sums over all queries that see the key": {"dk": dS @ q / root},
        "dS must not be transposed: dq sums over all keys that the query sees": {"dq": transposed(dS) @ k / root},
        "dq is computed from q; it must be from k, by which q was multiplied": {"dq": dS @ q / root},
        "dk is computed from k; it must be from q, by which k was multiplied": {"dk": transposed(dS) @ k / root},
        "do and v are swapped in dP: dP_ts = sum_c do_tc v_sc": from_dS(through_softmax(transposed(dP), P)),
        "P must be transposed: dv sums over all queries that see the value": {"dv": P @ do},
    }
