"""nanoGPT's recipe for learning characters on a CPU, in eager PyTorch (github.com/karpathy/nanoGPT, its README and train.py).

4 layers of width 128, 4 heads, context 64, no biases, exact GELU, no dropout; GPT-2's initialisation; batches of 12 random
windows; AdamW, betas 0.9 and 0.99, weight decay 0.1 on all matrices, the embeddings among them; the gradient clipped to 1; the
learning rate rises to 1e-3 in 100 steps and falls along a cosine to 1e-4.
"""

import math
from types import SimpleNamespace

import torch
from pytorch_gpt import GPT
from torch import nn

LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 4, 128, 4, 64, 12
LR, LEAST_LR, WARMUP = 1e-3, 1e-4, 100


class NanoGPT:
    """step(i) is the i-th of `steps` training steps; logits(tokens) and config.context are what evaluation needs."""

    def __init__(self, ids, vocabulary, steps, threads, seed):
        """ids: an array, the text to learn from"""
        torch.set_num_threads(threads)
        torch.manual_seed(seed)
        self.ids, self.steps = torch.as_tensor(ids), steps
        self.config = SimpleNamespace(context=CONTEXT, layers=LAYERS, width=WIDTH, heads=HEADS, vocabulary=vocabulary)
        self.model = GPT(self.config, bias=False, gelu="none")
        initialise(self.model)
        matrices = [p for p in self.model.parameters() if p.dim() >= 2]
        others = [p for p in self.model.parameters() if p.dim() < 2]
        self.optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
                                           lr=LR, betas=(0.9, 0.99))

    def step(self, i):
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(i, self.steps)
        starts = torch.randint(len(self.ids) - CONTEXT, (BATCH,))
        tokens = torch.stack([self.ids[start:start + CONTEXT] for start in starts])
        targets = torch.stack([self.ids[start + 1:start + 1 + CONTEXT] for start in starts])
        loss = self.model(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()

    @torch.no_grad()
    def logits(self, tokens):
        return self.model(torch.as_tensor(tokens)).numpy()


def initialise(model):
    """N(0, 0.02) for every matrix; those that write into the residual stream smaller by sqrt(2 layers)."""
    for name, p in model.named_parameters():
        if p.dim() >= 2:
            into_the_stream = name.endswith(("proj.weight", "mlp.2.weight"))
            nn.init.normal_(p, std=0.02 / math.sqrt(2 * LAYERS) if into_the_stream else 0.02)


def learning_rate(i, steps):
    if i < WARMUP:
        return LR * (i + 1) / (WARMUP + 1)
    done = min(1.0, (i - WARMUP) / max(1, steps - WARMUP))
    return LEAST_LR + 0.5 * (1 + math.cos(math.pi * done)) * (LR - LEAST_LR)
