"""SwiGLU: an MLP in which one half of the hidden features opens and closes the other (Shazeer 2020)."""

import numpy as np

from ..ground.pieces import row_pieces
from .linear import Linear
from .module import Module, backward_chain, forward_chain


class SiLUGate(Module):
    """h = silu(a) b for a and b side by side, with silu(a) = a sigmoid(a).

    The plain form, with a, b = np.split(ab, 2, axis=-1):
        s = 1 / (1 + np.exp(-a))
        h = a * s * b
    """

    def forward(self, ab, needs_dx=True):
        """ab (..., 2F) -> h (..., F), a few rows at a time (ground/pieces.py).

        The cache is dh/da and dh/db side by side, (N, 2F), made here while all that they need is at hand.
        """
        rows = ab.reshape(-1, ab.shape[-1])                                 # (N, 2F)
        F = rows.shape[1] // 2
        h = np.empty((len(rows), F), ab.dtype)
        slopes = np.empty(rows.shape, ab.dtype) if needs_dx else None
        for n in row_pieces(*rows.shape):
            a, b = rows[n, :F], rows[n, F:]
            s = np.tanh(0.5 * a)            # sigmoid(a) = (1 + tanh(a / 2)) / 2, which cannot overflow
            s *= 0.5
            s += 0.5
            y = np.multiply(a, s, out=slopes[n, F:] if needs_dx else None)  # dh/db
            np.multiply(y, b, out=h[n])
            if needs_dx:
                slope = np.subtract(1, s, out=slopes[n, :F])
                slope *= y
                slope += s                                                  # dy/da = s + y (1 - s)
                slope *= b                                                  # dh/da
        return h.reshape(*ab.shape[:-1], F), slopes

    def backward(self, dout, cache):
        """Forward: s = sigmoid(a) = 1 / (1 + exp(-a)), y = a s, h = y b; at each entry alone.
        Given dout (N, F), want da and db (N, F), side by side.
        Derivation.
            ds/da = exp(-a) / (1 + exp(-a))^2 = s (1 - s)
            dy/da = s + a s (1 - s) = s + y (1 - s)
            dh/da = b dy/da,                dh/db = y
        so  da = dout b (s + y (1 - s)),    db = dout y.
        Check: tests/test_gradients.py, float64, relative error < 1e-7; tests/test_torch.py.
        """
        slopes = cache
        if slopes is None:
            return None
        N, F = len(slopes), dout.shape[-1]
        dab = slopes.reshape(N, 2, F) * dout.reshape(N, 1, F)
        return dab.reshape(*dout.shape[:-1], 2 * F)


class SwiGLU(Module):
    """out = (silu(x W_gate) * (x W_up)) W_down with W_gate, W_up (C, F) and W_down (F, C); each with a bias, if there are any.

    n_hidden    F, unless chosen otherwise 8C/3, rounded up to a multiple of 8: three matrices with as many numbers as the two of
                an MLP four times as wide as the model
    activation  is ignored: every kind of MLP is made with the same arguments, and this one has its own
    """

    kind = "MLP"
    output = "down"
    activation = "silu"      # always

    def __init__(self, n_embd, rng, std=0.02, proj_std=0.02, dtype=np.float32, activation=None, n_hidden=None, bias=True):
        n_hidden = n_hidden or self.usual_hidden(n_embd)
        self.gate_up = Linear(n_embd, {"gate": n_hidden, "up": n_hidden}, rng, std, dtype, bias)
        self.act = SiLUGate()
        self.down = Linear(n_hidden, {"down": n_embd}, rng, proj_std, dtype, bias)

    @staticmethod
    def usual_hidden(n_embd):
        return 8 * -(-n_embd // 3)

    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> (B, T, C)"""
        return forward_chain((self.gate_up, self.act, self.down), x, needs_dx)

    def backward(self, dout, cache):
        """Three functions in a row: the chain rule.
        Check: tests/test_gradients.py.
        """
        return backward_chain((self.gate_up, self.act, self.down), dout, cache)
