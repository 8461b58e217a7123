"""A transformer block: two sublayers, each beside a way around it (pre-LN, as in GPT-2)."""

from typing import NamedTuple

import numpy as np

from .attention import CausalSelfAttention
from .layernorm import LayerNorm
from .mlp import MLP
from .module import Module, backward_chain, forward_chain, needs_dx_after


class BlockCache(NamedTuple):
    attn: list                # of ln_1 and attn
    mlp: list                 # of ln_2 and mlp
    needs_dx: bool
    needs_dx1: bool


class Block(Module):
    """x1 = x + attn(ln_1(x)),   out = x1 + mlp(ln_2(x1))."""

    def __init__(self, n_embd, n_head, rng, std=0.02, proj_std=0.02, dtype=np.float32):
        self.ln_1 = LayerNorm(n_embd, dtype)
        self.attn = CausalSelfAttention(n_embd, n_head, rng, std, proj_std, dtype)
        self.ln_2 = LayerNorm(n_embd, dtype)
        self.mlp = MLP(n_embd, rng, std, proj_std, dtype)

    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> (B, T, C)"""
        a, attn_cache = forward_chain((self.ln_1, self.attn), x, needs_dx)
        x1 = a                                                              # a is ours: add the way around in place
        x1 += x
        needs_dx1 = needs_dx_after(self.attn, needs_dx_after(self.ln_1, needs_dx))
        m, mlp_cache = forward_chain((self.ln_2, self.mlp), x1, needs_dx1)
        out = m
        out += x1
        return out, BlockCache(attn_cache, mlp_cache, needs_dx, needs_dx1)

    def backward(self, dout, cache):
        """Forward: x1 = x + f(x), out = x1 + g(x1).

        Given dout (B, T, C), want dx (B, T, C).

        Derivation. A sum hands its gradient to both of its terms, so each sublayer adds to what passes around it:
            dx1 = dout + Jg' dout,        dx = dx1 + Jf' dx1
        The identity in both lines is why gradients reach the first block of a deep model undiminished.

        Check: tests/test_gradients.py.
        """
        dx1 = backward_chain((self.ln_2, self.mlp), dout, cache.mlp)
        if not cache.needs_dx1:
            return None
        dx1 += dout
        dx = backward_chain((self.ln_1, self.attn), dx1, cache.attn)
        if not cache.needs_dx:
            return None
        dx += dx1
        return dx

    def extend(self, x, memory):
        """x (B, n, C), the next n positions -> (B, n, C)"""
        x1 = x + self.attn.extend(self.ln_1.extend(x, memory), memory)
        return x1 + self.mlp.extend(self.ln_2.extend(x1, memory), memory)
