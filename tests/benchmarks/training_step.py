"""How long does a training step take, beside the least it could take, PyTorch's and JAX's on the same machine?

    python tests/benchmarks/training_step.py [--rounds 12] [--sizes nano large] [--without "PyTorch compile"] [--llama]

Four sizes of a GPT (layers/width/heads/context/batch), 65 words; AdamW, clipping, float32, all cores for each. They take turns,
so that all meet the same machine: absolute times drift, only ratios count. The first steps of a turn are not counted, since the
other's idle threads may still be spinning. "Matrix products alone" are those of the step: the least it could take
(minillm/bench.py). With --llama it is about a block of Llama (half as many heads of keys and values as of queries) beside that
of GPT-2, and beside PyTorch's.
"""

from dataclasses import asdict, replace

import report

from minillm import bench
from minillm.ground.processes import default_workers
from minillm.ground.runtime import cores
from minillm.nn.config import ARCHITECTURES

QUICK = dict(rounds=1, sizes=["lesson", "nano"], without=["PyTorch compile"])
OURS, FLOOR = "minillm", "matrix products alone"


def pytorch(size, compiled=False):
    import pytorch_gpt
    return pytorch_gpt.training_step(size, cores(), compiled)


def jax(size):
    import jax_gpt
    return jax_gpt.training_step(size)


class LlamaSize(bench.Size):
    """The same sizes, with the blocks of Llama."""

    @property
    def config(self):
        return replace(super().config, **ARCHITECTURES["llama"], n_kv_head=self.heads // 2)


def pytorch_llama(size):
    import pytorch_llama
    return pytorch_llama.training_step(size, cores())


# Each contender, the module that it needs, and how its step is made. Ours come first, and so fork before others start threads.
CONTENDERS = {
    OURS: ("minillm", lambda size: bench.training_step(size, default_workers())),
    "minillm, one process": ("minillm", lambda size: bench.training_step(size, 1)),
    FLOOR: ("minillm", lambda size: bench.matmul_step(size, default_workers())),
    "PyTorch eager": ("torch", pytorch),
    "PyTorch compile": ("torch", lambda size: pytorch(size, compiled=True)),
    "JAX jit": ("jax", jax),
}
OUR_LLAMA = "minillm, Llama"
WITH_LLAMA = {
    OUR_LLAMA: ("minillm", lambda size: bench.training_step(LlamaSize(**asdict(size)), default_workers())),
    "minillm, GPT-2": CONTENDERS[OURS],
    "PyTorch eager, Llama": ("torch", pytorch_llama),
}


def measure(rounds=12, sizes=None, without=(), llama=False):
    contenders, reference = (WITH_LLAMA, OUR_LLAMA) if llama else (CONTENDERS, OURS)
    chosen = {name: make for name, (module, make) in contenders.items()
              if name not in without and report.installed(module, name)}
    rows = []
    for size in (bench.SIZES[name] for name in sizes or (("nano", "large") if llama else bench.SIZES)):
        times = report.race({name: make(size) for name, make in chosen.items()}, rounds)
        rows += report.compared(times, reference, size=str(size))
    return rows


def main():
    others = [name for name in (*CONTENDERS, *WITH_LLAMA) if name not in (OURS, OUR_LLAMA)]
    report.command(__doc__, measure, QUICK, rounds=report.ROUNDS, sizes=report.sizes_option(bench.SIZES),
                   without=dict(nargs="+", choices=others, metavar="NAME", help=f"leave out some of {', '.join(others)}"),
                   llama=dict(action="store_true", help="Llama's block, GPT-2's and PyTorch's Llama (sizes: nano and large)"))


if __name__ == "__main__":
    main()
