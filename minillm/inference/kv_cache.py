"""The KV cache: what a model keeps of a text, so that it can read on without starting over.

At position t, attention needs the keys and values of all positions up to t and nothing else from the past: all other layers look
at one position at a time. A position never looks ahead, so its keys and values stay what they are as the text grows. Kept, they
turn a step from T positions through the whole model into one.

`layer.forward_cached(x, kv_cache)` is `forward` for the *next* positions of a text. As with what backward needs, the cache is
passed, never kept on `self`: a model can be in the middle of many texts.
"""

from typing import NamedTuple

import numpy as np


class LayerKVCache(NamedTuple):
    """The part of one block. There is room for a whole context; the first `length` positions hold something."""

    keys: np.ndarray          # (B, H, context, D)
    values: np.ndarray        # (B, H, context, D)
    length: int
    more: dict                # empty at first: for what a layer of another kind has to keep


class KVCache:
    """The keys and values of B texts of equal length, of every block of a model; empty at first, filled by `GPT.forward_cached`.

    A position's place is written once and then only read; nothing is ever moved. To go back to an earlier point of the text, set
    `length` to it: what lies beyond will be written anew.
    """

    def __init__(self, model, batch=1):
        c = model.config
        shape = c.n_layer, batch, c.n_head, c.context, c.n_embd // c.n_head
        self.keys, self.values = np.empty((2, *shape), model.wte.weight.data.dtype)
        self.more = [{} for _ in range(c.n_layer)]
        self.length = 0

    def layers(self):
        """One LayerKVCache for each block, as views."""
        return [LayerKVCache(keys, values, self.length, more) for keys, values, more in zip(self.keys, self.values, self.more)]
