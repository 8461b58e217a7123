"""Softmax: any row of scores becomes a probability distribution."""

import numpy as np

from .module import Module

MODERATE = 50.0      # exp(-50) to exp(50), and sums of very many of them, are ordinary float32 numbers


class Softmax(Module):
    """p_i = exp(s_i) / sum_j exp(s_j), over the last axis."""

    def forward(self, s, needs_dx=True):
        """s (..., T) -> p (..., T)"""
        p = s.copy()
        softmax_in_place(p)
        return p, p.copy() if needs_dx else None

    def backward(self, dout, cache):
        """Forward: p_i = e_i / z, e_i = exp(s_i), z = sum_j e_j.
        Given dout (..., T), want ds (..., T).
        Derivation.
            de_i/ds_j = e_i [i = j],        dz/ds_j = e_j
            dp_i/ds_j = e_i [i = j] / z - e_i e_j / z^2 = p_i ([i = j] - p_j)
            ds_j = sum_i dout_i dp_i/ds_j = p_j (dout_j - sum_i dout_i p_i)
        Check: tests/test_gradients.py; ds sums to 0 over each row, since adding a constant to s changes nothing.
        """
        p = cache
        if p is None:
            return None
        ds = dout - np.einsum("...i,...i->...", dout, p)[..., None]
        ds *= p
        return ds


def softmax_in_place(s, mask=None):
    """Write p = softmax(s + mask) where s is (..., T), without a copy.

    mask    (t, t) for the last t columns: 0 where a score counts, -inf where it does not; each row must have one that counts
    Returns z (..., 1), and m, (..., 1) or 0.0, such that   p_i = exp(s_i - m) / z,   and so   log sum_j exp(s_j) = m + log z.

    The plain form subtracts the largest score m of each row, so that exp cannot overflow; p does not change, since exp(-m)
    cancels. Finding m row by row takes longer than all the rest, so scores of moderate size, the usual ones, go without (m = 0).
    """
    moderate = s.min(initial=0.0) > -MODERATE and s.max(initial=0.0) < MODERATE
    if mask is not None:
        s[..., -len(mask):] += mask
    m = 0.0 if moderate else s.max(axis=-1, keepdims=True)
    if not moderate:
        s -= m
    p = np.exp(s, out=s)
    z = np.einsum("...t->...", p)[..., None]
    p *= 1 / z
    return z, m
