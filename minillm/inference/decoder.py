"""Generate one token at a time, in as few calls of NumPy as the maths allows.

The plain form is what `GPT.forward_cached` does with one token, at position t (each bias b is that of its own layer):

    x = wte[token] + wpe[t]                                                 (C,)
    for each block:
        q, k, v = norm_1(x) W_qkv + b         each cut into heads of D features; k and v go into the KV cache
        x += concat_h(softmax(q_h K_h' / sqrt(D)) V_h) W_proj + b         K_h, V_h (t + 1, D): keys and values 0..t in the cache
        x += gelu(norm_2(x) W_fc + b) W_out + b
    logits = norm_f(x) wte'                                                 (V,)

    norm(x) = x_hat g + b,   x_hat = (x - mean(x)) / sqrt(var(x) + eps)

or in Llama's parts: no wpe, but q and k turned by their position (nn/rotary.py); silu(norm_2(x) W_gate) norm_2(x) W_up in place
of the GELU; x_hat = x / sqrt(mean(x^2) + eps), no biases, several heads of q for each K and V, and an output table that may be
another one than wte.

These are about eighty calls of NumPy for each block. Reading the matrices from RAM takes the same time in any form; in a small
model, most of the rest is the cost of the calls themselves, about a microsecond each. But much of what they compute is the same
for every token. That is computed once, into the weights (folding.py), which leaves about twenty-five calls for each block.

Check: tests/test_decoder.py, against `GPT.logits`, float64 to 1e-10, with all weights perturbed.
"""

import math
import warnings
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..ground.pieces import row_mean
from ..nn import (
    GELU,
    GPT,
    MLP,
    AttentionHeads,
    Block,
    CausalSelfAttention,
    Embedding,
    LayerNorm,
    Linear,
    OutputTable,
    RMSNorm,
    Rotary,
    SiLUGate,
    SwiGLU,
)
from ..nn.rotary import turns
from .folding import GELU_RATIO, fold, fold_norm
from .kv_cache import KVCache


class Decoder:
    """Continues the B texts of a KV cache with a copy of the model's weights as they are now; later changes are not seen.

    NumPy is faster with vectors (C,) than with matrices (1, C), so a single text has no batch axis: read (B, C) below as (C,).
    """

    def __init__(self, model, kv_cache):
        n_layer, B, K, T, D = kv_cache.keys.shape
        H, C, dtype = model.config.n_head, model.config.n_embd, kv_cache.keys.dtype
        batch_axis = () if B == 1 else (B,)
        self.kv_cache, self.context, self.eps = kv_cache, T, C * model.config.norm_eps
        self.keys = kv_cache.keys.reshape(n_layer, *batch_axis, K, T, D).swapaxes(-1, -2)   # views: (layers, B, K, D, T)
        self.values = kv_cache.values.reshape(n_layer, *batch_axis, K, T, D)

        centred = isinstance(model.ln_f, LayerNorm)
        tables = (None if table is None else table.weight.data for table in (model.wte, model.wpe))
        self.wte, self.wpe = (table - row_mean("nc->n", table) if centred and table is not None else table for table in tables)
        self.blocks = [fold(block, D, centred) for block in model.blocks]
        self.head = fold_norm(model.ln_f, model.head.weight.data.T)                         # (C + 1, V)

        # Arrays for results, allocated once, and views of them in the shapes in which they are written.
        F = len(self.blocks[0].mlp_proj) - 1
        self.x_hat_and_1, self.o_and_1, self.h_and_1 = (np.ones((*batch_axis, n + 1), dtype) for n in (C, C, F))
        self.x_hat, self.h = self.x_hat_and_1[..., :-1], self.h_and_1[..., :-1]
        self.o = self.o_and_1[..., :-1].reshape(*batch_axis, K, H // K, D)
        self.qkv = np.empty((*batch_axis, (H + 2 * K) * D), dtype)
        heads = self.qkv.reshape(*batch_axis, H + 2 * K, D)
        self.q = heads[..., :H, :].reshape(self.o.shape)                                    # (B, K, G, D)
        self.k, self.v = heads[..., H:-K, :], heads[..., -K:, :]                            # (B, K, D) each
        self.turns = None
        if model.config.positions == "rotary":
            pairs = np.result_type(dtype, np.complex64)
            self.turns = turns(T, D, model.config.rope_base, pairs)
            self.q_and_k = heads[..., :-K, :].view(pairs)                                   # (B, H + K, D/2)
        self.activate = silu_gate if isinstance(model.blocks[0].mlp, SwiGLU) else gelu
        self.inverse_length = inverse_lengths if batch_axis else inverse_length
        self.shape = *batch_axis, C

    def step(self, tokens):
        """The next token of each text, B ids -> the logits of the token after it, (B, V). The cache grows by one position.

        ValueError if the context is full.
        """
        t = self.kv_cache.length
        if t == self.context:
            raise ValueError(f"a text of {t + 1} tokens does not fit into the context of {self.context}")
        x = self.wte[tokens].reshape(self.shape)                                            # (B, C)
        if self.wpe is not None:
            x += self.wpe[t]
        for weights, keys, values in zip(self.blocks, self.keys[..., :t + 1], self.values[..., :t + 1, :]):
            x += self.attention(x, weights, keys, values)
            x += self.mlp(x, weights)
        self.kv_cache.length = t + 1
        return self.norm(x).dot(self.head).reshape(-1, self.head.shape[1])

    def norm(self, x):
        """x (B, C) -> [x_hat / sqrt(C), 1], (B, C + 1)"""
        np.multiply(x, self.inverse_length(x, self.eps), out=self.x_hat)
        return self.x_hat_and_1

    def attention(self, x, weights, keys, values):
        """x (B, C) -> (B, C). keys (B, K, D, t + 1) and values (B, K, t + 1, D) are views of the cache, up to position t."""
        self.norm(x).dot(weights.qkv, out=self.qkv)
        if self.turns is not None:
            self.q_and_k *= self.turns[keys.shape[-1] - 1]
        keys[..., -1] = self.k                                                              # writes into the cache
        values[..., -1, :] = self.v
        P = np.matmul(self.q, keys)                                                         # (B, K, G, t + 1)
        P -= np.maximum.reduce(P, axis=-1, keepdims=True)
        np.exp(P, out=P)
        P /= np.add.reduce(P, axis=-1, keepdims=True)
        np.matmul(P, values, out=self.o)                                                    # (B, K, G, D)
        return self.o_and_1.dot(weights.attn_proj)

    def mlp(self, x, weights):
        """x (B, C) -> (B, C)"""
        self.activate(self.norm(x).dot(weights.fc), self.h)
        return self.h_and_1.dot(weights.mlp_proj)


def gelu(z, h):
    """z (B, F) -> h (B, F), the GELU that is left to do (folding.py)"""
    u = z * z
    u += GELU_RATIO
    u *= z
    np.tanh(u, out=u)
    u *= z
    np.add(u, z, out=h)


def silu_gate(gate_up, h):
    """gate_up (B, 2F) -> h (B, F)"""
    F = h.shape[-1]
    z, up = gate_up[..., :F], gate_up[..., F:]
    u = np.tanh(z)
    u *= z
    u += z
    np.multiply(u, up, out=h)


def inverse_length(x, eps):
    """x (C,) -> 1 / sqrt(x.x + eps), a float"""
    return 1 / math.sqrt(x.dot(x) + eps)


def inverse_lengths(x, eps):
    """The same for each row of x (B, C) -> (B, 1)"""
    return 1 / np.sqrt(np.matmul(x[:, None, :], x[:, :, None])[:, 0] + eps)


FOLDABLE = (GPT, Embedding, OutputTable, Block, LayerNorm, RMSNorm, CausalSelfAttention, Rotary, AttentionHeads, Linear, MLP,
            GELU, SwiGLU, SiLUGate)      # what is folded


def stepper(model, kv_cache):
    """A function step(next token of each text, B ids) -> the logits of the token after it, (B, V), as `Decoder.step`.

    A model with any other layer, built in or inserted, uses the plain form (`GPT.forward_cached`), and so does one whose layers
    do not compute what is folded here.
    """
    if is_plain(model) and folding_is_right(in_small(model.config)):
        return Decoder(model, kv_cache).step
    return lambda tokens: model.forward_cached(np.array(tokens)[:, None], kv_cache)[:, -1]


def is_plain(model):
    """Can every layer be folded as above, with no wrapper around it?"""
    return all(type(module) in FOLDABLE for _, module in model.modules())


def in_small(config):
    """A Config of the same parts, but of sizes that take no time. The heads stay: what they may be can depend on their number."""
    return replace(config, vocab_size=5, context=4, n_layer=2, n_embd=config.n_head * min(4, config.head_dim), n_hidden=None)


@lru_cache(maxsize=32)
def folding_is_right(config):
    """Does a decoder give the logits of a small model of the same parts?

    Tried once for each Config: someone may have edited a layer but not this file, or a field of the Config may change what a
    layer computes. The weights are not those of the model in question, which could hide a difference: in a new model they are so
    small that attention hardly depends on q and k.
    """
    rng = np.random.default_rng(0)
    model = GPT(config, rng, np.float64)
    for p in model.parameters().values():
        p.data += 0.3 * rng.normal(size=p.shape)
    tokens = np.array([[3, 1, 4, 1]])
    expected = model.logits(tokens)
    try:
        step = Decoder(model, KVCache(model)).step
        logits = np.stack([step(tokens[:, t]) for t in range(4)], axis=1)
    except (AttributeError, ValueError):                                    # other arrays, or other shapes
        right = False
    else:
        right = np.allclose(logits, expected, rtol=0, atol=1e-9 * max(1, np.abs(expected).max()))
    if not right:
        warnings.warn("inference/decoder.py does not fold what the layers compute now; texts are written the plain, slower way",
                      stacklevel=2)
    return right
