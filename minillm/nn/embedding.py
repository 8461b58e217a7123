"""Embedding: a table of vectors, read by index on the way in and, tied, as the output layer on the way out."""

import numpy as np

from .linear import LinearCache
from .module import Module, Parameter


class Embedding(Module):
    """Rows of a table W (V, C)."""

    kind = "embedding"

    def __init__(self, n_rows, n_embd, rng, std=0.02, dtype=np.float32):
        self.weight = Parameter(rng.normal(0.0, std, (n_rows, n_embd)).astype(dtype, copy=False))

    def forward(self, index):
        """index (...) -> out (..., C) = W[index]; the cache is the index itself."""
        return self.weight.data[index], index

    def backward(self, dout, cache):
        """Forward: out_nc = W_{index(n), c}, which is the matrix product O W with the one-hot rows O_nv = [index(n) = v].
        Given dout (N, C), want dW (V, C). An index has no gradient, so there is no dx.
        Derivation.
            dW_vc = sum_n O_nv dout_nc          dW = O' dout
        that is: each row of dout is added to the row of dW from which it was read, and rows read twice get both. The plain form:
            np.add.at(dW, index, dout)
        Sorted so that equal indices stand side by side, the rows can be summed as neighbours, in a quarter of the time.
        Check: tests/test_gradients.py, with an index that repeats rows and misses others.
        """
        if not self.weight.trainable:
            return
        index, rows = cache.reshape(-1), dout.reshape(-1, dout.shape[-1])
        order = np.argsort(index, kind="stable")
        v, first = np.unique(index[order], return_index=True)               # each index once, and where its rows begin
        self.weight.grad[v] += np.add.reduceat(rows[order], first)

    def unembed(self, x, needs_dx=True):
        """The same table as output layer ("tied"): logit of word v = x . W_v.   x (..., C) -> (..., V)"""
        W = self.weight
        rows = x.reshape(-1, W.shape[1])
        logits = rows @ W.data.T                                            # (N, V)
        cache = LinearCache(rows if W.trainable else None, needs_dx)
        return logits.reshape(*x.shape[:-1], W.shape[0]), cache

    def unembed_backward(self, dout, cache):
        """Forward: logits_nv = sum_c x_nc W_vc.
        Given dout (N, V), want dW (V, C), dx (N, C).
        Derivation. As for Linear with W' in place of W:
            dW_vc = sum_n dout_nv x_nc          dW = dout' x
            dx_nc = sum_v dout_nv W_vc          dx = dout W
        W is also read on the way in. The loss depends on it along both ways, so the total derivative is the sum of both, and
        since gradients are accumulated (+=), nothing more is needed to tie the two. (`add_product` is +=, too; it writes instead
        where it is the first to add to a gradient of zeros.)
        Check: tests/test_gradients.py; the sum of both ways through the whole GPT.
        """
        W = self.weight
        rows = dout.reshape(-1, W.shape[0])
        if W.trainable:
            W.add_product(rows.T, cache.x)
        if not cache.needs_dx:
            return None
        return (rows @ W.data).reshape(*dout.shape[:-1], W.shape[1])


class OutputTable(Embedding):
    """A table that is only the output layer: not tied to the one that is read on the way in."""

    kind = "head"
