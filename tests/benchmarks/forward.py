"""How long does a forward pass take, without gradients, beside PyTorch's?

    python tests/benchmarks/forward.py [--rounds 12] [--sizes nano large]

The logits of a whole batch, all cores for each: minillm deals the rows of the batch to processes, PyTorch (eager, no_grad) splits
its operations among threads.
"""

import numpy as np
import report

from minillm import bench
from minillm.ground.processes import Team, default_workers, shared_zeros
from minillm.ground.runtime import cores
from minillm.nn import GPT

QUICK = dict(rounds=1, sizes=["lesson", "nano"])


class Forward:
    """n processes that write the logits of their rows into one shared array."""

    def __init__(self, size, n):
        self.model, (self.tokens, _) = GPT(size.config, np.random.default_rng(0)), size.batch_of_noise()
        self.parts = np.array_split(np.arange(size.batch), min(n, size.batch))
        shape = (size.batch, size.context, size.vocabulary)
        self.logits = shared_zeros(np.prod(shape), np.float32).reshape(shape)
        self.team = Team(self, len(self.parts))

    def step(self):
        self.team.run("work")

    def work(self, rank):
        rows = self.parts[rank]
        self.logits[rows] = self.model.logits(self.tokens[rows])


def contenders(size):
    steps = {"minillm": Forward(size, default_workers()).step, "minillm, one process": Forward(size, 1).step}
    if report.installed("torch", "PyTorch"):
        import pytorch_gpt
        steps["PyTorch eager"] = pytorch_gpt.forward_step(size, cores())
    return steps


def measure(rounds=12, sizes=tuple(bench.SIZES)):
    rows = []
    for size in (bench.SIZES[name] for name in sizes):
        rows += report.compared(report.race(contenders(size), rounds), "minillm", size=str(size))
    return rows


def main():
    report.command(__doc__, measure, QUICK, rounds=report.ROUNDS, sizes=report.sizes_option(bench.SIZES))


if __name__ == "__main__":
    main()
