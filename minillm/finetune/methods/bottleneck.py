"""The bottleneck adapter: a small new layer after a sublayer, or beside it, that adds nothing at first."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...nn import GELU, Linear, Module, backward_chain, forward_chain
from ...nn.block import SUBLAYERS
from ...nn.module import needs_dx_after
from ..recipe import LARGEST, Insertion, at_least_one, one_of
from ..wrapper import Wrapper


class Bottleneck(Module):
    """out = s (gelu(h W_1 + b_1) W_2 + b_2),   W_1 (C, m) narrows, W_2 (m, C) widens, m << C.

    W_2 and b_2 start at zero, so at first it adds exactly zero, whatever W_1 is. So W_1 may start larger than the weights of the
    base, with a std of 1 / sqrt(C): then z = h W_1 is about as large as h, and the gradient of W_2 is not tiny.
    """

    def __init__(self, n_embd, bottleneck, scale, rng, dtype=np.float32):
        self.scale = float(scale)
        self.down = Linear(n_embd, bottleneck, rng, 1 / math.sqrt(n_embd), dtype)
        self.act = GELU()
        self.up = Linear(bottleneck, n_embd, rng, 0.0, dtype)

    def forward(self, h, needs_dx=True):
        """h (B, T, C) -> (B, T, C)"""
        out, caches = forward_chain((self.down, self.act, self.up), h, needs_dx)
        if self.scale != 1:
            out *= self.scale
        return out, caches

    def backward(self, dout, cache):
        """Forward: z = h W_1 + b_1, a = gelu(z), out = s (a W_2 + b_2).

        Given dout (N, C), want dW_2, db_2, dW_1, db_1 and dh (N, C).

        Derivation. With G = s dout, it is the chain rule for two linear layers and a GELU:
            dW_2 = a' G,           db_2 = sum_n G_n,       da = G W_2'
            dz = da * dgelu/dz
            dW_1 = h' dz,          db_1 = sum_n dz_n,      dh = dz W_1'
        At the start W_2 = 0, so da = 0: in the first step W_2 and b_2 get a gradient; that of W_1 and b_1 is zero.

        Check: tests/test_methods.py, float64, relative error < 1e-7.
        """
        if self.scale != 1:
            dout = self.scale * dout
        return backward_chain((self.down, self.act, self.up), dout, cache)


class AdaptedCache(NamedTuple):
    inner: object
    adapter: list
    needs_dx: bool


class AdapterWrapper(Wrapper):
    """A sublayer and a bottleneck. The two forms below differ in what the bottleneck reads."""

    label = "adapter"

    def __init__(self, inner, adapter):
        super().__init__(inner)
        self.adapter = adapter

    def added(self):
        yield "adapter", self.adapter

    def not_interpolated(self):
        """The down-projection: scaling W_2 and b_2, which started at zero, scales all that the adapter adds."""
        return self.adapter.down.parameters().values()


class SequentialAdapter(AdapterWrapper):
    """out = h + adapter(h),  h = f(x): sequential (Houlsby et al. 2019, figure 2)."""

    def forward(self, x, needs_dx=True):
        h, inner_cache = self.inner.forward(x, needs_dx)
        needs_dh = needs_dx_after(self.inner, needs_dx)
        out, adapter_cache = self.adapter.forward(h, needs_dh)
        out += h
        return out, AdaptedCache(inner_cache, adapter_cache, needs_dh)

    def backward(self, dout, cache):
        """Forward: out = h + g(h), h = f(x).

        Derivation. A sum passes its gradient on to both terms; then the chain rule:   dh = dout + J_g' dout,   dx = J_f' dh

        Check: tests/test_methods.py.
        """
        dh = self.adapter.backward(dout, cache.adapter)
        if not cache.needs_dx:
            return None
        dh += dout
        return self.inner.backward(dh, cache.inner)

    def forward_cached(self, x, kv_cache):
        h = self.inner.forward_cached(x, kv_cache)
        return h + self.adapter.forward_cached(h, kv_cache)


class ParallelAdapter(AdapterWrapper):
    """out = f(x) + adapter(x): parallel (He et al. 2022, table 1 "parallel adapter")."""

    def forward(self, x, needs_dx=True):
        out, inner_cache = self.inner.forward(x, needs_dx)
        beside, adapter_cache = self.adapter.forward(x, needs_dx)
        out += beside
        return out, AdaptedCache(inner_cache, adapter_cache, needs_dx)

    def backward(self, dout, cache):
        """Forward: out = f(x) + g(x).

        Derivation. Both read x, so dx is the sum over both:   dx = J_f' dout + J_g' dout

        Check: tests/test_methods.py.
        """
        dx, dx_beside = self.inner.backward(dout, cache.inner), self.adapter.backward(dout, cache.adapter)
        if not cache.needs_dx:
            return None
        dx += dx_beside
        return dx

    def forward_cached(self, x, kv_cache):
        return self.inner.forward_cached(x, kv_cache) + self.adapter.forward_cached(x, kv_cache)


FORMS = {"sequential": SequentialAdapter, "parallel": ParallelAdapter}
SCALES = {"sequential": 1.0, "parallel": 4.0}      # He et al. 2022 found 4 best in parallel


@dataclass(frozen=True)
class BottleneckAdapter(Insertion):
    """Small layers are inserted at the sublayers and train; of the body, only the norms do.

    bottleneck    m, the width of the adapters
    places        the sublayers that get one: attn and mlp (Houlsby et al. 2019), or mlp alone (Pfeiffer et al. 2021)
    form          sequential: after the sublayer, before its output joins the stream; or parallel: beside it (He et al. 2022)
    scale         s, a factor on what an adapter adds; 0.0, written "usual", stands for 1 if sequential and 4 if parallel
    norms         train the gains and biases of all LayerNorms too, as Houlsby does; also in blocks without an adapter, so that
                  the backward pass goes down to the first block, whatever `blocks` is
    """

    bottleneck: int = 20
    places: tuple[str, ...] = SUBLAYERS
    form: str = "sequential"
    scale: float = 0.0
    norms: bool = True

    method: ClassVar[str] = "adapter"
    nonzero: ClassVar[tuple] = ("scale",)      # nobody may type 0 for it: see USUAL in spec.py
    lr: ClassVar[float] = 0.04

    def adds(self, config):
        m, C = min(self.bottleneck, LARGEST), config.n_embd
        return self.n_chosen(config) * len(set(self.places) & set(SUBLAYERS)) * (2 * C * m + m + C)

    def build(self, model, rng):
        at_least_one("bottleneck", self.bottleneck)
        one_of("form of an adapter", self.form, FORMS)
        for place in self.places or ("",):
            one_of("sublayer", place, SUBLAYERS)
        if len(set(self.places)) < len(self.places):
            raise ValueError(f"each sublayer can be named once, not {' '.join(self.places)}")
        C, dtype = model.config.n_embd, model.wte.weight.data.dtype
        scale = self.scale or SCALES[self.form]
        sublayers = [getattr(block, place) for _, block in self.chosen(model) for place in self.places]
        return {sublayer: FORMS[self.form](sublayer, Bottleneck(C, self.bottleneck, scale, rng, dtype)) for sublayer in sublayers}

    def also_trains(self, model):
        return [module for _, module in model.modules() if module.kind == "norm"] if self.norms else []
