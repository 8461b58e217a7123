"""LayerNorm: centre and scale each row, then learn the scale back (Ba, Kiros, Hinton 2016)."""

from typing import NamedTuple

import numpy as np

from .linear import sum_of
from .module import Module, Parameter, needs_dx_after
from .pieces import row_pieces

EPS = 1e-5      # as in GPT-2


def row_mean(what, *arrays):
    """Mean of rows (N, C), or of products of rows, as (N, 1): einsum makes no temporary and is thrice as fast as .mean()."""
    return np.einsum(what, *arrays)[:, None] / arrays[0].shape[1]


class LayerNormCache(NamedTuple):
    x_hat: np.ndarray         # (N, C), the normalised rows
    rstd: np.ndarray          # (N, 1), 1 / standard deviation
    needs_dx: bool


class LayerNorm(Module):
    """y = g * (x - mean) / sqrt(var + eps) + b, over the last axis; var is the biased variance."""

    def __init__(self, n_embd, dtype=np.float32):
        self.weight = Parameter(np.ones(n_embd, dtype))
        self.bias = Parameter(np.zeros(n_embd, dtype))

    def forward(self, x, needs_dx=True):
        """x (..., C) -> y (..., C), a few rows at a time (see pieces.py)"""
        g, b = self.weight, self.bias
        rows = x.reshape(-1, x.shape[-1])                                   # (N, C)
        keep = needs_dx_after(self, needs_dx)
        y, rstd = np.empty(rows.shape, rows.dtype), np.empty((len(rows), 1), rows.dtype)
        x_hat = np.empty(rows.shape, rows.dtype) if keep else y             # for the backward pass, or only on the way to y
        for n in row_pieces(*rows.shape):
            np.subtract(rows[n], row_mean("nc->n", rows[n]), out=x_hat[n])
            var = row_mean("nc,nc->n", x_hat[n], x_hat[n])
            np.divide(1, np.sqrt(var + EPS), out=rstd[n])
            x_hat[n] *= rstd[n]
            np.multiply(x_hat[n], g.data, out=y[n])
            y[n] += b.data
        return y.reshape(x.shape), LayerNormCache(x_hat, rstd, needs_dx) if keep else None

    def backward(self, dout, cache):
        """Forward, for one row: mu = mean(x), r = 1 / sqrt(mean((x - mu)^2) + eps), x_hat = (x - mu) r, y = g x_hat + b.

        Given dout (N, C), want dg (C,), db (C,), dx (N, C).

        Derivation.
            dg_c = sum_n dout_nc x_hat_nc,      db_c = sum_n dout_nc
        For dx, one row, with h = dL/dx_hat = dout g:
            x_hat_i = (x_i - mu) r,    dmu/dx_j = 1/C,    dr/dx_j = -r^3 (x_j - mu) / C = -r^2 x_hat_j / C
            dx_hat_i/dx_j = r ([i = j] - 1/C) + (x_i - mu) dr/dx_j = r ([i = j] - 1/C - x_hat_i x_hat_j / C)
            dx_j = sum_i h_i dx_hat_i/dx_j = r (h_j - mean(h) - x_hat_j mean(h x_hat))
        In words: the gradient loses its part along 1 (the mean was removed) and along x_hat (the length was).

        Check: tests/test_gradients.py, with gains away from 1 and a random dout; dx sums to 0 over each row.
        """
        g, b = self.weight, self.bias
        x_hat, rstd, needs_dx = cache
        rows = dout.reshape(x_hat.shape)                                    # (N, C)
        dx = np.empty(rows.shape, rows.dtype) if needs_dx else None
        for n in row_pieces(*rows.shape):
            if g.trainable:
                g.grad += np.einsum("nc,nc->c", rows[n], x_hat[n])
            if b.trainable:
                b.grad += sum_of(rows[n])
            if needs_dx:
                h = np.multiply(rows[n], g.data, out=dx[n])
                along_1, along_x_hat = row_mean("nc->n", h), row_mean("nc,nc->n", h, x_hat[n])
                h -= along_1
                h -= x_hat[n] * along_x_hat
                h *= rstd[n]                                                # dx
        return dx.reshape(dout.shape) if needs_dx else None
