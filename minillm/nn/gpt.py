"""GPT: the whole language model, forward and backward (Radford et al. 2019, GPT-2's arrangement)."""

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from .block import Block
from .embedding import Embedding, UnembedCache
from .layernorm import LayerNorm
from .memory import KVCache
from .module import NO_BACKWARD, Module, backward_chain, forward_chain

LARGEST = {"vocab_size": 10_000_000, "context": 1_000_000, "n_layer": 1000, "n_head": 1000, "n_embd": 100_000}


@dataclass(frozen=True)
class Config:
    """The shape of a GPT. ValueError says which size does not fit."""

    vocab_size: int           # V, words the model knows
    context: int              # T, the longest text it can read
    n_layer: int = 4
    n_head: int = 4           # H
    n_embd: int = 128         # C = H D

    def __post_init__(self):
        for name, size in asdict(self).items():
            if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
                raise ValueError(f"{name} is {str(size)[:20]!r}, but must be a whole number")
            if size < 1:
                raise ValueError(f"{name} is {size}, but must be at least 1")
            if size > LARGEST[name]:
                raise ValueError(f"{name} is above {LARGEST[name]:,d}, the largest that a GPT here can have")
        if self.n_embd % self.n_head:
            raise ValueError(f"the width {self.n_embd} cannot be split over {self.n_head} heads: "
                             f"choose a multiple of {self.n_head}")

    @property
    def parameters(self):
        """How many numbers a GPT of this shape has, without building it."""
        V, T, L, C = self.vocab_size, self.context, self.n_layer, self.n_embd
        return (V + T) * C + L * (12 * C * C + 13 * C) + 2 * C


class GPTCache(NamedTuple):
    wte: np.ndarray           # the tokens
    wpe: np.ndarray           # the positions
    layers: list              # of the blocks and ln_f
    head: UnembedCache


class GPT(Module):
    """tokens (B, T) -> logits (B, T, V); the logits at t are about token t + 1.

    Weights start as in GPT-2: N(0, 0.02), with those that write into the residual stream smaller by sqrt(2 n_layer), since
    that many of them add up in it.
    """

    def __init__(self, config, rng, dtype=np.float32):
        self.config = config
        V, T, C = config.vocab_size, config.context, config.n_embd
        proj_std = 0.02 / math.sqrt(2 * config.n_layer)
        self.wte = Embedding(V, C, rng, dtype=dtype)
        self.wpe = Embedding(T, C, rng, dtype=dtype)
        self.blocks = [Block(C, config.n_head, rng, 0.02, proj_std, dtype) for _ in range(config.n_layer)]
        self.ln_f = LayerNorm(C, dtype)

    def embed(self, tokens, start=0):
        """x_btc = word_btc + place_tc: what is read, and where, from `start` on. Returns x and the caches of both tables."""
        T = start + tokens.shape[1]
        if self.config.context < T:
            raise ValueError(f"a text of {T} tokens does not fit into the context of {self.config.context}")
        word, wte_cache = self.wte.forward(tokens)                          # (B, T, C)
        place, wpe_cache = self.wpe.forward(np.arange(start, T))            # (T, C)
        x = word
        x += place
        return x, wte_cache, wpe_cache

    def forward(self, tokens):
        """tokens (B, T) of ints -> logits (B, T, V), cache. ValueError if T is longer than the context."""
        x, wte_cache, wpe_cache = self.embed(tokens)                        # (B, T, C)
        needs_dx = self.wte.weight.trainable or self.wpe.weight.trainable
        layers = [*self.blocks, self.ln_f]
        x, layer_caches = forward_chain(layers, x, needs_dx)
        needs_dx = needs_dx or any(layer.trainable for layer in layers)
        logits, head_cache = self.wte.unembed(x, needs_dx)                  # (B, T, V), the tied head
        return logits, GPTCache(wte_cache, wpe_cache, layer_caches, head_cache)

    def backward(self, dlogits, cache):
        """The forward pass in reverse, line for line; fills p.grad of every trainable parameter.

        Given dlogits (B, T, V). Tokens have no gradient, so nothing is returned.

        Derivation. x_btc = word_btc + place_tc: a sum hands dx on to both terms, and place, which all B sequences share, gets
        the sum over them: dplace_tc = sum_b dx_btc. Everything else is the chain rule.

        Check: tests/test_gradients.py (whole model), tests/test_torch.py (against autograd).
        """
        dx = self.wte.unembed_backward(dlogits, cache.head)
        dx = backward_chain([*self.blocks, self.ln_f], dx, cache.layers)
        if dx is None:
            return
        self.wpe.backward(dx.sum(axis=0), cache.wpe)
        self.wte.backward(dx, cache.wte)

    def logits(self, tokens):
        """Only the answer: like `forward`, but nothing is kept, nor computed, for a backward pass."""
        x, _, _ = self.embed(tokens)
        for layer in [*self.blocks, self.ln_f]:
            x, _ = layer.forward(x, NO_BACKWARD)
        return self.wte.unembed(x, needs_dx=False)[0]

    def memory(self, batch=1):
        """An empty memory for `batch` texts, which `extend` fills."""
        c = self.config
        return KVCache(c.n_layer, batch, c.n_head, c.context, c.n_embd // c.n_head, self.wte.weight.data.dtype)

    def extend(self, tokens, memory):
        """The next tokens (B, n) of B texts -> their logits (B, n, V), the same as `logits` finds reading the texts anew.

        The memory grows by n positions. ValueError if the texts would become longer than the context.
        """
        x, _, _ = self.embed(tokens, memory.length)                         # (B, n, C)
        for block, part in zip(self.blocks, memory.layers()):
            x = block.extend(x, part)
        memory.length += tokens.shape[1]                                    # only now: an error before leaves all as it was
        x = self.ln_f.extend(x, memory)
        return self.wte.unembed(x, needs_dx=False)[0]
