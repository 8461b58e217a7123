"""Softmax: any row of scores becomes a probability distribution."""

import numpy as np

from .module import Module

MODERATE = 50.0      # exp(-50) to exp(50), and sums of very many of them, are ordinary float32 numbers


class Softmax(Module):
    """p_i = exp(s_i) / sum_j exp(s_j), over the last axis."""

    def forward(self, s, needs_dx=True, mask=None, overwrite=False):
        """s (..., T) -> p (..., T).

        mask        (t, t), added to the last t columns first: 0 where a score counts, -inf where it does not; each row must have
                    one that counts
        overwrite   write p where s is, for a caller that needs s no more

        The cache is p. Who keeps p in any case, and leaves it as it is, asks for no other copy with needs_dx=False.

        Where exp could overflow or vanish, the largest score of each row is subtracted first; p does not change, since the factor
        cancels. Looking for it row by row takes longer than all the rest, so scores of moderate size, the usual ones, go without.
        """
        moderate = s.min(initial=0.0) > -MODERATE and s.max(initial=0.0) < MODERATE
        p = s if overwrite else s.copy()
        if mask is not None:
            p[..., -len(mask):] += mask
        if not moderate:
            p -= p.max(axis=-1, keepdims=True)
        np.exp(p, out=p)
        p *= 1 / np.einsum("...t->...", p)[..., None]
        return p, p.copy() if needs_dx else None

    def backward(self, dout, cache, dout_dot_p=None):
        """Forward: p_i = e_i / z, e_i = exp(s_i), z = sum_j e_j.

        Given dout (..., T), want ds (..., T).

        Derivation.
            de_i/ds_j = e_i [i = j],        dz/ds_j = e_j
            dp_i/ds_j = e_i [i = j] / z - e_i e_j / z^2 = p_i ([i = j] - p_j)
            ds_j = sum_i dout_i dp_i/ds_j = p_j (dout_j - sum_i dout_i p_i)

        `dout_dot_p` is that last sum (..., 1), for a caller who has it cheaper (see attention.py).

        Check: tests/test_gradients.py; ds sums to 0 over each row, since adding a constant to s changes nothing.
        """
        p = cache
        if p is None:
            return None
        if dout_dot_p is None:
            dout_dot_p = np.einsum("...i,...i->...", dout, p)[..., None]
        ds = dout - dout_dot_p
        ds *= p
        return ds
