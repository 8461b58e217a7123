"""The MLP of a block: expand, apply a nonlinearity, project back, at each position alone."""

import numpy as np

from .gelu import GELU
from .linear import Linear
from .module import Module, backward_chain, forward_chain


class MLP(Module):
    """out = act(x W_1 + b_1) W_2 + b_2 with W_1 (C, 4C), W_2 (4C, C), and act the activation: GELU unless chosen otherwise."""

    kind = "MLP"
    output = "proj"      # its last linear map, whose inputs (IA)^3 scales

    def __init__(self, n_embd, rng, std=0.02, proj_std=0.02, dtype=np.float32, activation=GELU):
        self.fc = Linear(n_embd, 4 * n_embd, rng, std, dtype, maps=("fc",))
        self.act = activation()
        self.proj = Linear(4 * n_embd, n_embd, rng, proj_std, dtype, maps=("proj",))

    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> (B, T, C)"""
        return forward_chain((self.fc, self.act, self.proj), x, needs_dx)

    def backward(self, dout, cache):
        """Three functions in a row, so three Jacobians in a row, last first: the chain rule and nothing else.
        Check: tests/test_gradients.py.
        """
        return backward_chain((self.fc, self.act, self.proj), dout, cache)
