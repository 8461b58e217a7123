"""The bottleneck adapter: a small new layer, inserted after a sublayer, that starts as the identity (Houlsby et al. 2019)."""

import math
from typing import NamedTuple

import numpy as np

from ..nn import GELU, Linear, Module, backward_chain, forward_chain


class AdapterCache(NamedTuple):
    layers: list
    needs_dx: bool


class Adapter(Module):
    """out = h + gelu(h D + b1) U + b2,   D (C, m), U (m, C), m << C.

    U and b2 start at zero, so the adapted model starts as *exactly* the base model, bit for bit. That leaves D free to start
    larger than the weights of the base, with a std of 1 / sqrt(C): z then has the size of h, and U has something to work with.
    """

    def __init__(self, n_embd, bottleneck, rng, dtype=np.float32):
        self.down = Linear(n_embd, bottleneck, rng, 1 / math.sqrt(n_embd), dtype)
        self.gelu = GELU()
        self.up = Linear(bottleneck, n_embd, rng, 0.0, dtype)

    def forward(self, h, needs_dx=True):
        """h (B, T, C) -> (B, T, C)"""
        out, caches = forward_chain((self.down, self.gelu, self.up), h, needs_dx)
        out += h
        return out, AdapterCache(caches, needs_dx)

    def backward(self, dout, cache):
        """Forward: z = h D + b1, a = gelu(z), out = h + a U + b2.

        Given dout (N, C), want dU, db2, dD, db1 and dh (N, C).

        Derivation. The branch is a chain, and what goes around it passes unchanged:
            dU = a' dout,    da = dout U',    dz = da * gelu'(z),    dD = h' dz,    dh = dout + dz D'
        At the start U = 0, so da = 0 and D gets no gradient: only U moves in the first step, and D follows.

        Check: tests/test_adapters.py, float64, relative error < 1e-7.
        """
        dh = backward_chain((self.down, self.gelu, self.up), dout, cache.layers)
        if not cache.needs_dx:
            return None
        dh += dout
        return dh


class Adapted(Module):
    """A sublayer with an adapter behind it, in the place of the sublayer; the transformer does not notice.

    The sublayer's parameters keep their names (`blocks.0.attn.qkv.weight`); the new ones are `blocks.0.attn.adapter.down.weight`
    and so on.
    """

    def __init__(self, inner, adapter):
        self.inner, self.adapter = inner, adapter

    def children(self):
        yield from self.inner.children()
        yield "adapter", self.adapter

    def forward(self, x, needs_dx=True):
        return forward_chain((self.inner, self.adapter), x, needs_dx)

    def backward(self, dout, cache):
        """Two functions in a row: the chain rule."""
        return backward_chain((self.inner, self.adapter), dout, cache)

    def extend(self, x, memory):
        return self.adapter.extend(self.inner.extend(x, memory), memory)
