"""(IA)^3: nothing is added, a few activations are scaled by learned vectors (Liu et al. 2022)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...nn import Module, Parameter, backward_chain, forward_chain
from ...nn.module import NO_BACKWARD
from ..insert import Wrapper, slot_at
from ..recipe import Insertion, one_of


class Scale(Module):
    """out = l * x for each feature; l starts at 1, which changes nothing."""

    def __init__(self, n, dtype=np.float32):
        self.l = Parameter(np.ones(n, dtype))

    def forward(self, x, needs_dx=True):
        return x * self.l.data, (x if self.l.trainable and needs_dx is not NO_BACKWARD else None, needs_dx)

    def backward(self, dout, cache):
        """Forward: out_nj = l_j x_nj.

        Given dout (N, n), want dl (n,), dx (N, n).

        Derivation.    dl_j = sum_n dout_nj x_nj,        dx_nj = dout_nj l_j

        Check: tests/test_methods.py, float64, relative error < 1e-7; tests/test_peft.py.
        """
        x, needs_dx = cache
        if self.l.trainable:
            self.l.grad += np.einsum("nj,nj->j", *(array.reshape(-1, array.shape[-1]) for array in (dout, x)))
        return dout * self.l.data if needs_dx else None


class ScaledOutputsCache(NamedTuple):
    inner: object
    parts: list


class ScaledOutputs(Wrapper):
    """y = (x W + b) * l for some of the columns of a linear layer: keys and values."""

    label = "ia3"

    def __init__(self, inner, parts, columns):
        """parts {name: Scale}, columns {name: slice}"""
        super().__init__(inner)
        self.parts, self.columns = parts, columns

    def own(self):
        for name, part in self.parts.items():
            yield f"ia3.{name}", part

    def forward(self, x, needs_dx=True):
        y, inner_cache = self.inner.forward(x, needs_dx)
        needs_dy = needs_dx if needs_dx is NO_BACKWARD else needs_dx or self.inner.trainable
        caches = []
        for name, part in self.parts.items():
            scaled, cache = part.forward(y[..., self.columns[name]].copy(), needs_dy)
            y[..., self.columns[name]] = scaled
            caches.append(cache)
        return y, ScaledOutputsCache(inner_cache, caches)

    def backward(self, dout, cache):
        """A linear layer, then a scaling of some of its outputs: the chain rule, column by column.

        Check: tests/test_methods.py.
        """
        dy = dout.copy()
        for (name, part), part_cache in zip(self.parts.items(), cache.parts):
            scaled = part.backward(dout[..., self.columns[name]], part_cache)
            if scaled is not None:
                dy[..., self.columns[name]] = scaled
        return self.inner.backward(dy, cache.inner)

    def merged(self):
        """(x W + b) l = x (W diag(l)) + b l"""
        W, b = self.inner.weight.data.copy(), self.inner.bias.data.copy()
        for name, part in self.parts.items():
            W[:, self.columns[name]] *= part.l.data
            b[self.columns[name]] *= part.l.data
        return W, b


class ScaledInputs(Wrapper):
    """y = (x * l) W + b: what enters a linear layer is scaled, the hidden features of an MLP."""

    label = "ia3"

    def __init__(self, inner, scale):
        super().__init__(inner)
        self.scale = scale

    def own(self):
        yield "ia3", self.scale

    def forward(self, x, needs_dx=True):
        return forward_chain((self.scale, self.inner), x, needs_dx)

    def backward(self, dout, cache):
        """Two functions in a row.

        Check: tests/test_methods.py.
        """
        return backward_chain((self.scale, self.inner), dout, cache)

    def merged(self):
        """(x l) W = x (diag(l) W)"""
        return self.inner.weight.data * self.scale.l.data[:, None], self.inner.bias.data


@dataclass(frozen=True)
class IA3(Insertion):
    """Vectors that scale keys, values and the hidden features of the MLP train, and nothing else.

    targets     k, v, mlp
    """

    targets: tuple[str, ...] = ("k", "v", "mlp")

    method: ClassVar[str] = "ia3"
    lr: ClassVar[float] = 0.48

    def adds(self, config):
        widths = {"k": config.n_embd, "v": config.n_embd, "mlp": 4 * config.n_embd}
        return self.count_chosen(config) * sum(widths.get(target, 0) for target in set(self.targets))

    def build(self, model, rng):
        for target in self.targets or ("",):
            one_of("target", target, ("k", "v", "mlp"))
        C, dtype = model.config.n_embd, model.wte.weight.data.dtype
        found = {}
        for i, _ in self.chosen(model):
            qkv, proj = (slot_at(model, f"blocks.{i}.{path}").module for path in ("attn.qkv", "mlp.proj"))
            columns = {name: slice(third * C, (third + 1) * C) for name, third in (("k", 1), ("v", 2)) if name in self.targets}
            if columns:
                found[f"blocks.{i}.attn.qkv"] = ScaledOutputs(qkv, {name: Scale(C, dtype) for name in columns}, columns)
            if "mlp" in self.targets:
                found[f"blocks.{i}.mlp.proj"] = ScaledInputs(proj, Scale(proj.weight.shape[0], dtype))
        return found
