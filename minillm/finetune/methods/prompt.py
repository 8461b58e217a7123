"""Prompt tuning: learned vectors stand before the text, as if they were words (Lester et al. 2021)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...inference.kv_cache import LayerKVCache
from ...nn import Module, Parameter
from ...nn.module import needs_dx_after
from ..recipe import Recipe, at_least_one, one_of
from ..wrapper import Wrapper, slot_at

LONGEST = 10      # times the context of a model: a longer prompt would leave no time for the text


class Prompt(Module):
    """[P; x]: n learned rows before those of each text."""

    def __init__(self, vectors):
        """vectors (n, C)"""
        self.vectors = Parameter(vectors)

    @property
    def n(self):
        return len(self.vectors.data)

    def forward(self, x, needs_dx=True):
        """x (B, T, C) -> (B, n + T, C)"""
        P = np.broadcast_to(self.vectors.data, (len(x), *self.vectors.shape))
        return np.concatenate([P, x], axis=1), needs_dx

    def backward(self, dout, cache):
        """Forward: row t of the output is P_t for t < n, and x_(t - n) behind them, in each sequence b.

        Given dout (B, n + T, C), want dP (n, C), dx (B, T, C).

        Derivation. Rows are only moved, and all sequences share P:   dP_tc = sum_b dout_btc,    dx_btc = dout_b(n + t)c

        Check: tests/test_methods.py, float64, relative error < 1e-7.
        """
        if self.vectors.trainable:
            self.vectors.grad += dout[:, :self.n].sum(axis=0)
        return dout[:, self.n:].copy() if cache else None


class PromptedCache(NamedTuple):
    prompt: object
    inner: object


class Prompted(Wrapper):
    """A block of a model whose texts begin with a prompt. The first block gets it, the last lets its rows go again.

    So nothing is predicted from the prompt's rows, and no loss counts them. The words keep their positions; the prompt has none
    of its own, since P may hold whatever a position would add to it.
    """

    label = "prompt"

    def __init__(self, inner, prompt, first, last):
        super().__init__(inner)
        self.prompt, self.first, self.last = prompt, first, last

    def added(self):
        if self.first:                      # of all that share the prompt, one has its parameters
            yield "prompt", self.prompt

    def forward(self, x, needs_dx=True):
        prompt_cache = None
        if self.first:
            x, prompt_cache = self.prompt.forward(x, needs_dx)
            needs_dx = needs_dx_after(self.prompt, needs_dx)
        out, inner_cache = self.inner.forward(x, needs_dx)
        return out[:, self.prompt.n:] if self.last else out, PromptedCache(prompt_cache, inner_cache)

    def backward(self, dout, cache):
        """Forward: out = drop_n(f([P; x])), in the first and in the last block.

        Derivation. What is dropped has no influence: its rows of the gradient are zero. Then the chain rule.

        Check: tests/test_methods.py.
        """
        if self.last:
            dout = np.concatenate([np.zeros((len(dout), self.prompt.n, dout.shape[2]), dout.dtype), dout], axis=1)
        dx = self.inner.backward(dout, cache.inner)
        return self.prompt.backward(dx, cache.prompt) if self.first and dx is not None else dx

    def forward_cached(self, x, kv_cache):
        """With a cache that has room for the prompt; its keys and values are made with those of the first words."""
        n, extra, begins = self.prompt.n, kv_cache.extra, kv_cache.length == 0
        if begins:
            B, H, T, D = kv_cache.keys.shape
            extra["keys"], extra["values"] = np.empty((2, B, H, n + T, D), kv_cache.keys.dtype)
            if self.first:
                x, _ = self.prompt.forward(x)
        length = 0 if begins else n + kv_cache.length
        out = self.inner.forward_cached(x, LayerKVCache(extra["keys"], extra["values"], length, extra))
        return out[:, n:] if begins and self.last else out


@dataclass(frozen=True)
class PromptTuning(Recipe):
    """n vectors before every text train, and nothing else.

    tokens      n
    start       words: the vectors of n random words of the vocabulary; noise: as small as words' vectors are when training begins
    """

    tokens: int = 16
    start: str = "words"

    method: ClassVar[str] = "prompt"
    lr: ClassVar[float] = 0.06

    def adds(self, config):
        return min(self.tokens, LONGEST * config.context) * config.n_embd

    def apply(self, model, rng=None):
        rng = rng or np.random.default_rng(0)
        at_least_one("number of tokens", self.tokens)
        if self.tokens > LONGEST * model.config.context:
            raise ValueError(f"a prompt of {self.tokens} tokens is too long beside texts of at most {model.config.context}; "
                             f"choose at most {LONGEST * model.config.context}")
        one_of("start", self.start, ("words", "noise"))
        places = [slot_at(model, f"blocks.{i}") for i in range(len(model.blocks))]
        table = model.wte.weight.data
        words = table[rng.integers(0, len(table), self.tokens)]
        prompt = Prompt(words if self.start == "words" else rng.normal(0, 0.02, words.shape).astype(words.dtype))
        model.trainable = False
        for i, slot in enumerate(places):
            slot.put(Prompted(slot.module, prompt, first=i == 0, last=i == len(places) - 1))
