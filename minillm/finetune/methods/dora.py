"""DoRA (weight-decomposed LoRA): magnitude and direction of each column are learned separately (Liu et al. 2024)."""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...ground.pieces import column_sum
from ...nn import Parameter
from ...nn.module import NO_BACKWARD
from ..wrapper import inserted
from .lora import LoRA, LoRALinear


class DoRACache(NamedTuple):
    inner: object
    parts: list               # for each part: cache of the low-rank map, u (N, out) or None, c (out,), norm (out,)


def column_norms(W):
    """|W_j| of each column: (in, out) -> (out,)"""
    return np.sqrt(np.einsum("ij,ij->j", W, W))


class DoRALinear(LoRALinear):
    """y = x M + b,   M_j = m_j V_j / |V_j|,   V = W + s A B; one column j for each output.

    A low-rank map, as in LoRA, changes the direction of a column; its magnitude m_j is a parameter, which starts as |W_j|. So M
    starts as W.
    """

    label = "dora"

    def __init__(self, inner, parts, columns):
        super().__init__(inner, parts, columns)
        self.held_norms = None
        for name, part in parts.items():
            part.m = Parameter(self.norms(name))

    def norms(self, name):
        """|V_j| of a part (out,). Backward takes it as a constant, so a gradient check holds it fixed (`norms_held`)."""
        if self.held_norms:
            return self.held_norms[name]
        return column_norms(self.inner.weight.data[:, self.columns[name]] + self.parts[name].product())

    def forward(self, x, needs_dx=True):
        """With u = x V and c = m / |V|:  y = c u + b = (x W + b) + (c - 1) x W + c s (x A) B, at first exactly x W + b."""
        y, inner_cache = self.inner.forward(x, needs_dx)
        rows, caches = x.reshape(-1, x.shape[-1]), []
        for name, part in self.parts.items():
            y_part, norm = y[..., self.columns[name]], self.norms(name)
            c = part.m.data / norm
            change, cache = part.forward(rows, needs_dx)
            xW = y_part.reshape(change.shape) - self.inner.bias_or_zero(self.columns[name])
            u = xW + change
            change *= c
            xW *= c - 1
            y_part += xW.reshape(y_part.shape)
            y_part += change.reshape(y_part.shape)
            caches.append((cache, u if part.m.trainable and needs_dx is not NO_BACKWARD else None, c, norm))
        return y, DoRACache(inner_cache, caches)

    def backward(self, dout, cache):
        """Forward: u = x W + s (x A) B, y_nj = m_j u_nj / |V_j| + b_j.

        Given dout (N, out), want dm (out,), dA, dB, dx.

        Derivation. The norm |V_j| is held constant, as in the paper (section 4.3): a gradient through it would need a second copy
        of V and gains nothing. With |V_j| constant, y is linear in m and in u:
            dm_j  = sum_n dout_nj u_nj / |V_j|
            du_nj = dout_nj c_j,   c_j = m_j / |V_j|
        and u is the output of LoRA without b, so dA, dB and dx follow from du as there. b is added after the scaling, so if it
        trains, db = sum_n dout_n. The inner layer, given du, adds sum_n du_n to db; the rest is added here.

        Check: tests/test_methods.py with the norm held, float64, relative error < 1e-7; tests/test_peft.py.
        """
        G = dout.reshape(-1, dout.shape[-1])
        du = G.copy()
        for (name, part), (_, u, c, norm) in zip(self.parts.items(), cache.parts):
            columns = self.columns[name]
            if part.m.trainable:
                part.m.grad += np.einsum("nj,nj->j", G[:, columns], u) / norm
            du[:, columns] *= c
        dx = self.inner.backward(du.reshape(dout.shape), cache.inner)
        if self.inner.bias is not None and self.inner.bias.trainable:
            self.inner.bias.grad += column_sum(G - du)
        return self.parts_backward(dx, du, [part_cache for part_cache, *_ in cache.parts])

    def merged(self):
        """M and b."""
        W = self.inner.weight.data.copy()
        for name, part in self.parts.items():
            V = W[:, self.columns[name]] + part.product()
            W[:, self.columns[name]] = V * (part.m.data / column_norms(V))
        return W, self.inner.bias_or_zero()

    def interpolate_added(self, start, keep):
        """Want B and m such that M(B, m) = W + k (M - W), column by column; W is the body's, and A stays. k is `keep`.

        Derivation. With c_j = m_j / |V_j|, so that M_j = c_j (W_j + s A B_j):
            W_j + k (M_j - W_j) = (1 - k + k c_j) W_j + k c_j s A B_j
                                = a_j (W_j + s A (b_j B_j)),        a_j = 1 - k + k c_j,    b_j = k c_j / a_j
        so  B_j <- b_j B_j,  and then  m_j <- a_j |V_j|  with the new V, whatever the sign of a_j. (a_j = 0, possible only for a
        negative m_j, would need an infinite b_j. It is limited to a million, which is close enough.)

        Check: tests/test_remedies.py, float64, 1e-10.
        """
        for name, part in self.parts.items():
            if part.B in start:
                W = self.inner.weight.data[:, self.columns[name]]
                kc = keep * part.m.data / column_norms(W + part.product())
                a = 1 - keep + kc
                least = np.maximum(np.abs(kc) / 1e6, np.finfo(kc.dtype).tiny)
                a = np.where(np.abs(a) < least, np.copysign(least, a), a)
                part.B.data *= kc / a
                part.m.data[...] = a * column_norms(W + part.product())


@contextmanager
def norms_held(model):
    """A `with` in which |V| stays as it is now while the weights move: so finite differences see what backward sees."""
    layers = [slot.module for slot in inserted(model) if isinstance(slot.module, DoRALinear)]
    for layer in layers:
        layer.held_norms = {name: layer.norms(name) for name in layer.parts}
    try:
        yield
    finally:
        for layer in layers:
            layer.held_norms = None


@dataclass(frozen=True)
class DoRA(LoRA):
    """LoRA in which the length m of each column trains separately from its direction. The options are those of LoRA."""

    method: ClassVar[str] = "dora"
    linear: ClassVar[type] = DoRALinear

    def adds(self, config):
        return super().adds(config) + self.n_chosen(config) * sum(n_out for _, n_out in self.shapes(config))
