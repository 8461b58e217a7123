"""GELU, the smooth gate of GPT-2's MLP (Hendrycks & Gimpel 2016), in its tanh form."""

import math
from typing import NamedTuple

import numpy as np

from .module import Module

# Python floats, not NumPy scalars: np.sqrt(2 / np.pi) is a float64 array scalar and would lift float32 arrays to float64.
A = math.sqrt(2 / math.pi)
B = 0.044715


class GELUCache(NamedTuple):
    x: np.ndarray
    t: np.ndarray             # tanh(u)


class GELU(Module):
    """y = x (1 + tanh(u)) / 2 with u = A (x + B x^3)."""

    def forward(self, x, needs_dx=True):
        u = x * x                       # x ** 3 would call pow, at a hundred times the price
        u *= A * B
        u += A
        u *= x                          # u = x (A + A B x^2)
        t = np.tanh(u, out=u)
        y = t + 1
        y *= x
        y *= 0.5
        return y, GELUCache(x, t) if needs_dx else None

    def backward(self, dout, cache):
        """Forward: t = tanh(u), u = A (x + B x^3), y = x (1 + t) / 2.

        Given dout, want dx; elementwise, so each is of the shape of x.

        Derivation.
            du/dx = A (1 + 3 B x^2),        dt/du = 1 - t^2
            dy/dx = (1 + t) / 2 + x/2 (1 - t^2) du/dx
                  = (1 + t) / 2 (1 + (1 - t) x du/dx)         since 1 - t^2 = (1 + t)(1 - t)

        Check: tests/test_gradients.py, float64, relative error < 1e-7.
        """
        if cache is None:
            return None
        x, t = cache
        slope = x * x
        slope *= 3 * A * B
        slope += A                      # du/dx
        slope *= x
        slope -= slope * t              # (1 - t) x du/dx
        slope += 1
        slope *= t + 1
        slope *= 0.5                    # dy/dx
        slope *= dout
        return slope
