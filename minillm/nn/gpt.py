"""GPT: the whole language model, forward and backward (Radford et al. 2019, GPT-2's arrangement)."""

import math
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import numpy as np

from .block import ACTIVATIONS, MLPS, NORMS, Block
from .embedding import Embedding
from .linear import LinearCache
from .module import NO_BACKWARD, Module, backward_chain, forward_chain

LARGEST = {"vocab_size": 10_000_000, "context": 1_000_000, "n_layer": 1000, "n_head": 1000, "n_embd": 100_000}
POSITIONS = {"learned": Embedding}
PARTS = {"norm": NORMS, "positions": POSITIONS, "mlp": MLPS, "activation": ACTIVATIONS}


@dataclass(frozen=True)
class Config:
    """The shape of a GPT, and of what it is built. ValueError says which size or part does not fit."""

    vocab_size: int           # V, words the model knows
    context: int              # T, the longest text it can read
    n_layer: int = 4
    n_head: int = 4           # H
    n_embd: int = 128         # C = H D
    norm: str = "layernorm"   # one of NORMS (block.py), as all that follow are names in a table of PARTS
    positions: str = "learned"
    mlp: str = "mlp"
    activation: str = "gelu"

    def __post_init__(self):
        for name, largest in LARGEST.items():
            size = getattr(self, name)
            if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
                raise ValueError(f"{name} is {str(size)[:20]!r}, but must be a whole number")
            if not 1 <= size <= largest:
                raise ValueError(f"{name} is {size}, but must be at least 1" if size < 1 else
                                 f"{name} is above {largest:,d}, the largest that a GPT here can have")
            object.__setattr__(self, name, int(size))       # a NumPy integer could not be saved as JSON
        for part, choices in PARTS.items():
            if getattr(self, part) not in choices:
                raise ValueError(f"{part} is {str(getattr(self, part))[:20]!r}, but must be one of {', '.join(choices)}")
        if self.n_embd % self.n_head:
            raise ValueError(f"the width {self.n_embd} cannot be split over {self.n_head} heads: "
                             f"choose a multiple of {self.n_head}")

    def to_json(self):
        """For a file: all sizes, and those parts that are not as in GPT-2."""
        usual = {field.name: field.default for field in fields(self) if field.name in PARTS}
        return {name: value for name, value in asdict(self).items() if usual.get(name) != value}


class GPTCache(NamedTuple):
    wte: np.ndarray           # the tokens
    wpe: np.ndarray           # the positions
    layers: list              # of the blocks and ln_f
    head: LinearCache


class GPT(Module):
    """tokens (B, T) -> logits (B, T, V); the logits at t are about token t + 1.

    Weights start as in GPT-2: N(0, 0.02^2), but smaller by a factor of sqrt(2 n_layer) where they write into the residual stream,
    since that many of them add up in it.
    """

    def __init__(self, config, rng, dtype=np.float32):
        self.config = c = config
        proj_std = 0.02 / math.sqrt(2 * c.n_layer)
        self.wte = Embedding(c.vocab_size, c.n_embd, rng, dtype=dtype)
        self.wpe = POSITIONS[c.positions](c.context, c.n_embd, rng, dtype=dtype)
        self.blocks = [Block(c.n_embd, c.n_head, rng, 0.02, proj_std, dtype, c.norm, c.mlp, c.activation)
                       for _ in range(c.n_layer)]
        self.ln_f = NORMS[c.norm](c.n_embd, dtype)

    def embed(self, tokens, start=0):
        """x_btc = word_btc + position_tc: what is read, and where, from `start` on. Returns x and the caches of both tables."""
        T = start + tokens.shape[1]
        if self.config.context < T:
            raise ValueError(f"a text of {T} tokens does not fit into the context of {self.config.context}")
        word, wte_cache = self.wte.forward(tokens)                          # (B, T, C)
        position, wpe_cache = self.wpe.forward(np.arange(start, T))         # (T, C)
        x = word
        x += position
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
        """The forward pass in reverse, line for line; adds to p.grad of every trainable parameter.

        Given dlogits (B, T, V). Tokens have no gradient, so nothing is returned. RuntimeError before zero_grad.
        Derivation. x_btc = word_btc + position_tc: a sum hands dx on to both terms, and position, which all B texts share, gets
        the sum over them: dposition_tc = sum_b dx_btc. Everything else is the chain rule.
        Check: tests/test_gradients.py (whole model), tests/test_torch.py (against autograd).
        """
        if any(p.trainable and not p.has_grad for p in self.parameters().values()):
            raise RuntimeError("there are no gradients to add to; call model.zero_grad() before the backward pass")
        dx = self.wte.unembed_backward(dlogits, cache.head)
        dx = backward_chain([*self.blocks, self.ln_f], dx, cache.layers)
        if dx is None:
            return
        self.wpe.backward(dx.sum(axis=0), cache.wpe)
        self.wte.backward(dx, cache.wte)

    def logits(self, tokens):
        """Only the answer: like `forward`, but nothing is kept, nor computed, for a backward pass. Also as `model(tokens)`."""
        x, _, _ = self.embed(tokens)
        for layer in [*self.blocks, self.ln_f]:
            x, _ = layer.forward(x, NO_BACKWARD)
        return self.wte.unembed(x, needs_dx=False)[0]

    def __call__(self, tokens):
        return self.logits(np.asarray(tokens))

    def forward_cached(self, tokens, kv_cache):
        """The next tokens (B, n) of B texts -> their logits (B, n, V), as `logits` gives them reading the texts anew.

        The cache (inference/kv_cache.py) grows by n positions. ValueError if the texts would become longer than the context.
        """
        x, _, _ = self.embed(tokens, kv_cache.length)                       # (B, n, C)
        for block, part in zip(self.blocks, kv_cache.layers()):
            x = block.forward_cached(x, part)
        kv_cache.length += tokens.shape[1]                                  # only now: an error before leaves all as it was
        x = self.ln_f.forward_cached(x, kv_cache)
        return self.wte.unembed(x, needs_dx=False)[0]
