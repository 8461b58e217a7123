"""ReLU: what is negative becomes zero (Nair & Hinton 2010)."""

import numpy as np

from .module import Module


class ReLU(Module):
    """y = max(0, x)."""

    def forward(self, x, needs_dx=True):
        """x (...) -> y (...). The cache is dy/dx: 1 where x is above 0, else 0."""
        return np.maximum(x, 0), x > 0 if needs_dx else None

    def backward(self, dout, cache):
        """Forward: y = max(0, x), at each entry alone.
        Given dout, want dx, both in the shape of x.
        Derivation. dy/dx = [x > 0]: the slope is 1 above zero and 0 below. At zero itself there is none; 0 is taken.
        Check: tests/test_gradients.py, float64, relative error < 1e-7, with no x within a step of 0.
        """
        slope = cache
        return None if slope is None else dout * slope
