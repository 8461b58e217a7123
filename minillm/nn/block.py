"""A transformer block: two sublayers, each added to what it reads (pre-norm, as in GPT-2)."""

from typing import NamedTuple

import numpy as np

from .attention import CausalSelfAttention
from .gelu import GELU
from .layernorm import LayerNorm
from .mlp import MLP
from .module import Module, backward_chain, forward_chain, needs_dx_after
from .relu import ReLU
from .rmsnorm import RMSNorm

# What a block can be built of. Made as norm(n_embd, dtype), activation(), mlp(n_embd, rng, std, proj_std, dtype, activation).
# An MLP has defaults for all after rng, kind = "MLP", and `output`, the name of its last linear map, for (IA)^3. Each Linear
# in it has `maps`, names that no other in the block has. Weights are drawn with rng.normal or rng.uniform (train/blueprint.py).
NORMS = {"layernorm": LayerNorm, "rmsnorm": RMSNorm}
MLPS = {"mlp": MLP}
ACTIVATIONS = {"gelu": GELU, "relu": ReLU}
SUBLAYERS = ("attn", "mlp")


class BlockCache(NamedTuple):
    attn: list                # of ln_1 and attn
    mlp: list                 # of ln_2 and mlp
    needs_dx: bool
    needs_dx1: bool


class Block(Module):
    """x1 = x + attn(ln_1(x)),   out = x1 + mlp(ln_2(x1))."""

    def __init__(self, n_embd, n_head, rng, std=0.02, proj_std=0.02, dtype=np.float32, norm="layernorm", mlp="mlp",
                 activation="gelu"):
        self.ln_1 = NORMS[norm](n_embd, dtype)
        self.attn = CausalSelfAttention(n_embd, n_head, rng, std, proj_std, dtype)
        self.ln_2 = NORMS[norm](n_embd, dtype)
        self.mlp = MLPS[mlp](n_embd, rng, std, proj_std, dtype, ACTIVATIONS[activation])

    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> (B, T, C)"""
        x1, attn_cache = forward_chain((self.ln_1, self.attn), x, needs_dx)
        x1 += x                                                             # in place, for the output of a layer is fresh
        needs_dx1 = needs_dx_after(self.attn, needs_dx_after(self.ln_1, needs_dx))
        out, mlp_cache = forward_chain((self.ln_2, self.mlp), x1, needs_dx1)
        out += x1
        return out, BlockCache(attn_cache, mlp_cache, needs_dx, needs_dx1)

    def backward(self, dout, cache):
        """Forward: x1 = x + f(x), out = x1 + g(x1), with f(x) = attn(ln_1(x)), g(x1) = mlp(ln_2(x1)).
        Given dout (B, T, C), want dx (B, T, C).
        Derivation. A sum hands its gradient to both of its terms:
            dx1 = dout + J_g' dout,        dx = dx1 + J_f' dx1
        The first term of each is why gradients reach the first block of a deep model undiminished.
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

    def forward_cached(self, x, kv_cache):
        """x (B, n, C), the next n positions -> (B, n, C)"""
        x1 = x + self.attn.forward_cached(self.ln_1.forward_cached(x, kv_cache), kv_cache)
        return x1 + self.mlp.forward_cached(self.ln_2.forward_cached(x1, kv_cache), kv_cache)
