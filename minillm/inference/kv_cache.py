"""The KV cache: the keys and values of a text so far, so that the next token does not need the whole text computed again.

At position t, attention needs the keys and values of all positions up to t, and nothing else of earlier positions: every other
layer works on one position at a time. A position never sees later ones, so its keys and values do not change as the text grows.
If they are kept, a step computes one position instead of T.

`layer.forward_cached(x, kv_cache)` is `forward` for the *next* positions of a text. Like the cache for backward, the KV cache is
passed as an argument and never stored on `self`, so one model can continue many texts at a time.
"""

from typing import NamedTuple

import numpy as np


class LayerKVCache(NamedTuple):
    """The part of one block. It has room for a whole context; only the first `length` positions are filled."""

    keys: np.ndarray          # (B, K, context, D)
    values: np.ndarray        # (B, K, context, D)
    length: int
    extra: dict               # empty at first; a wrapper or another kind of layer keeps here what it needs


class KVCache:
    """The keys and values of B texts of equal length in every block of a model; empty at first, filled by `GPT.forward_cached`.

    Each position is written once and never moved. To go back to an earlier point of the text, set `length` to it: the positions
    after it will be overwritten.
    """

    def __init__(self, model, batch=1):
        c = model.config
        shape = c.n_layer, batch, c.kv_heads, c.context, c.head_dim
        self.keys, self.values = np.empty((2, *shape), model.wte.weight.data.dtype)
        self.extra = [{} for _ in range(c.n_layer)]
        self.length = 0

    def layers(self):
        """One LayerKVCache for each block; its arrays are views."""
        return [LayerKVCache(*arrays, self.length, extra) for *arrays, extra in zip(self.keys, self.values, self.extra)]
