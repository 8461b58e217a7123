"""A transformer block: two sublayers, each added to what it reads (pre-norm, as in GPT-2)."""

from typing import NamedTuple

import numpy as np

from .attention import CausalSelfAttention
from .gelu import GELU
from .layernorm import EPS, LayerNorm
from .mlp import MLP
from .module import Module, backward_chain, forward_chain, needs_dx_after
from .relu import ReLU
from .rmsnorm import RMSNorm
from .swiglu import SwiGLU

# What a block can be built of. Made as norm(n_embd, dtype, eps), activation(), and
# mlp(n_embd, rng, std, proj_std, dtype, activation, n_hidden, bias), with defaults for all after rng. An MLP has kind = "MLP",
# `output`, the name of its last linear map, for (IA)^3, `activation`, the name of the one that it always has, or None, and
# `usual_hidden`. Each Linear in it has named maps that no other in the block has. Weights are drawn with rng.normal or
# rng.uniform (train/blueprint.py).
NORMS = {"layernorm": LayerNorm, "rmsnorm": RMSNorm}
MLPS = {"mlp": MLP, "swiglu": SwiGLU}
ACTIVATIONS = {"gelu": GELU, "relu": ReLU}
BIASES = {"all": ("attn", "mlp"), "attention": ("attn",), "mlp": ("mlp",), "none": ()}      # which sublayers have biases
SUBLAYERS = ("attn", "mlp")


class BlockCache(NamedTuple):
    attn: list                # of ln_1 and attn
    mlp: list                 # of ln_2 and mlp
    needs_dx: bool
    needs_dx1: bool


class Block(Module):
    """x1 = x + attn(ln_1(x)),   out = x1 + mlp(ln_2(x1)). What it can be built of is said in `Config`."""

    def __init__(self, n_embd, n_head, rng, std=0.02, proj_std=0.02, dtype=np.float32, norm="layernorm", mlp="mlp",
                 activation="gelu", biases="all", n_kv_head=None, n_hidden=None, eps=EPS, rope_base=None):
        with_bias = BIASES[biases]
        self.ln_1 = NORMS[norm](n_embd, dtype, eps)
        self.attn = CausalSelfAttention(n_embd, n_head, rng, std, proj_std, dtype, n_kv_head, "attn" in with_bias, rope_base)
        self.ln_2 = NORMS[norm](n_embd, dtype, eps)
        self.mlp = MLPS[mlp](n_embd, rng, std, proj_std, dtype, ACTIVATIONS[activation], n_hidden, "mlp" in with_bias)

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
