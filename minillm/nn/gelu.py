"""GELU, the smooth gate of GPT-2's MLP (Hendrycks & Gimpel 2016), in its tanh form."""

import math

import numpy as np

from ..ground.pieces import pieces
from .module import Module

# Python floats, not NumPy scalars: np.sqrt(2 / np.pi) is a float64 array scalar and would lift float32 arrays to float64.
A = math.sqrt(2 / math.pi)
B = 0.044715


class GELU(Module):
    """y = x (1 + tanh(u)) / 2 with u = A (x + B x^3).

    The plain form:
        h = (1 + np.tanh(A * (x + B * x**3))) / 2
        y = x * h
        dy_dx = h + 2 * y * (1 - h) * A * (1 + 3 * B * x**2)
    """

    def forward(self, x, needs_dx=True):
        """x (...) -> y (...). The cache is dy/dx, made here while all that it needs is at hand: backward is a single product.

        Fourteen operations on arrays of many megabytes would each wait for main memory; done piece by piece in a core's cache,
        they take half the time.
        """
        flat = x.reshape(-1)                                                # of an array in another order, a copy
        y = np.empty(x.size, x.dtype)
        dy_dx = np.empty(x.size, x.dtype) if needs_dx else None
        for piece in pieces(x.size):
            gelu_piece(flat[piece], y[piece], None if dy_dx is None else dy_dx[piece])
        return y.reshape(x.shape), None if dy_dx is None else dy_dx.reshape(x.shape)

    def backward(self, dout, cache):
        """Forward: t = tanh(u), u = A (x + B x^3), y = x (1 + t) / 2.
        Given dout, want dx; at each entry alone, so all have the shape of x.
        Derivation.
            du/dx = A (1 + 3 B x^2),        dt/du = 1 - t^2 = (1 + t)(1 - t)
            dy/dx = (1 + t) / 2 + x/2 (1 + t)(1 - t) du/dx
        and with h = (1 + t) / 2, so that 1 - t = 2 (1 - h) and y = x h:
            dy/dx = h + 2 y (1 - h) du/dx = h + w - w h,        w = 2 y du/dx = y (2 A + 6 A B x^2)
        Check: tests/test_gradients.py, float64, relative error < 1e-7.
        """
        dy_dx = cache
        return None if dy_dx is None else dout * dy_dx


def gelu_piece(x, y, dy_dx):
    """Of vectors of one length, write y and, unless it is None, dy/dx: the plain form with as few arrays and passes as can be."""
    x2 = x * x                          # x ** 3 would call pow, which takes a hundred times as long
    u = x2 * (A * B)
    u += A
    u *= x                              # u = A x + A B x^3
    t = np.tanh(u, out=u)
    h = np.multiply(t, 0.5, out=t)
    h += 0.5                            # h = (1 + t) / 2
    np.multiply(x, h, out=y)
    if dy_dx is None:
        return
    w = x2
    w *= 6 * A * B
    w += 2 * A
    w *= y                              # w = y (2 A + 6 A B x^2)
    np.multiply(w, h, out=dy_dx)
    np.subtract(w, dy_dx, out=dy_dx)
    dy_dx += h                          # h + w - w h
