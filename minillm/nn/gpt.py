"""GPT: the whole language model, forward and backward (Radford et al. 2019, GPT-2's arrangement)."""

import math
from typing import NamedTuple

import numpy as np

from .block import NORMS, Block
from .embedding import Embedding, OutputTable
from .linear import LinearCache
from .module import NO_BACKWARD, Module, backward_chain, forward_chain


class GPTCache(NamedTuple):
    wte: np.ndarray           # the tokens
    wpe: np.ndarray | None    # the positions, if they are learned
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
        self.wpe = Embedding(c.context, c.n_embd, rng, dtype=dtype) if c.positions == "learned" else None
        self.blocks = [Block(c.n_embd, c.n_head, rng, 0.02, proj_std, dtype, **c.of_block()) for _ in range(c.n_layer)]
        self.ln_f = NORMS[c.norm](c.n_embd, dtype, c.norm_eps)
        self.lm_head = None if c.tied else OutputTable(c.vocab_size, c.n_embd, rng, dtype=dtype)

    @property
    def head(self):
        """The table whose rows the output is compared with: that of the words ("tied"), or one of its own."""
        return self.lm_head or self.wte

    def embed(self, tokens, start=0):
        """x_btc = word_btc + position_tc: what is read, and where, from `start` on. Returns x and the caches of both tables.

        Rotary positions have no table, and come in within attention.
        """
        T = start + tokens.shape[1]
        if self.config.context < T:
            raise ValueError(f"a text of {T} tokens does not fit into the context of {self.config.context}")
        x, wte_cache = self.wte.forward(tokens)                             # (B, T, C)
        if self.wpe is None:
            return x, wte_cache, None
        position, wpe_cache = self.wpe.forward(np.arange(start, T))         # (T, C)
        x += position
        return x, wte_cache, wpe_cache

    def forward(self, tokens):
        """tokens (B, T) of ints -> logits (B, T, V), cache. ValueError if T is longer than the context."""
        x, wte_cache, wpe_cache = self.embed(tokens)                        # (B, T, C)
        needs_dx = self.wte.weight.trainable or (self.wpe is not None and self.wpe.weight.trainable)
        layers = [*self.blocks, self.ln_f]
        x, layer_caches = forward_chain(layers, x, needs_dx)
        needs_dx = needs_dx or any(layer.trainable for layer in layers)
        logits, head_cache = self.head.unembed(x, needs_dx)                 # (B, T, V)
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
        dx = self.head.unembed_backward(dlogits, cache.head)
        dx = backward_chain([*self.blocks, self.ln_f], dx, cache.layers)
        if dx is None:
            return
        if self.wpe is not None:
            self.wpe.backward(dx.sum(axis=0), cache.wpe)
        self.wte.backward(dx, cache.wte)

    def logits(self, tokens):
        """Only the answer: like `forward`, but nothing is kept, nor computed, for a backward pass. Also as `model(tokens)`."""
        x, _, _ = self.embed(tokens)
        for layer in [*self.blocks, self.ln_f]:
            x, _ = layer.forward(x, NO_BACKWARD)
        return self.head.unembed(x, needs_dx=False)[0]

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
        return self.head.unembed(x, needs_dx=False)[0]
