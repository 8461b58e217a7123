"""Rotary positions: queries and keys are turned by angles that grow with their position (Su et al. 2021, RoFormer)."""

from functools import lru_cache

import numpy as np

from .module import Module


@lru_cache(maxsize=2)
def turns(T, D, base, dtype):
    """exp(i t theta_j) with theta_j = base^(-2j/D), for each position t and each pair j of a head: complex (T, 1, D/2)"""
    theta = base ** (-2 * np.arange(D // 2) / D)
    return np.exp(1j * np.outer(np.arange(T), theta)).astype(dtype)[:, None]


class Rotary(Module):
    """q_j <- q_j exp(i t theta_j), and k likewise, in each head, at position t; v stays. Nothing is learned.

    The features of a head are taken as D/2 complex numbers: features 2j and 2j + 1 are the real and the imaginary part of q_j. To
    multiply by exp(i phi) turns the pair by the angle phi. Why this tells positions: the score of query t and key s is the real
    part of
        sum_j (q_j exp(i t theta_j)) conj(k_j exp(i s theta_j)) = sum_j q_j conj(k_j) exp(i (t - s) theta_j)
    in which positions occur only as t - s. Pair 0 turns by one radian a position and tells neighbours apart; the last pairs
    turn slowly and tell far from near.

    The plain form, for x (B, T, H, D), q or k, and phi (T, 1, D/2) = t theta_j:
        even, odd = x[..., ::2], x[..., 1::2]
        y[..., ::2] = even * cos(phi) - odd * sin(phi)
        y[..., 1::2] = even * sin(phi) + odd * cos(phi)

    n_turned    heads of queries and of keys together, H + K; the K heads of values after them stay

    (The files of Llama pair feature j with j + D/2 instead of its neighbour, so hub/ reorders the columns of W_q and W_k.)
    """

    def __init__(self, n_turned, D, base=10_000.0):
        self.n_turned, self.D, self.base = n_turned, D, base

    def forward(self, qkv, needs_dx=True):
        """qkv (B, T, (H + 2K) D), of which the first (H + K) D are turned -> the same shape"""
        return self.turned(qkv), needs_dx

    def backward(self, dout, cache):
        """Forward: y = R x for each pair of features, with R = (cos phi, -sin phi; sin phi, cos phi).
        Given dout, want dx, both (B, T, (H + 2K) D).
        Derivation. dx = R' dout, and the transpose of a rotation is the rotation back: phi becomes -phi, and exp(i phi) its
        conjugate. The values, which were only passed on, pass their gradient on.
        Check: tests/test_gradients.py, float64, relative error < 1e-7; tests/test_torch.py.
        """
        needs_dx = cache
        return self.turned(dout, back=True) if needs_dx else None

    def forward_cached(self, qkv, kv_cache):
        """qkv (B, n, (H + 2K) D), the next n positions -> the same shape"""
        return self.turned(qkv, kv_cache.length)

    def turned(self, x, start=0, back=False):
        """x with its queries and keys turned, or turned back; a new array."""
        y = np.array(x, order="C")
        B, T, _ = x.shape
        end, pairs = start + T, np.result_type(x.dtype, np.complex64)
        turn = turns(1 << (end - 1).bit_length(), self.D, self.base, pairs)[start:end]
        q_and_k = y[..., :self.n_turned * self.D].view(pairs).reshape(B, T, self.n_turned, self.D // 2)   # a view of y
        q_and_k *= turn.conj() if back else turn
        return y
