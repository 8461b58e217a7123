"""Prefix tuning: learned keys and values that every position can attend to, in each layer (Li & Liang 2021)."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...inference.kv_cache import KVCache
from ...nn import Module, Parameter
from ...nn.attention import AttentionHeads, HeadsCache
from ...nn.module import needs_dx_after
from ...nn.softmax import softmax_in_place
from ..recipe import Insertion, at_least_one
from ..wrapper import Wrapper, parts


class PrefixCache(NamedTuple):
    q: np.ndarray             # (B, H, T, D)
    P: np.ndarray             # (B, H, T, n), attention to the prefix
    w: np.ndarray             # (B, H, T, D), o_p - o
    o_p: np.ndarray           # (B, H, T, D), what is gathered from the prefix alone
    lam: np.ndarray           # (B, H, T, 1), lambda


class Prefix(Module):
    """out = o + g lambda (o_p - o): what is gathered from the text, o, mixed with what n learned keys K and values W give, o_p.

    A softmax over two groups of scores is a mixture of the softmaxes over each. With z = sum_s exp(S_s) over the text and
    z_p = sum_j exp(S_j) over the prefix, attention to both at once gives
        (sum_s exp(S_s) v_s + sum_j exp(S_j) W_j) / (z + z_p) = (z o + z_p o_p) / (z + z_p)
                                                              = (1 - lambda) o + lambda o_p,      lambda = z_p / (z + z_p)
    since o = sum_s exp(S_s) v_s / z and likewise o_p (He et al. 2022, equation 5). So a gate g of 1 is prefix tuning as Li &
    Liang have it. At 0, nothing has changed: the model starts as its base, which with any keys alone it would not, for even keys
    of zero take their share of a softmax. Then the gate alone gets a gradient, until it has opened.
    """

    def __init__(self, keys, values, gate):
        """keys, values (H, n, D). gate: a learned number for each head, from 0 on; or else it is 1 for good."""
        self.keys, self.values = Parameter(keys), Parameter(values)
        self.gate = Parameter(np.zeros(len(keys), keys.dtype)) if gate else None

    def forward(self, q, o, log_z):
        """q (B, H, T, D), and of the text o (B, H, T, D) and log z (B, H, T, 1) -> as o"""
        S = q @ self.keys.data.swapaxes(-1, -2)                             # (B, H, T, n)
        S *= 1 / math.sqrt(q.shape[-1])
        z_p, m = softmax_in_place(S)
        P, log_z_p = S, np.log(z_p) + m
        lam = 0.5 + 0.5 * np.tanh(0.5 * (log_z_p - log_z))                  # sigmoid, in a form that cannot overflow
        o_p = P @ self.values.data
        w = o_p - o
        return o + self.gated(lam) * w, PrefixCache(q, P, w, o_p, lam)

    def gated(self, lam):
        """g lambda"""
        return lam if self.gate is None else lam * self.gate.data[:, None, None]

    def backward(self, dout, cache):
        """Forward, for one head with gate g: S = q K' / sqrt(D), P = softmax(S), o_p = P W, lambda = sigmoid(log z_p - log z),
        w = o_p - o, out = o + g lambda w.

        Given dout (T, D), want dg, dW, dK (n, D), dq (T, D), do (T, D), and dlog_z (T, 1) for the attention below.

        Derivation.
            out = (1 - g lambda) o + g lambda o_p       do = (1 - g lambda) dout,       do_p = g lambda dout
            with e_t = sum_c dout_tc w_tc               dg = sum_t lambda_t e_t,        dlambda_t = g e_t
            sigmoid: dlambda/dlog_z_p = -dlambda/dlog_z = lambda (1 - lambda),   so   dlog_z_p = -dlog_z = g lambda (1 - lambda) e
        Attention to the prefix, as in nn/attention.py but without a mask; log z_p depends on S as log z does there:
            dW = P' do_p,     dP = do_p W',     dS_tj = P_tj (dP_tj - (do_p_t . o_p_t - dlog_z_p_t))
            dq = dS K / sqrt(D),                dK = dS' q / sqrt(D)

        Check: tests/test_methods.py, float64, relative error < 1e-7; tests/test_peft.py with the gate at 1.
        """
        q, P, w, o_p, lam = cache
        g_lam = self.gated(lam)
        e = np.einsum("bhtd,bhtd->bht", dout, w)[..., None]                 # (B, H, T, 1)
        if self.gate is not None and self.gate.trainable:
            self.gate.grad += np.einsum("bhti,bhti->h", lam, e)
        dlog_z_p = g_lam * (1 - lam) * e
        do_p = g_lam * dout
        if self.values.trainable:
            self.values.grad += (P.swapaxes(-1, -2) @ do_p).sum(axis=0)
        dP = do_p @ self.values.data.swapaxes(-1, -2)                       # (B, H, T, n)
        dS = P * (dP - (np.einsum("bhtd,bhtd->bht", do_p, o_p)[..., None] - dlog_z_p))
        dS *= 1 / math.sqrt(q.shape[-1])
        if self.keys.trainable:
            self.keys.grad += (dS.swapaxes(-1, -2) @ q).sum(axis=0)
        return dS @ self.keys.data, dout - do_p, -dlog_z_p


class PrefixedCache(NamedTuple):
    heads: HeadsCache
    prefix: PrefixCache


class PrefixedHeads(Wrapper):
    """The heads of an attention sublayer, which also see a prefix."""

    label = "prefix"

    def __init__(self, inner, prefix):
        super().__init__(inner)
        self.prefix = prefix

    def added(self):
        yield "prefix", self.prefix

    def kept_fixed(self):
        """Back to k times what the prefix adds: the gate goes, and it began at zero. Without one, keys and values do."""
        return [] if self.prefix.gate is None else [self.prefix.keys, self.prefix.values]

    def forward(self, qkv, needs_dx=True):
        """qkv (B, T, 3C) -> (B, T, C)"""
        q, k, v = self.inner.split(qkv)
        log_z = np.empty((*q.shape[:3], 1), q.dtype)
        needs = needs_dx_after(self.prefix, needs_dx)
        o, P = self.inner.attend(q, k, v, needs, log_z)
        out, cache = self.prefix.forward(q, o, log_z)
        return self.inner.merge(out), PrefixedCache(HeadsCache(qkv, o, P), cache) if needs else None

    def backward(self, dout, cache):
        """Forward: o, log z = heads(q, k, v), out = prefix(q, o, log z).

        Derivation. The chain rule. q is read twice, by the heads and by the prefix, so dq is a sum.

        Check: tests/test_methods.py, float64, relative error < 1e-7.
        """
        if cache is None:
            return None
        B, T, C = dout.shape
        H, D = cache.prefix.q.shape[1], cache.prefix.q.shape[3]
        dq, do, dlog_z = self.prefix.backward(dout.reshape(B, T, H, D).transpose(0, 2, 1, 3), cache.prefix)
        dqkv = self.inner.backward(self.inner.merge(do), cache.heads, dlog_z)
        self.inner.split(dqkv)[0][...] += dq
        return dqkv

    def forward_cached(self, qkv, kv_cache):
        o, q, log_z = self.inner.attend_cached(qkv, kv_cache)
        return self.inner.merge(self.prefix.forward(q, o, log_z)[0])


@dataclass(frozen=True)
class PrefixTuning(Insertion):
    """In each block, n keys and values that no word made stand before the text, and train.

    They start as the keys and values that the base itself makes of n random words; keys and values of noise are a bad start
    (Li & Liang 2021, section 7.4).

    tokens      n
    gate        start from no influence at all, by a gate that opens as it learns; without it, the plain prefix of the paper
    """

    tokens: int = 16
    gate: bool = True

    method: ClassVar[str] = "prefix"
    lr: ClassVar[float] = 0.2

    def adds(self, config):
        n = min(self.tokens, config.context)
        return self.count_chosen(config) * (2 * n * config.n_embd + (config.n_head if self.gate else 0))

    def build(self, model, rng):
        at_least_one("number of tokens", self.tokens)
        if self.tokens > model.config.context:
            raise ValueError(f"{self.tokens} tokens do not fit into the context of {model.config.context}, in which they start")
        kv_cache = KVCache(model)
        model.forward_cached(rng.integers(0, model.config.vocab_size, (1, self.tokens)), kv_cache)
        keys, values = (array[:, 0, :, :self.tokens].copy() for array in (kv_cache.keys, kv_cache.values))
        return {f"blocks.{i}.{path}": PrefixedHeads(heads, Prefix(keys[i], values[i], self.gate))
                for i, block in self.chosen(model) for path, heads in parts(block, AttentionHeads)}
