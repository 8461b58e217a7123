"""Causal multi-head self-attention: each position looks back and gathers what it needs (Vaswani et al. 2017)."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..ground.pieces import tiles
from .linear import Linear, LinearCache
from .module import Module, backward_chain, forward_chain
from .rotary import Rotary
from .softmax import softmax_in_place


class HeadsCache(NamedTuple):
    qkv: np.ndarray           # (B, T, (H + 2K) D)
    o: np.ndarray             # (B, H, T, D)
    P: list                   # an array (texts, H, queries, seen) for each tile, in the order of tiles()


class AttentionCache(NamedTuple):
    qkv: LinearCache
    heads: HeadsCache | None  # None if nothing up to q, k, v trains
    proj: LinearCache
    rotary: bool = False      # do q and k, if they were turned, need a gradient?


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

    With grouped queries (Ainslie et al. 2023) there are only K heads of keys and values, and each serves G = H / K heads of
    queries, which stand side by side: then k and v above are np.repeat(k, G, axis=1) and np.repeat(v, G, axis=1).
    """

    def __init__(self, n_head, n_kv_head=None):
        self.n_head, self.n_kv_head = n_head, n_kv_head or n_head

    def split(self, qkv):
        """(B, T, (H + 2K) D) -> q (B, H, T, D), k, v (B, K, T, D), as views: what is written there lands in qkv."""
        B, T, width = qkv.shape
        H, K = self.n_head, self.n_kv_head
        heads = qkv.reshape(B, T, H + 2 * K, width // (H + 2 * K)).swapaxes(1, 2)
        return heads[:, :H], heads[:, H:-K], heads[:, -K:]

    def grouped(self, q, k, v):
        """q (B, H, T, D) -> (B, K, G, T, D), k and v (B, K, T, D) -> (B, K, 1, T, D), as views"""
        B, H, T, D = q.shape
        K = k.shape[1]
        return q.reshape(B, K, H // K, T, D), k[:, :, None], v[:, :, None]

    def merge(self, o):
        """(B, H, T, D) -> (B, T, C)"""
        B, H, T, D = o.shape
        return o.transpose(0, 2, 1, 3).reshape(B, T, H * D)

    def forward(self, qkv, needs_dx=True):
        """qkv (B, T, (H + 2K) D) -> (B, T, C)"""
        o, P = self.attend(*self.split(qkv), keep=needs_dx)
        return self.merge(o), HeadsCache(qkv, o, P) if needs_dx else None   # merge copies nothing: o lies in memory so

    def attend(self, q, k, v, keep=True, log_z=None):
        """The plain form above, tile by tile (ground/pieces.py): q (B, H, T, D), k, v (B, K, T, D) -> o (B, H, T, D), tiles of P.

        log_z   (B, H, T, 1), into which log sum_s exp(S_ts) is written
        """
        B, H, T, D = q.shape
        o = np.empty((B, T, H, D), q.dtype).transpose(0, 2, 1, 3)           # (B, H, T, D), in memory as (B, T, C)
        q, k, v = self.grouped(q, k, v)
        out = o.reshape(q.shape)                                            # a view: (B, K, G, T, D)
        log_z = None if log_z is None else log_z.reshape(*q.shape[:4], 1)
        P = []
        for texts, queries in tiles(B, H, T):
            seen = slice(0, queries.stop)
            S = q[texts, ..., queries, :] @ k[texts, ..., seen, :].swapaxes(-1, -2)     # (texts, K, G, queries, seen)
            S *= 1 / math.sqrt(D)
            z, m = softmax_in_place(S, causal_mask(queries.stop - queries.start, S.dtype))
            P_tile = S
            np.matmul(P_tile, v[texts, ..., seen, :], out=out[texts, ..., queries, :])
            if log_z is not None:
                log_z[texts, ..., queries, :] = np.log(z) + m
            if keep:
                P.append(P_tile.reshape(-1, H, *P_tile.shape[3:]))
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
        With grouped queries, head g of a group of G reads the same k and v, so these get the sum over the group:
            dv_sc = sum_g sum_t P_gts do_gtc                dk_sc = sum_g sum_t dS_gts q_gtc / sqrt(D)
        which are the products P' do and dS' q with the rows (g, t) of all G heads one below the other.
        Masked places have P = 0, hence dS = 0: no gradient flows from a position to its future.

        dlog_z  (B, H, T, 1), where the loss also depends on log z_t = log sum_s exp(S_ts), as with prefix tuning. Its derivative
                by S_ts is P_ts, so it joins the inner sum:  dS_ts = P_ts (dP_ts - (sum_c do_tc o_tc - dlog_z_t)).
        Check: tests/test_gradients.py, B=2, H=3, T=5, D=4, and that no output sees later tokens; many tiles: test_plain_forms.py.
        """
        if cache is None:
            return None
        q, k, v = self.split(cache.qkv)
        B, H, T, D = q.shape
        do = dout.reshape(B, T, H, D).swapaxes(1, 2)                        # (B, H, T, D)
        inner = np.einsum("bhtd,bhtd->bht", do, cache.o)[..., None]         # (B, H, T, 1)
        if dlog_z is not None:
            inner -= dlog_z
        dqkv = np.empty(cache.qkv.shape, do.dtype)                          # not yet written
        dq, dk, dv = self.split(dqkv)
        q, k, v = self.grouped(q, k, v)
        do, dq, inner = (array.reshape(*q.shape[:4], array.shape[3]) for array in (do, dq, inner))  # (B, K, G, T, ...), dq a view
        for (texts, queries), P_tile in zip(tiles(B, H, T), cache.P):
            seen, rows = slice(0, queries.stop), (texts, ..., queries, slice(None))
            do_tile = do[rows]                                              # (texts, K, G, queries, D)
            dP = do_tile @ v[texts, ..., seen, :].swapaxes(-1, -2)          # (texts, K, G, queries, seen)
            dP -= inner[rows]
            P_tile = P_tile.reshape(dP.shape)
            dS = np.multiply(dP, P_tile, out=dP)
            dS *= 1 / math.sqrt(D)                                          # dS / sqrt(D), for both products
            np.matmul(dS, k[texts, ..., seen, :], out=dq[rows])
            P_rows, do_rows, dS_rows, q_rows = map(one_below_the_other, (P_tile, do_tile, dS, q[rows]))
            if queries.stop == T:       # `tiles` gives the last queries first; they see every key, so they write, and others add
                np.matmul(P_rows.swapaxes(-1, -2), do_rows, out=dv[texts])
                np.matmul(dS_rows.swapaxes(-1, -2), q_rows, out=dk[texts])
            else:
                dv[texts, :, seen] += P_rows.swapaxes(-1, -2) @ do_rows
                dk[texts, :, seen] += dS_rows.swapaxes(-1, -2) @ q_rows
        return dqkv

    def forward_cached(self, qkv, kv_cache):
        return self.merge(self.attend_cached(qkv, kv_cache)[0])

    def attend_cached(self, qkv, kv_cache):
        """`attend` for the next n positions of qkv: the last n rows of S -> o, q (B, H, n, D), log_z (B, H, n, 1)"""
        q, k, v = self.split(qkv)
        n, D = q.shape[-2:]
        new, seen = slice(kv_cache.length, kv_cache.length + n), slice(0, kv_cache.length + n)
        kv_cache.keys[:, :, new], kv_cache.values[:, :, new] = k, v
        groups, keys, values = self.grouped(q, kv_cache.keys[:, :, seen], kv_cache.values[:, :, seen])
        S = groups @ keys.swapaxes(-1, -2)                                  # (B, K, G, n, seen)
        S *= 1 / math.sqrt(D)
        z, m = softmax_in_place(S, causal_mask(n, S.dtype))                 # S is P from here on
        return (S @ values).reshape(q.shape), q, (np.log(z) + m).reshape(*q.shape[:3], 1)


def one_below_the_other(x):
    """The rows of all G heads of a group: (texts, K, G, n, m) -> (texts, K, G n, m). Nothing is copied for G = 1."""
    texts, K, G, n, m = x.shape
    return x.reshape(texts, K, G * n, m)


class CausalSelfAttention(Module):
    """out = concat_h(o_h) W_o + b_o,   q, k, v = x W_qkv + b_qkv,   o as `AttentionHeads` makes it of these.

    n_kv_head   K, the heads of keys and values; as many as of queries unless chosen otherwise
    rope_base   if given, q and k are turned by their positions first (rotary.py)
    """

    kind = "attention"

    def __init__(self, n_embd, n_head, rng, std=0.02, proj_std=0.02, dtype=np.float32, n_kv_head=None, bias=True, rope_base=None):
        n_kv_head, D = n_kv_head or n_head, n_embd // n_head
        maps = {"q": n_embd, "k": n_kv_head * D, "v": n_kv_head * D}
        self.qkv = Linear(n_embd, maps, rng, std, dtype, bias)
        self.rotary = Rotary(n_head + n_kv_head, D, rope_base) if rope_base else None
        self.n_head, self.heads = n_head, AttentionHeads(n_head, n_kv_head)
        self.proj = Linear(n_embd, {"o": n_embd}, rng, proj_std, dtype, bias)

    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> (B, T, C)"""
        steps = self.steps()
        out, caches = forward_chain(steps.values(), x, needs_dx)
        return out, AttentionCache(**dict(zip(steps, caches)))

    def backward(self, dout, cache):
        """Functions in a row: the chain rule. The derivation of the middle one is that of `AttentionHeads.backward`.
        Check: tests/test_gradients.py.
        """
        steps = self.steps()
        return backward_chain(list(steps.values()), dout, [getattr(cache, name) for name in steps])

    def steps(self):
        """{name: layer}, in the order in which x goes through them"""
        turned = {"rotary": self.rotary} if self.rotary else {}
        return {"qkv": self.qkv, **turned, "heads": self.heads, "proj": self.proj}

    def forward_cached(self, x, kv_cache):
        """x (B, n, C), the next n positions -> (B, n, C)"""
        for layer in self.steps().values():
            x = layer.forward_cached(x, kv_cache)
        return x
