"""The PyTorch contender with the blocks of Llama in their usual form; all else is as in pytorch_gpt.py."""

import pytorch_gpt
import torch
from torch import nn
from torch.nn import functional as F

BASE = 10_000.0      # of rotary positions


def turns(context, D):
    """cos and sin of the angles of each position, (T, D): features j and j + D/2 are a pair."""
    angles = torch.outer(torch.arange(context), BASE ** (-torch.arange(0, D, 2) / D)).repeat(1, 2)
    return angles.cos(), angles.sin()


def turned(x, cos, sin):
    """x (B, heads, T, D)"""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Block(nn.Module):
    def __init__(self, width, heads, kv_heads):
        super().__init__()
        self.D = width // heads
        self.widths = width, kv_heads * self.D, kv_heads * self.D
        hidden = 8 * -(-width // 3)                      # as in minillm/nn/swiglu.py
        self.norm_1, self.norm_2 = nn.RMSNorm(width, 1e-5), nn.RMSNorm(width, 1e-5)
        self.qkv, self.proj = nn.Linear(width, sum(self.widths), bias=False), nn.Linear(width, width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def forward(self, x, cos, sin):
        B, T, C = x.shape
        q, k, v = (part.view(B, T, -1, self.D).transpose(1, 2) for part in self.qkv(self.norm_1(x)).split(self.widths, 2))
        q, k = turned(q, cos, sin), turned(k, cos, sin)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.proj(attended.transpose(1, 2).reshape(B, T, C))
        gate, up = self.gate_up(self.norm_2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Llama(nn.Module):
    """No biases, half as many heads of keys and values as of queries, the output layer tied to the embedding."""

    def __init__(self, size):
        super().__init__()
        self.wte = nn.Embedding(size.vocabulary, size.width)
        self.blocks = nn.ModuleList(Block(size.width, size.heads, size.heads // 2) for _ in range(size.layers))
        self.norm = nn.RMSNorm(size.width, 1e-5)
        for name, table in zip(("cos", "sin"), turns(size.context, size.width // size.heads)):
            self.register_buffer(name, table, persistent=False)

    def forward(self, tokens, targets=None):
        """The logits (B, T, V), or with targets the loss."""
        x, T = self.wte(tokens), tokens.shape[1]
        for block in self.blocks:
            x = block(x, self.cos[:T], self.sin[:T])
        logits = self.norm(x) @ self.wte.weight.T
        return logits if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def training_step(size, threads, compiled=False):
    return pytorch_gpt.training_step(size, threads, compiled, Llama)
