"""GELU, the smooth gate of GPT-2's MLP (Hendrycks & Gimpel 2016), in its tanh form."""

import math

import numpy as np

from ..ground.pieces import pieces
from .module import Module

# Python floats, not NumPy scalars: np.sqrt(2 / np.pi) is a float64 array scalar and would lift float32 arrays to float64.
A = math.sqrt(2 / math.pi)
B = 0.044715


class GELU(Module):
    """y = x (1 + tanh(u)) / 2 with u = A (x + B x^3)."""

    def forward(self, x, needs_dx=True):
        """The cache is dy/dx, made here while all that it needs is at hand: backward is then a single product.

        Fourteen operations on arrays of many megabytes would each wait for main memory; done piece by piece in a core's cache,
        they take half the time.
        """
        flat = x.reshape(-1)                                                # of an array in another order, a copy
        y = np.empty(x.size, x.dtype)
        slope = np.empty(x.size, x.dtype) if needs_dx else None
        for piece in pieces(x.size):
            self.forward_piece(flat[piece], y[piece], None if slope is None else slope[piece])
        return y.reshape(x.shape), None if slope is None else slope.reshape(x.shape)

    def forward_piece(self, x, y, slope):
        """Of vectors of one length, writes y = x h with h = (1 + t) / 2, and, unless it is None, slope = dy/dx (see backward)."""
        x2 = x * x                      # x ** 3 would call pow, at a hundred times the price
        h = x2 * (A * B)
        h += A
        h *= x                          # u = x (A + A B x^2)
        np.tanh(h, out=h)
        h *= 0.5
        h += 0.5
        np.multiply(x, h, out=y)
        if slope is None:
            return
        w = x2
        w *= 6 * A * B
        w += 2 * A                      # 2 du/dx
        w *= y
        np.multiply(w, h, out=slope)
        np.subtract(w, slope, out=slope)
        slope += h

    def backward(self, dout, cache):
        """Forward: t = tanh(u), u = A (x + B x^3), y = x (1 + t) / 2.

        Given dout, want dx; elementwise, so each is of the shape of x.

        Derivation.
            du/dx = A (1 + 3 B x^2),        dt/du = 1 - t^2 = (1 + t)(1 - t)
            dy/dx = (1 + t) / 2 + x/2 (1 + t)(1 - t) du/dx
        and with h = (1 + t) / 2, so that 1 - t = 2 (1 - h):
            dy/dx = h + 2 y (1 - h) du/dx

        Check: tests/test_gradients.py, float64, relative error < 1e-7.
        """
        slope = cache
        return None if slope is None else dout * slope
