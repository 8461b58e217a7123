"""Prompt tuning: learned vectors are put before the text, as if they were words (Lester et al. 2021)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from ...inference.kv_cache import LayerKVCache
from ...nn import Module, Parameter
from ...nn.module import needs_dx_after
from ..recipe import Recipe, at_least_one, one_of
from ..wrapper import Wrapper, slot_of

LONGEST = 10      # the longest prompt, in contexts of the model: with a longer one, most of the computing would be for the prompt


class Prompt(Module):
    """[P; x]: n learned rows P (n, C) before those of each text."""

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
        """Forward: in each sequence b, row t of the output is P_t for t < n, and x_(t - n) after that.

        Given dout (B, n + T, C), want dP (n, C), dx (B, T, C).

        Derivation. Rows are only moved, and all sequences share P:   dP_tc = sum_b dout_btc,    dx_btc = dout_b,n+t,c

        Check: tests/test_methods.py, float64, relative error < 1e-7.
        """
        if self.vectors.trainable:
            self.vectors.grad += dout[:, :self.n].sum(axis=0)
        return dout[:, self.n:].copy() if cache else None


class PromptedCache(NamedTuple):
    prompt: object
    inner: object


class Prompted(Wrapper):
    """A block of a model with a prompt: the first block puts it before the text, and the last one drops its rows again.

    So nothing is predicted from the prompt's rows, and the loss does not count them. The words keep their positions. The prompt
    needs no position vectors: P can learn whatever they would add.
    """

    label = "prompt"
    can_be_identity = False

    def __init__(self, inner, prompt, first, last):
        super().__init__(inner)
        self.prompt, self.first, self.last = prompt, first, last

    def added(self):
        if self.first:                      # all blocks share the prompt; its parameters are listed once
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

        Derivation. The rows that are dropped have no influence, so their gradient is zero. Then the chain rule.

        Check: tests/test_methods.py.
        """
        if self.last:
            dout = np.concatenate([np.zeros((len(dout), self.prompt.n, dout.shape[2]), dout.dtype), dout], axis=1)
        dx = self.inner.backward(dout, cache.inner)
        return self.prompt.backward(dx, cache.prompt) if self.first and dx is not None else dx

    def forward_cached(self, x, kv_cache):
        """As elsewhere, but with arrays of keys and values long enough for the prompt too, which are in kv_cache.extra."""
        n, extra, at_start = self.prompt.n, kv_cache.extra, kv_cache.length == 0
        if at_start:
            B, H, T, D = kv_cache.keys.shape
            extra["keys"], extra["values"] = np.empty((2, B, H, n + T, D), kv_cache.keys.dtype)
            if self.first:
                x, _ = self.prompt.forward(x)
        length = 0 if at_start else n + kv_cache.length
        out = self.inner.forward_cached(x, LayerKVCache(extra["keys"], extra["values"], length, extra))
        return out[:, n:] if at_start and self.last else out


@dataclass(frozen=True)
class PromptTuning(Recipe):
    """Only n vectors train, which are put before every text.

    tokens      n
    start       words: the vectors of n random words of the vocabulary; noise: N(0, 0.02^2), as word vectors start in pretraining
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
            raise ValueError(f"a prompt of {self.tokens} tokens is too long for texts of at most {model.config.context}; "
                             f"choose at most {LONGEST * model.config.context}")
        one_of("start", self.start, ("words", "noise"))
        slots = [slot_of(model, block) for block in model.blocks]
        table = model.wte.weight.data
        words = table[rng.integers(0, len(table), self.tokens)]
        prompt = Prompt(words if self.start == "words" else rng.normal(0, 0.02, words.shape).astype(words.dtype))
        model.trainable = False
        for i, slot in enumerate(slots):
            slot.put(Prompted(slot.module, prompt, first=i == 0, last=i == len(slots) - 1))
        return model
