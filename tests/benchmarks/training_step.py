"""How long does a training step take, beside PyTorch's on the same machine?

    python tests/benchmarks/training_step.py [--rounds 12]

The shape is that of nanoGPT's CPU recipe: 4 layers, 4 heads, width 128, context 64, batch 12; AdamW, clipping, float32, as many
threads for each as there are cores. The two take turns, a few steps each, so that both meet the same machine: absolute times
drift, only the ratio counts. The first step of a turn is not counted, since the other's idle threads may still be spinning.
"""

import argparse
import statistics
import time

import numpy as np

import minillm as ml
from minillm.runtime import cores

V, T, L, H, C, B = 65, 64, 4, 4, 128, 12
STEPS = 5      # counted in each turn


def ours(tokens, targets, workers):
    model = ml.GPT(ml.Config(V, T, L, H, C), np.random.default_rng(0))
    trainer = ml.Trainer(model, ml.AdamW(1e-3), workers=workers)
    return lambda: trainer.step(tokens, targets)


def pytorch(tokens, targets, threads):
    """Eager PyTorch, with its fused attention. None where it is not installed."""
    try:
        import torch
        from torch.nn import functional as F
    except ImportError:
        return None
    torch.set_num_threads(threads)
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(C), nn.LayerNorm(C)
            self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
            self.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(approximate="tanh"), nn.Linear(4 * C, C))

        def forward(self, x):
            heads = (part.view(B, T, H, C // H).transpose(1, 2) for part in self.qkv(self.ln_1(x)).split(C, dim=2))
            attended = F.scaled_dot_product_attention(*heads, is_causal=True)
            x = x + self.proj(attended.transpose(1, 2).reshape(B, T, C))
            return x + self.mlp(self.ln_2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(V, C), nn.Embedding(T, C)
            self.blocks, self.ln_f = nn.Sequential(*(Block() for _ in range(L))), nn.LayerNorm(C)

        def forward(self, tokens, targets):
            x = self.blocks(self.wte(tokens) + self.wpe.weight)
            return F.cross_entropy((self.ln_f(x) @ self.wte.weight.T).view(-1, V), targets.view(-1))

    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    tokens, targets = torch.from_numpy(tokens), torch.from_numpy(targets)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = model(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="turns of each")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    tokens, targets = rng.integers(0, V, (2, B, T))
    n = cores()
    contenders = {f"minillm, {n} workers": ours(tokens, targets, n), "minillm, 1 worker": ours(tokens, targets, 1),
                  f"PyTorch eager, {n} threads": pytorch(tokens, targets, n)}
    if not all(contenders.values()):
        print("PyTorch is not installed: there is nothing to compare with")
        contenders = {name: step for name, step in contenders.items() if step}
    times = {name: [] for name in contenders}
    for _ in range(args.rounds):
        for name, step in contenders.items():
            step()
            for _ in range(STEPS):
                start = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - start)
    reference = statistics.median(times[list(contenders)[-1]])
    print(f"{'':28s}{'median':>10s}{'least':>10s}{'ratio':>8s}")
    for name, found in times.items():
        median = statistics.median(found)
        print(f"{name:28s}{1e3 * median:7.1f} ms{1e3 * min(found):7.1f} ms{median / reference:8.2f}")


if __name__ == "__main__":
    main()
