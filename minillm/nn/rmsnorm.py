"""RMSNorm: scale each row to length sqrt(C), without centring it (Zhang & Sennrich 2019)."""

import numpy as np

from ..ground.pieces import row_mean, row_pieces
from .layernorm import EPS, NormCache
from .module import Module, Parameter, needs_dx_after


class RMSNorm(Module):
    """y = g x / sqrt(mean(x^2) + eps), over the last axis. LayerNorm without a mean and without a bias.

    The plain form:
        x_hat = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
        y = g * x_hat
    """

    kind = "norm"

    def __init__(self, n_embd, dtype=np.float32, eps=EPS):
        self.eps = eps
        self.weight = Parameter(np.ones(n_embd, dtype))

    def forward(self, x, needs_dx=True):
        """x (..., C) -> y (..., C), a few rows at a time, as in layernorm.py"""
        g, rows = self.weight, x.reshape(-1, x.shape[-1])                   # (N, C)
        keep = needs_dx_after(self, needs_dx)
        y, r = np.empty(rows.shape, rows.dtype), np.empty((len(rows), 1), rows.dtype)
        x_hat = np.empty(rows.shape, rows.dtype) if keep else y             # for the backward pass, or only on the way to y
        for n in row_pieces(*rows.shape):
            np.divide(1, np.sqrt(row_mean("nc,nc->n", rows[n], rows[n]) + self.eps), out=r[n])
            np.multiply(rows[n], r[n], out=x_hat[n])
            np.multiply(x_hat[n], g.data, out=y[n])
        return y.reshape(x.shape), NormCache(x_hat, r, needs_dx) if keep else None

    def backward(self, dout, cache):
        """Forward, for one row: r = 1 / sqrt(mean(x^2) + eps), x_hat = r x, y = g x_hat.
        Given dout (N, C), want dg (C,), dx (N, C).
        Derivation.
            dg_c = sum_n dout_nc x_hat_nc
        For dx, one row, with h = dx_hat = dout g and u = mean(x^2) + eps:
            du/dx_j = 2 x_j / C,    dr/du = -1/2 u^(-3/2) = -r^3 / 2,    dr/dx_j = -r^3 x_j / C = -r^2 x_hat_j / C
            dx_hat_i/dx_j = r [i = j] + x_i dr/dx_j = r ([i = j] - x_hat_i x_hat_j / C)
            dx_j = sum_i h_i dx_hat_i/dx_j = r (h_j - x_hat_j mean(h x_hat))
        In words: the gradient loses (but for eps) its part along x_hat, the direction in which a longer x changes nothing.
        Check: tests/test_gradients.py, with gains away from 1; tests/test_torch.py.
        """
        g, (x_hat, r, needs_dx) = self.weight, cache
        rows = dout.reshape(x_hat.shape)                                    # (N, C)
        dx = np.empty(rows.shape, rows.dtype) if needs_dx else None
        for n in row_pieces(*rows.shape):
            if g.trainable:
                g.grad += np.einsum("nc,nc->c", rows[n], x_hat[n])
            if needs_dx:
                h = np.multiply(rows[n], g.data, out=dx[n])
                h -= x_hat[n] * row_mean("nc,nc->n", h, x_hat[n])
                h *= r[n]                                                   # dx
        return dx.reshape(dout.shape) if needs_dx else None
