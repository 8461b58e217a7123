"""Softmax: any row of scores becomes a probability distribution."""

import numpy as np

from .module import Module


class Softmax(Module):
    """p_i = exp(s_i) / sum_j exp(s_j), over the last axis."""

    def forward(self, s, needs_dx=True, out=None):
        """s (..., T) -> p (..., T). `out` may be s itself, for a caller that owns s and needs it no more.

        The largest score is subtracted first. p does not change (the factor cancels), and exp cannot overflow.
        """
        p = np.subtract(s, s.max(axis=-1, keepdims=True), out=out)
        np.exp(p, out=p)
        p /= p.sum(axis=-1, keepdims=True)
        return p, p if needs_dx else None

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
