"""What a model remembers of a text, so that it can read on without starting over.

At position t, attention needs the keys and values of all positions up to t and nothing else from the past: all other layers look
at one position at a time. A position never looks ahead, so its keys and values stay what they are as the text grows. Kept, they
turn a step from T positions through the whole model into one: this is the "KV cache" of every language model in use.

`layer.extend(x, memory)` is `forward` for the *next* positions of a text. As with forward's caches, the memory is passed, never
kept on `self`: a model can be in the middle of many texts.
"""

from typing import NamedTuple

import numpy as np


class LayerKVCache(NamedTuple):
    """The part of one block. There is room for a whole context; the first `length` positions hold something."""

    keys: np.ndarray          # (B, H, context, D)
    values: np.ndarray        # (B, H, context, D)
    length: int
    own: dict                 # empty at first: for what a layer of another kind has to remember


class KVCache:
    """The keys and values of B texts of equal length, of every block. `GPT.memory` makes one that is empty.

    A position's place is written once and then only read; nothing is ever moved. To go back to an earlier point of the text, set
    `length` to it: what lies beyond will be written anew.
    """

    def __init__(self, n_layer, batch, n_head, context, head_size, dtype):
        self.keys, self.values = np.empty((2, n_layer, batch, n_head, context, head_size), dtype)
        self.own = [{} for _ in range(n_layer)]
        self.length = 0

    def layers(self):
        """One LayerMemory for each block, as views."""
        return [LayerKVCache(keys, values, self.length, own) for keys, values, own in zip(self.keys, self.values, self.own)]
