"""Prefix tuning: learned keys and values that every position can attend to, in each layer (Li & Liang 2021)."""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...nn import Module, Parameter, Softmax
from ...nn.attention import AttentionCache, tiles
from ...nn.module import needs_dx_after
from ..insert import Wrapper
from ..recipe import Insertion, at_least_one


class PrefixCache(NamedTuple):
    q: np.ndarray             # (B, H, T, D)
    P: np.ndarray             # (B, H, T, n), attention to the prefix alone
    own: np.ndarray           # (B, H, T, D), o of the text alone
    way: np.ndarray           # (B, H, T, D), from there to o of the prefix alone
    share: np.ndarray         # (B, H, T, 1), lambda


class Prefix(Module):
    """out = o + gate lambda (o_p - o): what is gathered from the text, mixed with what n learned keys and values give.

    A softmax over two groups of scores is a mixture of the softmaxes over each: with z the sum of exp(score) over the text,
    z_p over the prefix, and lambda = z_p / (z + z_p),
        softmax([q P_k', q k']) [P_v; v] = (1 - lambda) softmax(q k') v + lambda softmax(q P_k') P_v = o + lambda (o_p - o)
    (He et al. 2022, equation 5). So a gate of 1 is prefix tuning as Li & Liang have it. At 0, nothing has changed: the model
    starts as its base, which with any keys alone it would not, for even keys of zero take their share of a softmax.
    """

    def __init__(self, keys, values, gate):
        """keys, values (H, n, D). gate: a learned number for each head, from 0 on; or else it is 1 for good."""
        self.keys, self.values = Parameter(keys), Parameter(values)
        self.gate = Parameter(np.zeros(len(keys), keys.dtype)) if gate else None
        self.softmax = Softmax()

    def forward(self, q, k, P_text, o):
        """q (B, H, T, D), and of the text its keys k (B, H, S, D), attention P_text (B, H, T, S) and o (B, H, T, D) -> as o"""
        scale = 1 / math.sqrt(q.shape[-1])
        S = q @ self.keys.data.swapaxes(-1, -2)                             # (B, H, T, n)
        S *= scale
        P, _ = self.softmax.forward(S, False)
        s = scale * np.einsum("bhtd,bhtd->bht", q, np.take_along_axis(k, P_text.argmax(axis=-1)[..., None], axis=2))
        log_z = s - np.log(P_text.max(axis=-1))                             # of P = exp(s) / z, where P is largest
        log_z_p = S.max(axis=-1) - np.log(P.max(axis=-1))                   # (B, H, T)
        share = (0.5 + 0.5 * np.tanh(0.5 * (log_z_p - log_z)))[..., None]   # sigmoid, which cannot overflow so
        way = P @ self.values.data - o
        out = o + self.gated(share) * way
        return out, PrefixCache(q, P, o, way, share)

    def gated(self, share):
        return share if self.gate is None else share * self.gate.data[:, None, None]

    def backward(self, dout, cache):
        """Forward: S = q P_k' / sqrt(D), P = softmax(S), o_p = P P_v, lambda = sigmoid(log z_p - log z), w = o_p - o,
        out = o + g lambda w, for one head with gate g.

        Given dout (T, D), want dg, dP_v, dP_k (n, D), dq (T, D), do (T, D), and dlog z (T, 1) for the attention below.

        Derivation.
            out = (1 - g lambda) o + g lambda o_p       do = (1 - g lambda) dout,       do_p = g lambda dout
            dg = sum_t lambda_t e_t,    e_t = sum_c dout_tc w_tc
            dlambda_t = g e_t,          lambda' = lambda (1 - lambda):      dlog z_p = -dlog z = g e lambda (1 - lambda)
        Attention to the prefix, as in nn/attention.py, but without a mask:
            dP_v = P' do_p,             dP = do_p P_v',     dS = P (dP - do_p . o_p)
        and since dlog z_p / dS_tj = P_tj, what comes through lambda joins in:
            dS_tj = P_tj (dP_tj - do_p_t . o_p_t + dlog z_p,t)
            dq = dS P_k / sqrt(D),      dP_k = dS' q / sqrt(D)

        Check: tests/test_methods.py, float64, relative error < 1e-7; tests/test_peft.py with the gate at 1.
        """
        q, P, o, way, share = cache
        scale, weight = 1 / math.sqrt(q.shape[-1]), self.gated(share)
        e = np.einsum("bhtd,bhtd->bht", dout, way)[..., None]               # (B, H, T, 1)
        if self.gate is not None and self.gate.trainable:
            self.gate.grad += np.einsum("bhti,bhti->h", share, e)
        dlog_z_p = weight * e * (1 - share)
        do_p = weight * dout
        if self.values.trainable:
            self.values.grad += (P.swapaxes(-1, -2) @ do_p).sum(axis=0)
        dP = do_p @ self.values.data.swapaxes(-1, -2)                       # (B, H, T, n)
        do_p_dot_o_p = np.einsum("bhtd,bhtd->bht", do_p, way + o)[..., None]
        dS = self.softmax.backward(dP, P, do_p_dot_o_p - dlog_z_p)
        dS *= scale
        if self.keys.trainable:
            self.keys.grad += (dS.swapaxes(-1, -2) @ q).sum(axis=0)
        return dS @ self.keys.data, dout - do_p, -dlog_z_p


class PrefixedCache(NamedTuple):
    attn: AttentionCache
    prefix: PrefixCache


class Prefixed(Wrapper):
    """An attention sublayer whose heads also see a prefix."""

    label = "prefix"

    def __init__(self, inner, prefix):
        super().__init__(inner)
        self.prefix = prefix

    def own(self):
        yield "prefix", self.prefix

    def stays(self):
        """Back to k times what the prefix adds: the gate goes, and it began at zero. Without one, keys and values do."""
        return [] if self.prefix.gate is None else [self.prefix.keys, self.prefix.values]

    def forward(self, x, needs_dx=True):
        """`CausalSelfAttention.forward` with one line more."""
        attn = self.inner
        qkv, qkv_cache = attn.qkv.forward(x, needs_dx)
        q, k, v = attn.split(qkv)
        o, P = attn.attend(q, k, v)
        mixed, prefix_cache = self.prefix.forward(q, k, whole(P, q), o)
        needs_do = needs_dx_after(self.prefix, needs_dx_after(attn.qkv, needs_dx))
        out, proj_cache = attn.proj.forward(attn.merge(mixed), needs_do)
        heads = (q, k, v, o, P) if needs_do else None
        return out, PrefixedCache(AttentionCache(qkv_cache, heads, proj_cache), prefix_cache if needs_do else None)

    def backward(self, dout, cache):
        """Forward: o = attend(q, k, v), out = mix(q, o, log z) with log z_t = log sum_s exp(S_ts).

        Derivation. As of attention without a prefix, and S gets a second gradient through z: dlog z_t / dS_ts = P_ts, so
            dS_ts = P_ts (dP_ts - do_t . o_t + dlog z_t)
        which is the old formula with do_t . o_t - dlog z_t in the place of do_t . o_t. And q is read twice, so dq is a sum.

        Check: tests/test_methods.py, float64, relative error < 1e-7.
        """
        attn = self.inner
        dmixed = attn.proj.backward(dout, cache.attn.proj)                  # (B, T, C)
        if dmixed is None:
            return None
        q, k, v, o, P = cache.attn.heads
        B, H, T, D = q.shape
        dmixed = dmixed.reshape(B, T, H, D).transpose(0, 2, 1, 3)           # (B, H, T, D)
        dq_prefix, do, dlog_z = self.prefix.backward(dmixed, cache.prefix)
        do_dot_o = np.einsum("bhtd,bhtd->bht", do, o)[..., None] - dlog_z
        dqkv = attn.attend_backward(do, do_dot_o, q, k, v, P)
        attn.split(dqkv)[0][...] += dq_prefix
        return attn.qkv.backward(dqkv, cache.attn.qkv)

    def extend(self, x, memory):
        o, q, k, P = self.inner.attend_cached(x, memory)
        mixed, _ = self.prefix.forward(q, k, P, o)
        return self.inner.proj.extend(self.inner.merge(mixed), memory)


def whole(tiles_of_P, q):
    """P (B, H, T, T) of queries q (B, H, T, D) from its tiles (nn/attention.py), zero where a tile had not to look."""
    B, H, T, _ = q.shape
    P = np.zeros((B, H, T, T), q.dtype)
    for (b, t), P_t in zip(tiles(B, H, T), tiles_of_P):
        P[b, :, t, :t.stop] = P_t
    return P


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
        memory = model.memory()
        model.extend(rng.integers(0, model.config.vocab_size, (1, self.tokens)), memory)
        return {f"blocks.{i}.attn": Prefixed(block.attn, Prefix(*(array[i, 0, :, :self.tokens].copy()
                                                                  for array in (memory.keys, memory.values)), self.gate))
                for i, block in self.chosen(model)}
