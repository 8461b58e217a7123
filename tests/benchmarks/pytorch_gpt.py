"""The PyTorch contender: the same GPT in its usual form. It imports nothing of minillm, so that its memory can be measured alone.

A `size` is anything with layers, width, heads, context, batch and vocabulary (minillm/bench.py, `Size`).
"""

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width, heads, bias, gelu):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width, bias=bias), nn.LayerNorm(width, bias=bias)
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias), nn.Linear(width, width, bias)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width, bias), nn.GELU(gelu), nn.Linear(4 * width, width, bias))

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = (part.view(B, T, self.heads, C // self.heads).transpose(1, 2) for part in self.qkv(self.ln_1(x)).split(C, 2))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(attended.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """GPT-2's: biases everywhere, tanh-GELU, the output layer tied to the embedding. The options are for nanogpt_recipe.py."""

    def __init__(self, size, bias=True, gelu="tanh"):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(size.vocabulary, size.width), nn.Embedding(size.context, size.width)
        self.blocks = nn.Sequential(*(Block(size.width, size.heads, bias, gelu) for _ in range(size.layers)))
        self.ln_f = nn.LayerNorm(size.width, bias=bias)

    def forward(self, tokens, targets=None):
        """The logits (B, T, V), or with targets the loss."""
        x = self.wte(tokens) + self.wpe.weight[:tokens.shape[1]]
        logits = self.ln_f(self.blocks(x)) @ self.wte.weight.T
        return logits if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def training_step(size, threads, compiled=False, kind=GPT):
    """A function that makes one training step, on the same batch each time, as people write it."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    tokens, targets = torch.randint(size.vocabulary, (2, size.batch, size.context))
    model = kind(size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss_of = torch.compile(model) if compiled else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def forward_step(size, threads):
    """A function that works out the logits of one batch, without gradients."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    tokens, model = torch.randint(size.vocabulary, (size.batch, size.context)), GPT(size)

    @torch.no_grad()
    def step():
        return model(tokens)

    return step
