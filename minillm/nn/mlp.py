"""The MLP of a block: widen, gate, narrow, at each position alone."""

import numpy as np

from .gelu import GELU
from .linear import Linear
from .module import Module, backward_chain, forward_chain


class MLP(Module):
    """out = gelu(x W_1 + b_1) W_2 + b_2 with W_1 (C, 4C), W_2 (4C, C)."""

    def __init__(self, n_embd, rng, std=0.02, proj_std=0.02, dtype=np.float32):
        self.fc = Linear(n_embd, 4 * n_embd, rng, std, dtype)
        self.gelu = GELU()
        self.proj = Linear(4 * n_embd, n_embd, rng, proj_std, dtype)

    def forward(self, x, needs_dx=True):
        return forward_chain((self.fc, self.gelu, self.proj), x, needs_dx)

    def backward(self, dout, cache):
        """Three functions in a row, so three Jacobians in a row, last first: the chain rule and nothing else.

        Check: tests/test_gradients.py.
        """
        return backward_chain((self.fc, self.gelu, self.proj), dout, cache)
