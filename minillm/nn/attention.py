"""Causal multi-head self-attention: each position looks back and gathers what it needs (Vaswani et al. 2017)."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .linear import Linear, LinearCache
from .module import Module, needs_dx_after
from .softmax import Softmax


class AttentionCache(NamedTuple):
    qkv: LinearCache
    heads: tuple | None       # q, k, v, o and P of each tile; None if nothing up to q, k, v trains
    proj: LinearCache


@lru_cache(maxsize=8)
def causal_mask(T, dtype):
    """(T, T): 0 where a query (row) may see a key (column), -inf where the key lies in the query's future."""
    return np.triu(np.full((T, T), -np.inf, dtype), k=1)


BLOCK = 64           # queries in one tile, about
TILE = 1 << 17       # scores in one tile, about


def tiles(B, H, T):
    """Cut all queries into tiles: pairs (sequences, queries) of slices.

    No query sees a key beyond the end of its tile, so the scores beyond it are never computed: of long sequences almost half. And
    the scores of a tile stay in a core's cache from the first to the last operation on them. Of each sequence the last queries
    come first: these see every key, so their gradients can be written where those of the others are added.
    """
    blocks = max(1, round(T / BLOCK))
    ends = [T * i // blocks for i in range(blocks + 1)]
    rows = max(1, TILE // (H * (T // blocks) * T))
    for b in range(0, B, rows):
        for i in reversed(range(blocks)):
            yield slice(b, b + rows), slice(ends[i], ends[i + 1])


class CausalSelfAttention(Module):
    """out = concat_h( softmax(q_h k_h' / sqrt(D) + mask) v_h ) W_o + b_o,   q, k, v = x W_qkv + b_qkv."""

    def __init__(self, n_embd, n_head, rng, std=0.02, proj_std=0.02, dtype=np.float32):
        self.n_head = n_head
        self.qkv = Linear(n_embd, 3 * n_embd, rng, std, dtype, matrices=3)
        self.proj = Linear(n_embd, n_embd, rng, proj_std, dtype)
        self.softmax = Softmax()

    def split(self, qkv):
        """(B, T, 3C) -> three views (B, H, T, D) with C = H D; nothing is copied."""
        B, T, C3 = qkv.shape
        return qkv.reshape(B, T, 3, self.n_head, C3 // (3 * self.n_head)).transpose(2, 0, 3, 1, 4)

    def merge(self, heads):
        """(B, H, T, D) -> (B, T, C)"""
        B, H, T, D = heads.shape
        return heads.transpose(0, 2, 1, 3).reshape(B, T, H * D)

    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> (B, T, C)"""
        qkv, qkv_cache = self.qkv.forward(x, needs_dx)                      # (B, T, 3C)
        q, k, v = self.split(qkv)                                           # (B, H, T, D) each
        needs_dqkv = needs_dx_after(self.qkv, needs_dx)
        o, P = self.attend(q, k, v, needs_dqkv)
        out, proj_cache = self.proj.forward(self.merge(o), needs_dqkv)       # merged without a copy, as o lies in memory
        heads = (q, k, v, o, P) if needs_dqkv else None
        return out, AttentionCache(qkv_cache, heads, proj_cache)

    def attend(self, q, k, v, keep=True):
        """q, k, v (B, H, T, D) -> o (B, H, T, D), and P of each tile if they are to be kept."""
        B, H, T, D = q.shape
        o = np.empty((B, T, H, D), q.dtype).transpose(0, 2, 1, 3)           # (B, H, T, D), in memory side by side as x's features
        P = []
        for b, t in tiles(B, H, T):
            seen = slice(0, t.stop)
            S = q[b, :, t] @ k[b, :, seen].swapaxes(-1, -2)                 # (b, H, t, seen)
            S *= 1 / math.sqrt(D)
            P_t, _ = self.softmax.forward(S, False, causal_mask(t.stop - t.start, S.dtype), overwrite=True)
            np.matmul(P_t, v[b, :, seen], out=o[b, :, t])
            if keep:
                P.append(P_t)
        return o, P

    def backward(self, dout, cache):
        """Forward, for one sequence and one head: S = q k' / sqrt(D) + mask, P = softmax(S), o = P v.

        Given do (T, D), the part of this head in dout W_o', want dq, dk, dv (T, D).

        Derivation.
            o_tc = sum_s P_ts v_sc          dv_sc = sum_t P_ts do_tc                dv = P' do
                                            dP_ts = sum_c do_tc v_sc                dP = do v'
            P = softmax(S) row by row       dS_ts = P_ts (dP_ts - sum_r dP_tr P_tr)
            and the inner sum needs no pass over (T, T):
                sum_r dP_tr P_tr = sum_r sum_c do_tc v_rc P_tr = sum_c do_tc o_tc
            S_ts = sum_c q_tc k_sc / sqrt(D)      dq = dS k / sqrt(D),    dk = dS' q / sqrt(D)
        Masked places have P = 0, hence dS = 0: no gradient flows from a position to its future. Tile by tile, a key collects from
        all queries that see it.

        Check: tests/test_gradients.py with B=2, H=3, T=5, D=4, where changing token t+1 leaves all outputs up to t as they were;
        tests/test_plain_forms.py, with many tiles, against the form without any.
        """
        do = self.proj.backward(dout, cache.proj)                           # (B, T, C)
        if do is None:
            return None
        q, k, v, o, P = cache.heads
        do = do.reshape(*do.shape[:2], self.n_head, q.shape[-1]).transpose(0, 2, 1, 3)        # (B, H, T, D)
        do_dot_o = np.einsum("bhtd,bhtd->bht", do, o)[..., None]
        return self.qkv.backward(self.attend_backward(do, do_dot_o, q, k, v, P), cache.qkv)

    def attend_backward(self, do, do_dot_o, q, k, v, P):
        """The derivation above, tile by tile: do (B, H, T, D), do_dot_o (B, H, T, 1) -> dq, dk, dv as one dqkv (B, T, 3C)."""
        B, H, T, D = q.shape
        dqkv = np.empty((B, T, 3 * H * D), do.dtype)
        dq, dk, dv = self.split(dqkv)                                       # views: what is written here lands in dqkv
        for (b, t), P_t in zip(tiles(B, H, T), P):
            seen = slice(0, t.stop)
            write = np.matmul if t.stop == T else add_product
            write(P_t.swapaxes(-1, -2), do[b, :, t], out=dv[b, :, seen])
            dP = do[b, :, t] @ v[b, :, seen].swapaxes(-1, -2)               # (b, H, t, seen)
            dS = self.softmax.backward(dP, P_t, do_dot_o[b, :, t])
            dS *= 1 / math.sqrt(D)
            np.matmul(dS, k[b, :, seen], out=dq[b, :, t])
            write(dS.swapaxes(-1, -2), q[b, :, t], out=dk[b, :, seen])
        return dqkv

    def extend(self, x, memory):
        """x (B, n, C), the next n positions -> (B, n, C): `forward` with only the last n rows of S."""
        o, *_ = self.attend_cached(x, memory)
        return self.proj.extend(self.merge(o), memory)

    def attend_cached(self, x, memory):
        """What the next n positions gather: o (B, H, n, D), and of what it was made: q, k (B, H, seen, D), P (B, H, n, seen)."""
        q, k, v = self.split(self.qkv.extend(x, memory))                    # (B, H, n, D)
        n, D = q.shape[-2:]
        new, seen = slice(memory.length, memory.length + n), slice(0, memory.length + n)
        memory.keys[:, :, new], memory.values[:, :, new] = k, v
        S = q @ memory.keys[:, :, seen].swapaxes(-1, -2)                    # (B, H, n, seen)
        S *= 1 / math.sqrt(D)
        P, _ = self.softmax.forward(S, False, causal_mask(n, S.dtype), overwrite=True)
        return P @ memory.values[:, :, seen], q, memory.keys[:, :, seen], P


def add_product(x, y, out):
    out += x @ y
