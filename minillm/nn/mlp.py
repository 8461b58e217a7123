"""The MLP of a block: expand, apply a nonlinearity, project back, at each position alone."""

import numpy as np

from .gelu import GELU
from .linear import Linear
from .module import Module, backward_chain, forward_chain


class MLP(Module):
    """out = act(x W_1 + b_1) W_2 + b_2 with W_1 (C, F), W_2 (F, C), and act the activation: GELU unless chosen otherwise.

    n_hidden    F, 4C unless chosen otherwise
    """

    kind = "MLP"
    output = "proj"      # its last linear map, whose inputs (IA)^3 scales
    activation = None    # whichever is chosen

    def __init__(self, n_embd, rng, std=0.02, proj_std=0.02, dtype=np.float32, activation=GELU, n_hidden=None, bias=True):
        n_hidden = n_hidden or self.usual_hidden(n_embd)
        self.fc = Linear(n_embd, {"fc": n_hidden}, rng, std, dtype, bias)
        self.act = activation()
        self.proj = Linear(n_hidden, {"proj": n_embd}, rng, proj_std, dtype, bias)

    @staticmethod
    def usual_hidden(n_embd):
        return 4 * n_embd

    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> (B, T, C)"""
        return forward_chain((self.fc, self.act, self.proj), x, needs_dx)

    def backward(self, dout, cache):
        """Three functions in a row, so three Jacobians in a row, last first: the chain rule and nothing else.
        Check: tests/test_gradients.py.
        """
        return backward_chain((self.fc, self.act, self.proj), dout, cache)
