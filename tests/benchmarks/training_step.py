"""How long does a training step take, beside the least it could take, PyTorch's and JAX's on the same machine?

    python tests/benchmarks/training_step.py [--rounds 12] [--sizes nano large] [--without "PyTorch compile"]

Four sizes of a GPT (layers/width/heads/context/batch), 65 words; AdamW, clipping, float32, all cores for each. They take turns,
so that all meet the same machine: absolute times drift, only ratios count. The first steps of a turn are not counted, since the
other's idle threads may still be spinning. "Matrix products alone" are those of the step: the least it could take
(minillm/bench.py).
"""

import report

from minillm import bench
from minillm.ground.processes import default_workers
from minillm.ground.runtime import cores

QUICK = dict(rounds=1, sizes=["lesson", "nano"], without=["PyTorch compile"])
OURS, FLOOR = "minillm", "matrix products alone"


def pytorch(size, compiled=False):
    import pytorch_gpt
    return pytorch_gpt.training_step(size, cores(), compiled)


def jax(size):
    import jax_gpt
    return jax_gpt.training_step(size)


# Each contender, the module that it needs, and how its step is made. Ours come first, and so fork before others start threads.
CONTENDERS = {
    OURS: ("minillm", lambda size: bench.training_step(size, default_workers())),
    "minillm, one process": ("minillm", lambda size: bench.training_step(size, 1)),
    FLOOR: ("minillm", lambda size: bench.matmul_step(size, default_workers())),
    "PyTorch eager": ("torch", pytorch),
    "PyTorch compile": ("torch", lambda size: pytorch(size, compiled=True)),
    "JAX jit": ("jax", jax),
}


def measure(rounds=12, sizes=tuple(bench.SIZES), without=()):
    chosen = {name: make for name, (module, make) in CONTENDERS.items()
              if name not in without and report.installed(module, name)}
    rows = []
    for size in (bench.SIZES[name] for name in sizes):
        times = report.race({name: make(size) for name, make in chosen.items()}, rounds)
        rows += report.compared(times, OURS, size=str(size))
    return rows


def main():
    others = [name for name in CONTENDERS if name != OURS]
    report.command(__doc__, measure, QUICK, rounds=report.ROUNDS, sizes=report.sizes_option(bench.SIZES),
                   without=dict(nargs="+", choices=others, metavar="NAME", help=f"leave out some of {', '.join(others)}"))


if __name__ == "__main__":
    main()
