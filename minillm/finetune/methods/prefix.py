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
from ..wrapper import Wrapper, modules_of


class PrefixCache(NamedTuple):
    q: np.ndarray             # (B, K, G, T, D)
    P: np.ndarray             # (B, K, G, T, n), attention to the prefix
    w: np.ndarray             # (B, K, G, T, D), o_p - o
    o_p: np.ndarray           # (B, K, G, T, D), attention output from the prefix alone
    lam: np.ndarray           # (B, K, G, T, 1), lambda


class Prefix(Module):
    """out = o + g lambda (o_p - o): a mixture of o, attention to the text, and o_p, that to n learned keys K_p and values V_p.

    A softmax over two groups of scores is a mixture of the softmaxes over each group. With z = sum_s exp(S_s) over the text and
    z_p = sum_j exp(S_j) over the prefix,
        o = sum_s exp(S_s) v_s / z,      o_p = sum_j exp(S_j) V_p,j / z_p
    so attention to both at once is
        (sum_s exp(S_s) v_s + sum_j exp(S_j) V_p,j) / (z + z_p) = (z o + z_p o_p) / (z + z_p)
                                                                = (1 - lambda) o + lambda o_p,    lambda = z_p / (z + z_p)
    (He et al. 2022, equation 5). With the gate g = 1, this is prefix tuning as published. With g = 0, out = o: the model starts
    as its base. Without a gate it could not, since even keys of zero take a share of the softmax. At g = 0, K_p and V_p have
    no influence, so in the first step only the gate gets a gradient.
    """

    def __init__(self, keys, values, n_head, gate):
        """keys, values (K, n, D) for n_head heads of queries. gate: learn one g for each, which starts at 0; without it, g is 1.
        """
        self.keys, self.values = Parameter(keys), Parameter(values)
        self.gate = Parameter(np.zeros(n_head, keys.dtype)) if gate else None

    def grouped(self, x):
        """(B, H, T, m) -> (B, K, G, T, m): the heads that share keys and values (nn/attention.py), as a view"""
        (B, H, T, m), K = x.shape, len(self.keys.data)
        return x.reshape(B, K, H // K, T, m)

    def forward(self, q, o, log_z):
        """q (B, H, T, D), and of attention to the text, o (B, H, T, D) and log z (B, H, T, 1) -> out, in the shape of o"""
        shape = o.shape
        q, o, log_z = map(self.grouped, (q, o, log_z))
        S = q @ self.keys.data[:, None].swapaxes(-1, -2)                    # (B, K, G, T, n)
        S *= 1 / math.sqrt(q.shape[-1])
        z_shifted, m = softmax_in_place(S)                                  # z_p exp(-m), m as in softmax_in_place
        P, log_z_p = S, np.log(z_shifted) + m
        lam = 0.5 + 0.5 * np.tanh(0.5 * (log_z_p - log_z))                  # sigmoid, in a form that cannot overflow
        o_p = P @ self.values.data[:, None]
        w = o_p - o
        return (o + self.gated(lam) * w).reshape(shape), PrefixCache(q, P, w, o_p, lam)

    def gated(self, lam):
        """g lambda"""
        return lam if self.gate is None else lam * self.gate.data.reshape(*lam.shape[1:3], 1, 1)

    def backward(self, dout, cache):
        """Forward, for one head of one text, with gate g: S = q K_p' / sqrt(D), P = softmax(S), o_p = P V_p,
        lambda = sigmoid(log z_p - log z), w = o_p - o, out = o + g lambda w.

        Given dout (T, D), want dq (T, D), do (T, D), and dlog_z (T, 1) for the attention to the text; and dg, dV_p,
        dK_p (n, D), which are summed over the texts, and over the heads of queries that share them.

        Derivation.
            out = (1 - g lambda) o + g lambda o_p       do = (1 - g lambda) dout,       do_p = g lambda dout
            with e_t = sum_c dout_tc w_tc               dg = sum_t lambda_t e_t,        dlambda_t = g e_t
            sigmoid: dlambda/dlog_z_p = -dlambda/dlog_z = lambda (1 - lambda),   so   dlog_z_p = -dlog_z = g lambda (1 - lambda) e
        Then attention to the prefix, derived as in nn/attention.py without a mask, with K_p, V_p, o_p, z_p for k, v, o, z:
            dV_p = P' do_p,   dP = do_p V_p',   dS_tj = P_tj (dP_tj - (sum_c do_p_tc o_p_tc - dlog_z_p_t))
            dq = dS K_p / sqrt(D),              dK_p = dS' q / sqrt(D)

        Check: tests/test_methods.py, float64, relative error < 1e-7; tests/test_peft.py with the gate at 1.
        """
        q, P, w, o_p, lam = cache
        shape, dout = dout.shape, self.grouped(dout)
        g_lam = self.gated(lam)
        e = np.einsum("bkgtd,bkgtd->bkgt", dout, w)[..., None]              # (B, K, G, T, 1)
        if self.gate is not None and self.gate.trainable:
            self.gate.grad += np.einsum("bkgti,bkgti->kg", lam, e).reshape(-1)
        dlog_z_p = g_lam * (1 - lam) * e
        do_p = g_lam * dout
        if self.values.trainable:
            self.values.grad += (P.swapaxes(-1, -2) @ do_p).sum(axis=(0, 2))
        dP = do_p @ self.values.data[:, None].swapaxes(-1, -2)              # (B, K, G, T, n)
        dS = P * (dP - (np.einsum("bkgtd,bkgtd->bkgt", do_p, o_p)[..., None] - dlog_z_p))
        dS *= 1 / math.sqrt(q.shape[-1])
        if self.keys.trainable:
            self.keys.grad += (dS.swapaxes(-1, -2) @ q).sum(axis=(0, 2))
        dq, do = dS @ self.keys.data[:, None], dout - do_p
        return dq.reshape(shape), do.reshape(shape), -dlog_z_p.reshape(*shape[:3], 1)


class PrefixedCache(NamedTuple):
    heads: HeadsCache
    prefix: PrefixCache


class PrefixedHeads(Wrapper):
    """The heads of an attention sublayer, which attend to a prefix as well."""

    label = "prefix"

    def __init__(self, inner, prefix):
        super().__init__(inner)
        self.prefix = prefix

    @property
    def can_be_identity(self):
        return self.prefix.gate is not None

    def added(self):
        yield "prefix", self.prefix

    def not_interpolated(self):
        """Keys and values, if there is a gate: it started at zero and scales all that the prefix adds."""
        return [] if self.prefix.gate is None else [self.prefix.keys, self.prefix.values]

    def forward(self, qkv, needs_dx=True):
        """qkv (B, T, (H + 2K) D) -> (B, T, C)"""
        q, k, v = self.inner.split(qkv)
        log_z = np.empty((*q.shape[:3], 1), q.dtype)
        needs = needs_dx_after(self.prefix, needs_dx)
        o, P = self.inner.attend(q, k, v, needs, log_z)
        out, cache = self.prefix.forward(q, o, log_z)
        return self.inner.merge(out), PrefixedCache(HeadsCache(qkv, o, P), cache) if needs else None

    def backward(self, dout, cache):
        """Forward: o, log z = heads(q, k, v), out = prefix(q, o, log z).

        Derivation. The chain rule. Both the heads and the prefix read q, so dq is a sum.

        Check: tests/test_methods.py, float64, relative error < 1e-7.
        """
        if cache is None:
            return None
        B, T, C = dout.shape
        H, D = self.inner.n_head, C // self.inner.n_head
        dq, do, dlog_z = self.prefix.backward(dout.reshape(B, T, H, D).transpose(0, 2, 1, 3), cache.prefix)
        dqkv = self.inner.backward(self.inner.merge(do), cache.heads, dlog_z)
        self.inner.split(dqkv)[0][...] += dq
        return dqkv

    def forward_cached(self, qkv, kv_cache):
        o, q, log_z = self.inner.attend_cached(qkv, kv_cache)
        return self.inner.merge(self.prefix.forward(q, o, log_z)[0])


@dataclass(frozen=True)
class PrefixTuning(Insertion):
    """In each block, n learned keys and values are put before those of the text.

    They start as the keys and values that the base computes for n random words: random numbers would be a bad start (Li & Liang
    2021, section 7.4).

    tokens      n
    gate        start with no influence, by a learned gate that starts at zero; without it, the plain prefix of the paper
    """

    tokens: int = 16
    gate: bool = True

    method: ClassVar[str] = "prefix"
    lr: ClassVar[float] = 0.2

    def adds(self, config):
        n = min(self.tokens, config.context)
        return self.n_chosen(config) * (2 * n * config.kv_heads * config.head_dim + (config.n_head if self.gate else 0))

    def build(self, model, rng):
        at_least_one("number of tokens", self.tokens)
        if self.tokens > model.config.context:
            raise ValueError(f"{self.tokens} tokens do not fit into the context of {model.config.context}, from which they start")
        kv_cache = KVCache(model)
        model.forward_cached(rng.integers(0, model.config.vocab_size, (1, self.tokens)), kv_cache)
        keys, values = (array[:, 0, :, :self.tokens].copy() for array in (kv_cache.keys, kv_cache.values))
        return {heads: PrefixedHeads(heads, Prefix(keys[i], values[i], heads.n_head, self.gate))
                for i, block in self.chosen(model) for heads in modules_of(block, AttentionHeads)}
