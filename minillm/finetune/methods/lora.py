"""LoRA: a matrix stays frozen, and a change of low rank is learned beside it (Hu et al. 2022)."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...nn import Module, Parameter
from ...nn.module import NO_BACKWARD
from ...train.blueprint import blueprint
from ..recipe import Insertion, at_least_one, one_of
from ..wrapper import Wrapper, linear_maps


class LowRankCache(NamedTuple):
    x: np.ndarray | None      # (N, in); kept only while A trains
    z: np.ndarray             # (N, r)
    needs_dx: bool


class LowRank(Module):
    """out = s (x A) B,   A (in, r), B (r, out): a linear map of rank r at most, with r (in + out) numbers instead of in out.

    A starts uniform in +-1/sqrt(in) and B at zero, so the map starts as zero. (Were A zero too, z and so dB would be 0: nothing
    would ever train.) The paper writes B A, since there matrices stand to the left of vectors.
    """

    def __init__(self, n_in, n_out, rank, scale, rng, dtype=np.float32):
        self.scale = float(scale)
        bound = 1 / math.sqrt(n_in)
        self.A = Parameter(rng.uniform(-bound, bound, (n_in, rank)).astype(dtype), matrices=(rank,))
        self.B = Parameter(np.zeros((rank, n_out), dtype), matrices=(n_out,))

    def forward(self, x, needs_dx=True):
        """x (N, in) -> (N, out)"""
        z = x @ self.A.data                                                 # (N, r)
        out = z @ self.B.data
        out *= self.scale
        return out, LowRankCache(x if self.A.trainable and needs_dx is not NO_BACKWARD else None, z, needs_dx)

    def backward(self, dout, cache):
        """Forward: z = x A, out = s z B.

        Given dout (N, out), want dA (in, r), dB (r, out), dx (N, in).

        Derivation. Two linear layers in a row, the second scaled by s; with G = s dout:
            dB = z' G,        dz = G B',        dA = x' dz,        dx = dz A'
        At the start B = 0, so dz = 0: in the first step only B gets a gradient. (Weight decay shrinks A all the same.)

        Check: tests/test_methods.py, float64, relative error < 1e-7; tests/test_peft.py.
        """
        if self.B.trainable:
            self.B.add_product(self.scale * cache.z.T, dout)
        dz = dout @ (self.scale * self.B.data.T)                            # (N, r)
        if self.A.trainable:
            self.A.add_product(cache.x.T, dz)
        return dz @ self.A.data.T if cache.needs_dx else None

    def product(self):
        """The change of W: s A B (in, out)."""
        return self.scale * (self.A.data @ self.B.data)


class LoRACache(NamedTuple):
    inner: object
    parts: list


class LoRALinear(Wrapper):
    """y = x W + b + [s_q (x A_q) B_q | ...]: beside a linear layer, a low-rank map for all or some of its columns.

    parts     {name: LowRank}; the name is "" if the layer is a single map
    columns   {name: slice}, the columns of W that each part changes
    """

    label = "lora"
    mergeable = True
    forward_cached = Module.forward_cached      # at each position alone

    def __init__(self, inner, parts, columns):
        super().__init__(inner)
        self.parts, self.columns = parts, columns

    def added(self):
        for name, part in self.parts.items():
            yield f"{self.label}.{name}".rstrip("."), part

    def forward(self, x, needs_dx=True):
        y, inner_cache = self.inner.forward(x, needs_dx)
        rows, caches = x.reshape(-1, x.shape[-1]), []
        for name, part in self.parts.items():
            change, cache = part.forward(rows, needs_dx)
            y_part = y[..., self.columns[name]]                                # a view of y, so += writes into y
            y_part += change.reshape(y_part.shape)
            caches.append(cache)
        return y, LoRACache(inner_cache, caches)

    def backward(self, dout, cache):
        """Forward: y = f(x) + sum of the parts, each in its own columns.

        Derivation. A sum passes dout on to every term, to a part the columns that it wrote; and all read x, so dx is a sum:
            dx = dout W' + sum_parts dx_part

        Check: tests/test_methods.py, tests/test_peft.py.
        """
        dx = self.inner.backward(dout, cache.inner)
        return self.parts_backward(dx, dout.reshape(-1, dout.shape[-1]), cache.parts)

    def parts_backward(self, dx, dout, caches):
        """Add to dx, unless it is None, what each part returns for its columns of dout (N, out); return dx."""
        for (name, part), cache in zip(self.parts.items(), caches):
            dx_part = part.backward(dout[:, self.columns[name]], cache)
            if dx is not None:
                dx += dx_part.reshape(dx.shape)
        return dx

    def not_interpolated(self):
        """A: scaling B, which started at zero, scales the change s A B."""
        return [part.A for part in self.parts.values()]

    def merged(self):
        """The weight and bias of a plain linear layer that does the same: W + s A B, b."""
        W = self.inner.weight.data.copy()
        for name, part in self.parts.items():
            W[:, self.columns[name]] += part.product()
        return W, self.inner.bias_or_zero()


@dataclass(frozen=True)
class LoRA(Insertion):
    """Beside chosen linear maps, the product of two thin matrices trains: W + (alpha / r) A B.

    rank        r
    alpha       the change is scaled by alpha / r, so that a good learning rate depends little on r
    targets     names of linear maps, or all: q, k, v, o (attention's last, attn.proj); of GPT-2's MLP fc and proj, of SwiGLU
                gate, up and down
    rs          scale by alpha / sqrt(r) instead: for high ranks (rsLoRA, Kalajdzievski 2023)
    """

    rank: int = 4
    alpha: float = 8.0
    targets: tuple[str, ...] = ("all",)
    rs: bool = False

    method: ClassVar[str] = "lora"
    lr: ClassVar[float] = 5e-3
    linear: ClassVar[type] = LoRALinear

    def adds(self, config):
        r = min(self.rank, config.n_embd)
        return self.n_chosen(config) * sum(r * (n_in + n_out) for n_in, n_out in self.shapes(config))

    def shapes(self, config):
        """(in, out) of the matrix of each target; targets that do not exist are left out."""
        maps = linear_maps(blueprint(config).blocks[0])
        return [(maps[name].weight.shape[0], maps[name].maps[name]) for name in self.chosen_targets(maps) if name in maps]

    def chosen_targets(self, maps):
        """The names of the maps to change."""
        return list(maps) if self.targets == ("all",) else list(dict.fromkeys(self.targets))

    def build(self, model, rng):
        at_least_one("rank", self.rank)
        if self.alpha == 0:
            raise ValueError("alpha is 0, so nothing could ever change")
        scale = self.alpha / (math.sqrt(self.rank) if self.rs else self.rank)
        wrappers = {}
        for _, block in self.chosen(model):
            maps = linear_maps(block)
            targets = self.chosen_targets(maps)
            for target in targets or [""]:                              # no target at all is refused as well
                one_of("target", target, maps)
            for linear in dict.fromkeys(maps[target] for target in targets):
                wrappers[linear] = self.wrap(linear, [name for name in targets if name in linear.maps], scale, rng)
        return wrappers

    def wrap(self, inner, targets, scale, rng):
        """The wrapper of a linear layer, with a low-rank map for each of its targets. ValueError if the rank is too large."""
        n_in, parts, columns = inner.weight.shape[0], {}, {}
        for target in targets:
            width = inner.maps[target]
            if self.rank > min(n_in, width):
                raise ValueError(f"the rank {self.rank} is larger than the matrix {target} ({n_in} x {width}) can have; "
                                 f"choose at most {min(n_in, width)}")
            name = target if len(inner.maps) > 1 else ""
            columns[name] = inner.columns(target)
            parts[name] = LowRank(n_in, width, self.rank, scale, rng, inner.weight.data.dtype)
        return self.linear(inner, parts, columns)
