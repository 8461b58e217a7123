"""(IA)^3, which inhibits and amplifies inner activations: some are scaled by learned vectors (Liu et al. 2022)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...nn import Module, Parameter, backward_chain, forward_chain
from ...nn.module import NO_BACKWARD, needs_dx_after
from ...train.blueprint import blueprint
from ..recipe import Insertion, one_of
from ..wrapper import Wrapper, innermost, linear_maps


class Scale(Module):
    """out = x * l, a factor l for each feature. l starts at 1, so at first nothing changes."""

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
    """y = (x W + b) * l for some of the columns of a linear layer: those of the keys and values."""

    label = "ia3"
    mergeable = True
    forward_cached = Module.forward_cached      # at each position alone

    def __init__(self, inner, parts, columns):
        """parts {name: Scale}, columns {name: slice}"""
        super().__init__(inner)
        self.parts, self.columns = parts, columns

    def added(self):
        for name, part in self.parts.items():
            yield f"ia3.{name}", part

    def forward(self, x, needs_dx=True):
        y, inner_cache = self.inner.forward(x, needs_dx)
        needs_dy = needs_dx_after(self.inner, needs_dx)
        caches = []
        for name, part in self.parts.items():
            scaled, cache = part.forward(y[..., self.columns[name]].copy(), needs_dy)
            y[..., self.columns[name]] = scaled
            caches.append(cache)
        return y, ScaledOutputsCache(inner_cache, caches)

    def backward(self, dout, cache):
        """A linear layer, then a scaling of some of its outputs: the chain rule for each column.

        Check: tests/test_methods.py.
        """
        dy = dout.copy()
        for (name, part), part_cache in zip(self.parts.items(), cache.parts):
            scaled = part.backward(dout[..., self.columns[name]], part_cache)
            if scaled is not None:
                dy[..., self.columns[name]] = scaled
        return self.inner.backward(dy, cache.inner)

    def merged(self):
        """The weight and bias of a plain linear layer that does the same:   (x W + b) * l = x (W diag(l)) + b * l"""
        W = self.inner.weight.data
        scale = np.ones(W.shape[1], W.dtype)
        for name, part in self.parts.items():
            scale[self.columns[name]] = part.l.data
        return W * scale, self.inner.bias_or_zero() * scale


class ScaledInputs(Wrapper):
    """y = (x * l) W + b: the input of a linear layer is scaled; here, the hidden features of an MLP."""

    label = "ia3"
    mergeable = True
    forward_cached = Module.forward_cached      # at each position alone

    def __init__(self, inner, scale):
        super().__init__(inner)
        self.scale = scale

    def added(self):
        yield "ia3", self.scale

    def forward(self, x, needs_dx=True):
        return forward_chain((self.scale, self.inner), x, needs_dx)

    def backward(self, dout, cache):
        """Two functions in a row.

        Check: tests/test_methods.py.
        """
        return backward_chain((self.scale, self.inner), dout, cache)

    def merged(self):
        """The same:   (x * l) W = x (diag(l) W)"""
        return self.inner.weight.data * self.scale.l.data[:, None], self.inner.bias_or_zero()


@dataclass(frozen=True)
class IA3(Insertion):
    """Only vectors that scale the keys, the values and the hidden features of the MLP train.

    targets     k, v, mlp
    """

    targets: tuple[str, ...] = ("k", "v", "mlp")

    method: ClassVar[str] = "ia3"
    lr: ClassVar[float] = 0.48

    def adds(self, config):
        sizes = {target: linear.maps[target] if axis else linear.weight.shape[0]
                 for target, (linear, axis) in self.layers(blueprint(config).blocks[0]).items()}
        return self.n_chosen(config) * sum(sizes.get(target, 0) for target in set(self.targets))

    def layers(self, block):
        """{target: (a linear layer, the axis of its weight that is scaled)}: 1 for its outputs, 0 for its inputs."""
        maps = linear_maps(block)
        return {"k": (maps["k"], 1), "v": (maps["v"], 1), "mlp": (maps[innermost(block.mlp).output], 0)}

    def build(self, model, rng):
        for target in self.targets or ("",):
            one_of("target", target, ("k", "v", "mlp"))
        wrappers, dtype = {}, model.wte.weight.data.dtype
        for _, block in self.chosen(model):
            for target, (linear, axis) in self.layers(block).items():
                if target not in self.targets:
                    continue
                if axis == 0:
                    wrappers[linear] = ScaledInputs(linear, Scale(linear.weight.shape[0], dtype))
                    continue
                wrapper = wrappers.setdefault(linear, ScaledOutputs(linear, {}, {}))        # k and v share one
                wrapper.columns[target] = linear.columns(target)
                wrapper.parts[target] = Scale(linear.maps[target], dtype)
        return wrappers
