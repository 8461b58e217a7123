"""LayerNorm: centre and scale each row, then learn a new scale and centre (Ba, Kiros, Hinton 2016)."""

from typing import NamedTuple

import numpy as np

from ..ground.pieces import column_sum, row_mean, row_pieces
from .module import Module, Parameter, needs_dx_after

EPS = 1e-5      # as in GPT-2


class NormCache(NamedTuple):
    x_hat: np.ndarray         # (N, C), the normalised rows
    r: np.ndarray             # (N, 1), 1 / the standard deviation; in RMSNorm, 1 / the root mean square
    needs_dx: bool


class LayerNorm(Module):
    """y = g * (x - mean) / sqrt(var + eps) + b, over the last axis; var is the biased variance.

    The plain form:
        x_hat = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
        y = g * x_hat + b
    """

    kind = "norm"

    def __init__(self, n_embd, dtype=np.float32, eps=EPS):
        self.eps = eps
        self.weight = Parameter(np.ones(n_embd, dtype))
        self.bias = Parameter(np.zeros(n_embd, dtype))

    def forward(self, x, needs_dx=True):
        """x (..., C) -> y (..., C): the plain form for a few rows at a time, which stay in a core's cache (ground/pieces.py)."""
        g, b = self.weight, self.bias
        rows = x.reshape(-1, x.shape[-1])                                   # (N, C)
        keep = needs_dx_after(self, needs_dx)
        y, r = np.empty(rows.shape, rows.dtype), np.empty((len(rows), 1), rows.dtype)
        x_hat = np.empty(rows.shape, rows.dtype) if keep else y             # for the backward pass, or only on the way to y
        for n in row_pieces(*rows.shape):
            centred = np.subtract(rows[n], row_mean("nc->n", rows[n]), out=x_hat[n])
            var = row_mean("nc,nc->n", centred, centred)
            np.divide(1, np.sqrt(var + self.eps), out=r[n])
            x_hat[n] *= r[n]
            np.multiply(x_hat[n], g.data, out=y[n])
            y[n] += b.data
        return y.reshape(x.shape), NormCache(x_hat, r, needs_dx) if keep else None

    def backward(self, dout, cache):
        """Forward, for one row: mu = mean(x), v = mean((x - mu)^2), r = 1 / sqrt(v + eps), x_hat = (x - mu) r, y = g x_hat + b.
        Given dout (N, C), want dg (C,), db (C,), dx (N, C).
        Derivation.
            dg_c = sum_n dout_nc x_hat_nc,      db_c = sum_n dout_nc
        For dx, one row, with h = dx_hat = dout g:
            dmu/dx_j = 1/C
            dv/dx_j  = (2/C) sum_i (x_i - mu) ([i = j] - 1/C) = 2 (x_j - mu) / C,   since sum_i (x_i - mu) = 0
            dr/dx_j  = -1/2 (v + eps)^(-3/2) dv/dx_j = -r^3 (x_j - mu) / C = -r^2 x_hat_j / C
            dx_hat_i/dx_j = r ([i = j] - 1/C) + (x_i - mu) dr/dx_j = r ([i = j] - 1/C - x_hat_i x_hat_j / C)
            dx_j = sum_i h_i dx_hat_i/dx_j = r (h_j - mean(h) - x_hat_j mean(h x_hat))
        In words: the gradient loses its part along (1, ..., 1), as the mean was removed, and (but for eps) along x_hat, as the
        length was divided out.
        Check: tests/test_gradients.py, with gains away from 1 and a random dout; dx sums to 0 over each row.
        """
        g, b = self.weight, self.bias
        x_hat, r, needs_dx = cache
        rows = dout.reshape(x_hat.shape)                                    # (N, C)
        dx = np.empty(rows.shape, rows.dtype) if needs_dx else None
        for n in row_pieces(*rows.shape):
            if g.trainable:
                g.grad += np.einsum("nc,nc->c", rows[n], x_hat[n])
            if b.trainable:
                b.grad += column_sum(rows[n])
            if needs_dx:
                h = np.multiply(rows[n], g.data, out=dx[n])
                mean_h, mean_h_x_hat = row_mean("nc->n", h), row_mean("nc,nc->n", h, x_hat[n])
                h -= mean_h
                h -= x_hat[n] * mean_h_x_hat
                h *= r[n]                                                   # dx
        return dx.reshape(dout.shape) if needs_dx else None
