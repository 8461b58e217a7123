"""Causal multi-head self-attention: each position looks back and gathers what it needs (Vaswani et al. 2017)."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..ground.pieces import tiles
from .linear import Linear, LinearCache
from .module import Module, backward_chain, forward_chain
from .softmax import softmax_in_place


class HeadsCache(NamedTuple):
    qkv: np.ndarray           # (B, T, 3C)
    o: np.ndarray             # (B, H, T, D)
    P: list                   # an array for each tile, in the order of tiles()


class AttentionCache(NamedTuple):
    qkv: LinearCache
    heads: HeadsCache | None  # None if nothing up to q, k, v trains
    proj: LinearCache


@lru_cache(maxsize=8)
def causal_mask(T, dtype):
    """(T, T): 0 where a query (row) may see a key (column), -inf where the key lies in the query's future."""
    return np.triu(np.full((T, T), -np.inf, dtype), k=1)


class AttentionHeads(Module):
    """o_h = softmax(q_h k_h' / sqrt(D) + mask) v_h for each head h, from q, k and v side by side. Nothing here is learned.

    The plain form, for q, k, v (B, H, T, D):
        S = q @ k.swapaxes(-1, -2) / math.sqrt(D) + causal_mask(T)          # (B, H, T, T)
        P = softmax(S)
        o = P @ v
    """

    def __init__(self, n_head):
        self.n_head = n_head

    def split(self, qkv):
        """(B, T, 3C) -> q, k, v (B, H, T, D) with C = H D, as views: nothing is copied; what is written there lands in qkv."""
        B, T, C3 = qkv.shape
        return qkv.reshape(B, T, 3, self.n_head, C3 // (3 * self.n_head)).transpose(2, 0, 3, 1, 4)

    def read(self, qkv, start=0):
        """The q, k and v of the positions from `start` on, as `attend` takes them: for training, writing and prefixes alike."""
        return self.split(qkv)

    def merge(self, o):
        """(B, H, T, D) -> (B, T, C)"""
        B, H, T, D = o.shape
        return o.transpose(0, 2, 1, 3).reshape(B, T, H * D)

    def forward(self, qkv, needs_dx=True):
        """qkv (B, T, 3C) -> (B, T, C)"""
        o, P = self.attend(*self.read(qkv), keep=needs_dx)
        return self.merge(o), HeadsCache(qkv, o, P) if needs_dx else None   # merge copies nothing: o lies in memory so

    def attend(self, q, k, v, keep=True, log_z=None):
        """The plain form above, tile by tile (ground/pieces.py): q, k, v (B, H, T, D) -> o (B, H, T, D), P of each tile.

        log_z   (B, H, T, 1), into which log sum_s exp(S_ts) is written
        """
        B, H, T, D = q.shape
        o = np.empty((B, T, H, D), q.dtype).transpose(0, 2, 1, 3)           # (B, H, T, D), in memory as (B, T, C)
        P = []
        for texts, queries in tiles(B, H, T):
            seen = slice(0, queries.stop)
            S = q[texts, :, queries] @ k[texts, :, seen].swapaxes(-1, -2)   # (texts, H, queries, seen)
            S *= 1 / math.sqrt(D)
            z, m = softmax_in_place(S, causal_mask(queries.stop - queries.start, S.dtype))
            P_tile = S
            np.matmul(P_tile, v[texts, :, seen], out=o[texts, :, queries])
            if log_z is not None:
                log_z[texts, :, queries] = np.log(z) + m
            if keep:
                P.append(P_tile)
        return o, P

    def backward(self, dout, cache, dlog_z=None):
        """Forward, for one text and one head: S = q k' / sqrt(D) + mask, P = softmax(S), o = P v.
        Given do (T, D), the part of this head in dout, want dq, dk, dv (T, D).
        Derivation.
            o_tc = sum_s P_ts v_sc      dv_sc = sum_t P_ts do_tc                dv = P' do
                                        dP_ts = sum_c do_tc v_sc                dP = do v'
            P = softmax(S) by rows      dS_ts = P_ts (dP_ts - sum_r dP_tr P_tr)
            where the inner sum needs no pass over (T, T):
                sum_r dP_tr P_tr = sum_r sum_c do_tc v_rc P_tr = sum_c do_tc o_tc
            S_ts = sum_c q_tc k_sc / sqrt(D)
                                        dq_tc = sum_s dS_ts k_sc / sqrt(D)      dq = dS k / sqrt(D)
                                        dk_sc = sum_t dS_ts q_tc / sqrt(D)      dk = dS' q / sqrt(D)
        Query t was scored against the keys s <= t, so dq sums over them; key s by the queries t >= s, so dk sums over those.
        Masked places have P = 0, hence dS = 0: no gradient flows from a position to its future.

        dlog_z  (B, H, T, 1), where the loss also depends on log z_t = log sum_s exp(S_ts), as with prefix tuning. Its derivative
                by S_ts is P_ts, so it joins the inner sum:  dS_ts = P_ts (dP_ts - (sum_c do_tc o_tc - dlog_z_t)).
        Check: tests/test_gradients.py, B=2, H=3, T=5, D=4, and that no output sees later tokens; many tiles: test_plain_forms.py.
        """
        if cache is None:
            return None
        (q, k, v), o, P = self.read(cache.qkv), cache.o, cache.P
        B, H, T, D = q.shape
        do = dout.reshape(B, T, H, D).transpose(0, 2, 1, 3)                 # (B, H, T, D)
        inner = np.einsum("bhtd,bhtd->bht", do, o)[..., None]               # (B, H, T, 1)
        if dlog_z is not None:
            inner -= dlog_z
        dqkv = np.empty(cache.qkv.shape, do.dtype)                          # not yet written
        dq, dk, dv = self.split(dqkv)
        for (texts, queries), P_tile in zip(tiles(B, H, T), P):
            seen = slice(0, queries.stop)
            do_tile = do[texts, :, queries]
            dP = do_tile @ v[texts, :, seen].swapaxes(-1, -2)               # (texts, H, queries, seen)
            dP -= inner[texts, :, queries]
            dS = np.multiply(dP, P_tile, out=dP)
            dS *= 1 / math.sqrt(D)                                          # dS / sqrt(D), for both products
            np.matmul(dS, k[texts, :, seen], out=dq[texts, :, queries])
            if queries.stop == T:       # `tiles` gives the last queries first; they see every key, so they write, and others add
                np.matmul(P_tile.swapaxes(-1, -2), do_tile, out=dv[texts])
                np.matmul(dS.swapaxes(-1, -2), q[texts, :, queries], out=dk[texts])
            else:
                dv[texts, :, seen] += P_tile.swapaxes(-1, -2) @ do_tile
                dk[texts, :, seen] += dS.swapaxes(-1, -2) @ q[texts, :, queries]
        return dqkv

    def forward_cached(self, qkv, kv_cache):
        return self.merge(self.attend_cached(qkv, kv_cache)[0])

    def attend_cached(self, qkv, kv_cache):
        """`attend` for the next n positions, qkv (B, n, 3C): the last n rows of S -> o, q (B, H, n, D), log_z (B, H, n, 1)"""
        q, k, v = self.read(qkv, kv_cache.length)                           # (B, H, n, D)
        n, D = q.shape[-2:]
        new, seen = slice(kv_cache.length, kv_cache.length + n), slice(0, kv_cache.length + n)
        kv_cache.keys[:, :, new], kv_cache.values[:, :, new] = k, v
        S = q @ kv_cache.keys[:, :, seen].swapaxes(-1, -2)                  # (B, H, n, seen)
        S *= 1 / math.sqrt(D)
        z, m = softmax_in_place(S, causal_mask(n, S.dtype))                 # S is P from here on
        return S @ kv_cache.values[:, :, seen], q, np.log(z) + m


class CausalSelfAttention(Module):
    """out = concat_h(o_h) W_o + b_o,   q, k, v = x W_qkv + b_qkv,   o as `AttentionHeads` makes it of these."""

    kind = "attention"

    def __init__(self, n_embd, n_head, rng, std=0.02, proj_std=0.02, dtype=np.float32):
        self.qkv = Linear(n_embd, 3 * n_embd, rng, std, dtype, maps=("q", "k", "v"))
        self.n_head, self.heads = n_head, AttentionHeads(n_head)
        self.proj = Linear(n_embd, n_embd, rng, proj_std, dtype, maps=("o",))

    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> (B, T, C)"""
        out, caches = forward_chain((self.qkv, self.heads, self.proj), x, needs_dx)
        return out, AttentionCache(*caches)

    def backward(self, dout, cache):
        """Three functions in a row: the chain rule. The derivation of the middle one is that of `AttentionHeads.backward`.
        Check: tests/test_gradients.py.
        """
        return backward_chain((self.qkv, self.heads, self.proj), dout, cache)

    def forward_cached(self, x, kv_cache):
        """x (B, n, C), the next n positions -> (B, n, C)"""
        qkv = self.qkv.forward_cached(x, kv_cache)
        return self.proj.forward_cached(self.heads.forward_cached(qkv, kv_cache), kv_cache)
