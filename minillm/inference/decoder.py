"""One more token at a time, in as few calls of NumPy as the maths allows.

The next token of a text is one row of numbers on its way through matrices. Reading these from memory takes its time whatever one
does; in a small model, the rest is the price of *calling* NumPy, about a microsecond a call. `GPT.forward_cached` makes some
eighty calls for each block, but much of what they compute is the same for every token. Here it is computed once, into the
weights:

    Norms      Two linear maps in a row are one. Of a norm's output x_hat g + b, the linear layer behind it makes
                   (x_hat g + b) W + c = x_hat (diag(g) W) + (b W + c)
    Means      A norm does not notice a constant added to all of x. So let whatever writes into x, the embeddings and both
               projections, leave out the mean of what it writes: subtract from each row of its weights, and from its bias, the
               mean of that row. Then x has mean 0 all the way, and
                   x_hat = x / sqrt(x.x / C + eps) = sqrt(C) x / sqrt(x.x + C eps)
               where sqrt(C) can go into the weights behind it as well.
    Scores     (q / sqrt(D)) k' = q k' / sqrt(D), so 1 / sqrt(D) goes into those columns of the weights that make q.
    GELU       With s^3 = A B and z = s x,
                   x/2 (1 + tanh(A x + A B x^3)) = (z + z tanh(z (z^2 + A/s))) / 2s
               so s goes into the weights before it and 1/2s into those behind it.
    Biases     x W + b = [x 1] [W; b]: a matrix with one row more, and a 1 that stands behind x for good.

What is left is some twenty-five calls for each block.

Check: tests/test_decoder.py, against `GPT.logits`, float64 to 1e-10, with all weights shaken.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..nn import GELU, GPT, MLP, AttentionHeads, Block, CausalSelfAttention, Config, Embedding, LayerNorm, Linear
from ..nn.gelu import A, B
from ..nn.layernorm import EPS
from .kv_cache import KVCache

S = (A * B) ** (1 / 3)      # s of GELU, above


class Folded(NamedTuple):
    """The weights of a block, each with its bias as the last row."""

    qkv: np.ndarray           # (C + 1, 3C)
    attn_proj: np.ndarray     # (C + 1, C)
    fc: np.ndarray            # (C + 1, 4C)
    mlp_proj: np.ndarray      # (4C + 1, C)


class Decoder:
    """A model as it is now, to write on in the B texts of a KV cache. It does not see later changes of the weights.

    NumPy is quicker with vectors (C,) than with matrices (1, C), so a single text has no axis B: below, (B, C) is (C,) then.
    """

    def __init__(self, model, kv_cache):
        n_layer, B, H, T, D = kv_cache.keys.shape
        C, dtype = H * D, kv_cache.keys.dtype
        texts = () if B == 1 else (B,)
        self.kv_cache, self.context, self.eps = kv_cache, T, C * EPS
        self.keys = kv_cache.keys.reshape(n_layer, *texts, H, T, D).swapaxes(-1, -2)        # views: (layers, B, H, D, T)
        self.values = kv_cache.values.reshape(n_layer, *texts, H, T, D)

        self.wte, self.wpe = (table.weight.data - row_means(table.weight.data) for table in (model.wte, model.wpe))
        self.blocks = [fold(block, D) for block in model.blocks]
        self.head = fold_norm(model.ln_f, model.wte.weight.data.T)                          # (C + 1, V)

        # Where results go: arrays that are made once, and views of them in the shapes in which they are written.
        self.x_hat_and_1, self.o_and_1, self.h_and_1 = (np.ones((*texts, n + 1), dtype) for n in (C, C, 4 * C))
        self.x_hat, self.h = self.x_hat_and_1[..., :-1], self.h_and_1[..., :-1]
        self.o = self.o_and_1[..., :-1].reshape(*texts, H, 1, D)
        self.qkv = np.empty((*texts, 3 * C), dtype)
        q, self.k, self.v = np.moveaxis(self.qkv.reshape(*texts, 3, H, D), -3, 0)           # (B, H, D) each
        self.q = q[..., None, :]                                                            # (B, H, 1, D)
        self.inverse_length = inverse_lengths if texts else inverse_length
        self.shape = *texts, C

    def step(self, tokens):
        """The next token of each text, B ids -> the logits of what follows, (B, V). The cache grows by one position.

        ValueError if that would be beyond the context.
        """
        t = self.kv_cache.length
        if t == self.context:
            raise ValueError(f"a text of {t + 1} tokens does not fit into the context of {self.context}")
        x = (self.wte[tokens] + self.wpe[t]).reshape(self.shape)                            # (B, C)
        for weights, keys, values in zip(self.blocks, self.keys[..., :t + 1], self.values[..., :t + 1, :]):
            x += self.attention(x, weights, keys, values)
            x += self.mlp(x, weights)
        self.kv_cache.length = t + 1
        return self.norm(x).dot(self.head).reshape(-1, len(self.wte))

    def norm(self, x):
        """x (B, C) -> [x_hat / sqrt(C), 1], (B, C + 1)"""
        np.multiply(x, self.inverse_length(x, self.eps), out=self.x_hat)
        return self.x_hat_and_1

    def attention(self, x, weights, keys, values):
        """x (B, C) -> (B, C). keys (B, H, D, t + 1) and values (B, H, t + 1, D) are views of the cache; the last are new here."""
        self.norm(x).dot(weights.qkv, out=self.qkv)
        keys[..., -1] = self.k
        values[..., -1, :] = self.v
        P = np.matmul(self.q, keys)                                                         # (B, H, 1, t + 1)
        P -= np.maximum.reduce(P, axis=-1, keepdims=True)
        np.exp(P, out=P)
        P /= np.add.reduce(P, axis=-1, keepdims=True)
        np.matmul(P, values, out=self.o)                                                    # (B, H, 1, D)
        return self.o_and_1.dot(weights.attn_proj)

    def mlp(self, x, weights):
        """x (B, C) -> (B, C)"""
        z = self.norm(x).dot(weights.fc)                                                    # (B, 4C)
        u = z * z
        u += A / S
        u *= z
        np.tanh(u, out=u)
        u *= z
        np.add(u, z, out=self.h)
        return self.h_and_1.dot(weights.mlp_proj)


def inverse_length(x, eps):
    """x (C,) -> 1 / sqrt(x.x + eps), a float"""
    return 1 / math.sqrt(x.dot(x) + eps)


def inverse_lengths(x, eps):
    """The same for each row of x (B, C) -> (B, 1)"""
    return 1 / np.sqrt(np.matmul(x[:, None, :], x[:, :, None])[:, 0] + eps)


# The weights, once.

def fold(block, D):
    """All of a block's, for heads of size D."""
    attn, mlp = block.attn, block.mlp
    qkv = fold_norm(block.ln_1, attn.qkv.weight.data, attn.qkv.bias.data)
    qkv[:, :len(qkv) - 1] *= 1 / math.sqrt(D)
    fc = fold_norm(block.ln_2, mlp.fc.weight.data, mlp.fc.bias.data, S)
    return Folded(qkv, fold_mean(attn.proj), fc, fold_mean(mlp.proj, 1 / (2 * S)))


def fold_norm(norm, W, b=0, scale=1):
    """The linear layer behind a norm, (C, n) -> one for [x_hat / sqrt(C), 1] whose output is scaled, (C + 1, n)"""
    g = norm.weight.data * (scale * math.sqrt(W.shape[0]))
    return with_bias(W, g[:, None], scale * (norm.bias.data @ W + b))


def fold_mean(linear, scale=1):
    """A linear layer that writes into x, (n, C) -> one for [its input / scale, 1] whose output has mean 0, (n + 1, C)"""
    folded = with_bias(linear.weight.data, scale, linear.bias.data)
    folded -= row_means(folded)
    return folded


def with_bias(W, scale, b):
    """[scale W; b]"""
    folded = np.empty((W.shape[0] + 1, W.shape[1]), W.dtype)
    np.multiply(W, scale, out=folded[:-1])
    folded[-1] = b
    return folded


def row_means(rows):
    return np.einsum("nc->n", rows)[:, None] / rows.shape[1]


# For any model.

KNOWN = (GPT, Embedding, Block, LayerNorm, CausalSelfAttention, AttentionHeads, Linear, MLP, GELU)      # what is folded above


def stepper(model, kv_cache):
    """A function: the next token of each text, B ids -> the logits of what follows, (B, V), as the cache grows by one position.

    A model with anything else in it, built in or inserted, goes its own way (`GPT.forward_cached`), and so does one whose layers
    do not compute what is folded here.
    """
    if is_plain(model) and folding_is_right():
        return Decoder(model, kv_cache).step
    return lambda tokens: model.forward_cached(np.array(tokens)[:, None], kv_cache)[:, -1]


def is_plain(model):
    """Is every layer of a kind that is folded above, with nothing wrapped around it?"""
    return all(type(module) in KNOWN for _, module in model.modules())


@lru_cache
def folding_is_right():
    """Does a decoder give a model's logits? Tried once, on a small one: a layer may have been edited, and what is above not."""
    rng = np.random.default_rng(0)
    model = GPT(Config(5, 4, 1, 2, 8), rng, np.float64)
    for p in model.parameters().values():
        p.data += 0.3 * rng.normal(size=p.shape)
    tokens, step = np.array([[3, 1, 4, 1]]), Decoder(model, KVCache(model)).step
    return np.allclose(np.stack([step(tokens[:, t]) for t in range(4)], axis=1), model.logits(tokens), rtol=0, atol=1e-9)
