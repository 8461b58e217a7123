"""Linear: y = x W + b."""

from typing import NamedTuple

import numpy as np

from ..ground.pieces import column_sum
from .module import NO_BACKWARD, Module, Parameter


class LinearCache(NamedTuple):
    x: np.ndarray | None      # (N, in); kept only while the weight trains
    needs_dx: bool


class Linear(Module):
    """y = x W + b for inputs with any leading dimensions; W is stored (in, out).

    n_out   the width of y; or {name: width} of linear maps that are fused in it, side by side: q, k and v, say
    bias    without one, y = x W
    """

    def __init__(self, n_in, n_out, rng, std=0.02, dtype=np.float32, bias=True):
        self.maps = n_out if isinstance(n_out, dict) else {"": n_out}
        widths = tuple(self.maps.values())
        self.weight = Parameter(rng.normal(0.0, std, (n_in, sum(widths))).astype(dtype, copy=False), matrices=widths)
        self.bias = Parameter(np.zeros(sum(widths), dtype)) if bias else None

    def columns(self, name):
        """Which columns of W are the map of this name, a slice."""
        names = list(self.maps)
        start = sum(self.maps[before] for before in names[:names.index(name)])
        return slice(start, start + self.maps[name])

    def bias_or_zero(self, columns=slice(None)):
        """The numbers of b, (out,), or those of some columns; a zero if there is no bias."""
        return 0.0 if self.bias is None else self.bias.data[columns]

    def forward(self, x, needs_dx=True):
        """x (..., in) -> (..., out)"""
        W, b = self.weight, self.bias
        rows = x.reshape(-1, W.shape[0])                                    # (N, in), all leading dimensions as one
        y = rows @ W.data                                                   # (N, out)
        if b is not None:
            y += b.data
        cache = LinearCache(rows if W.trainable and needs_dx is not NO_BACKWARD else None, needs_dx)
        return y.reshape(*x.shape[:-1], W.shape[1]), cache

    def backward(self, dout, cache):
        """Forward: y_ni = sum_k x_nk W_ki + b_i.
        Given dout (N, out), want dW (in, out), db (out,), dx (N, in).
        Derivation.
            dy_ni/dW_kj = x_nk [i = j]      so  dW_kj = sum_n x_nk dout_nj          dW = x' dout
            dy_ni/db_j  = [i = j]           so  db_j  = sum_n dout_nj
            dy_ni/dx_mk = W_ki [n = m]      so  dx_nk = sum_i dout_ni W_ki          dx = dout W'

        A frozen W needs no dW, hence no x; dx passes through it all the same.
        Check: tests/test_gradients.py, float64, relative error < 1e-7.
        """
        W, b = self.weight, self.bias
        rows = dout.reshape(-1, W.shape[1])                                 # (N, out)
        if W.trainable:
            W.add_product(cache.x.T, rows)
        if b is not None and b.trainable:
            b.grad += column_sum(rows)
        if not cache.needs_dx:
            return None
        dx = rows @ W.data.T                                                # (N, in)
        return dx.reshape(*dout.shape[:-1], W.shape[0])
