"""How fast is it on this machine? A training step beside the least it could take, writing, and each way of fine-tuning.

The least is the *floor*: the matrix products of the step alone, dealt to as many processes. Everything else that a step does
(norms, softmax, GELU, the optimizer, Python itself) comes on top, so step / floor tells how good the code is, however fast the
machine is.

Times drift by a third on a machine that does other things too. So whoever is compared takes turns with the others in one run
(`interleave`), and only ratios of such times mean anything. tests/benchmarks/ compares with other programs, by the same means.
"""

import functools
import gc
import platform
import statistics
import time
from dataclasses import dataclass

import numpy as np

from . import __version__
from .finetune.methods import BottleneckAdapter, Full, LoRA, Frozen
from .nn import GPT, Config
from .processes import Team, default_workers
from .progress import progress
from .runtime import cores
from .text.generate import generate
from .train.costs import activation_bytes, training_state_bytes
from .train.optimizers import AdamW
from .train.trainer import Trainer

SETTLE = 0.05      # seconds at the start of a turn that do not count: who had the turn before may still be looking for work
TURN = 0.3         # seconds that a turn counts, or one step, where that takes longer


@dataclass(frozen=True)
class Size:
    """The shape of a model and of its batches."""

    name: str
    layers: int
    width: int
    heads: int
    context: int
    batch: int
    vocabulary: int = 65      # the characters of Shakespeare's plays

    def __str__(self):
        return f"{self.name} {self.layers}/{self.width}/{self.heads}/{self.context}/{self.batch}"

    @property
    def config(self):
        return Config(self.vocabulary, self.context, self.layers, self.heads, self.width)

    def batch_of_noise(self):
        """Random tokens and random targets, (B, T) each."""
        return np.random.default_rng(0).integers(0, self.vocabulary, (2, self.batch, self.context))

    @property
    def flops(self):
        """Of the matrix products of one training step.

        Each token meets N weights, at two operations each: forward, for dW, for dx, so 6 N. Attention has six products of 2 T C
        operations for each token and layer.
        """
        N = self.layers * 12 * self.width ** 2 + self.vocabulary * self.width
        return self.batch * self.context * (6 * N + 12 * self.layers * self.context * self.width)


SIZES = {size.name: size for size in (Size("lesson", 2, 64, 4, 32, 16), Size("nano", 4, 128, 4, 64, 12),      # nanoGPT's on a CPU
                                      Size("medium", 6, 256, 4, 128, 16), Size("large", 6, 384, 6, 256, 8))}

METHODS = {"full": Full(), "last block and final norm": Frozen(), "adapters": BottleneckAdapter(),
           "LoRA": LoRA(), "biases": Frozen(("biases",)), "norms": Frozen(("norms",)),
           "embedding, tied head": Frozen(("wte.*",))}


# Who is measured.

def new_trainer(size, workers=None, recipe=METHODS["full"]):
    """AdamW, lr 1e-3, the gradient clipped to 1: what all benchmarks train with."""
    rng = np.random.default_rng(0)
    model = GPT(size.config, rng)
    recipe.apply(model, rng)
    return Trainer(model, AdamW(1e-3), clip=1.0, workers=workers)


def training_step(size, workers=None, recipe=METHODS["full"]):
    """A function that makes one training step, on the same batch each time."""
    trainer, batch = new_trainer(size, workers, recipe), size.batch_of_noise()
    return lambda: trainer.step(*batch)


def gemm_floor(size, workers=None):
    """A function that does the matrix products of one training step, and nothing else."""
    return GemmFloor(size, workers or default_workers()).step


class GemmFloor:
    """n processes, each with the products of its part of the batch: the very mechanism of a training step (train/workers.py)."""

    def __init__(self, size, n):
        self.size = size
        self.rows = [len(part) for part in np.array_split(np.arange(size.batch), n)]
        self.products = {}                                                  # {rank: triples}, each process has its own
        self.team = Team(self, n)

    def step(self):
        self.team.run("multiply")

    def multiply(self, rank):
        if rank not in self.products:
            self.products[rank] = products(self.size, self.rows[rank])
        for a, b, out in self.products[rank]:
            np.matmul(a, b, out=out)


def products(size, B):
    """The products of a step on B rows, forward and then backward: triples (a, b, out) of arrays.

    Weights, their gradients and what a layer keeps for its backward pass are its own; what only passes by is the same array for
    all layers, as freed memory would be.
    """
    C, H, T, V = size.width, size.heads, size.context, size.vocabulary
    N, D = B * T, C // H
    forward, backward = [], []

    def own(*shape):
        return np.ones(shape, np.float32)

    @functools.cache
    def passing(name, *shape):
        return own(*shape)

    def linear(n_in, n_out):
        x, W, dW, dy = own(N, n_in), own(n_in, n_out), own(n_in, n_out), passing("dy", N, n_out)
        forward.append((x, W, passing("y", N, n_out)))
        backward.extend([(dy, W.T, passing("dx", N, n_in)), (x.T, dy, dW)])

    def attention():
        (q, k, v), P, dS = (own(B, H, T, D) for _ in range(3)), own(B, H, T, T), passing("dS", B, H, T, T)
        do, out = passing("do", B, H, T, D), passing("out", B, H, T, D)
        forward.extend([(q, transposed(k), P), (P, v, out)])
        backward.extend([(transposed(dS), q, out), (dS, k, out), (do, transposed(v), dS), (transposed(P), do, out)])

    for _ in range(size.layers):
        linear(C, 3 * C)
        attention()
        linear(C, C)
        linear(C, 4 * C)
        linear(4 * C, C)
    linear(C, V)                                                            # the head
    return forward + backward[::-1]


def transposed(x):
    return x.swapaxes(-1, -2)


# Time.

def seconds_of(step):
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def settle(step):
    """At least one step, for as long as whoever had the turn before may need to fall asleep."""
    until = time.perf_counter() + SETTLE
    step()
    while time.perf_counter() < until:
        step()


def interleave(contenders, rounds, steps):
    """Let contenders {name: step} take turns of so many counted steps, so that all meet the same machine.

    Returns {name: seconds of each counted step}.
    """
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, step in contenders.items():
            settle(step)
            times[name] += [seconds_of(step) for _ in range(steps)]
    return times


def plan_turns(contenders, budget=0.0):
    """(rounds, steps) that fill about so many seconds, at least two rounds; judged by one step of each."""
    gc.collect()      # workers of earlier contenders end now, and not in the midst of a measurement
    took = [seconds_of(step) for step in contenders.values()]
    steps = max(1, int(TURN / max(took)))
    return max(2, int(budget / sum(max(SETTLE, one) + steps * one for one in took))), steps


# The machine, and what `minillm bench` measures on it.

def machine():
    """What a time is worth nothing without: {"processor": ..., "cores": ..., "Python": ..., "NumPy": ..., "BLAS": ...}."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"processor": processor(), "cores": str(cores()), "system": f"{platform.system()} {platform.machine()}",
            "Python": platform.python_version(), "NumPy": np.__version__,
            "BLAS": f"{blas.get('name')} {blas.get('version', '')}".strip(), "minillm": __version__}


def processor():
    """Its name as the kernel tells it, or else as Python knows it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def bench(names=None, workers=None, seconds=20.0):
    """All of it, in about so many seconds: {"machine": facts, "sizes": rows, "methods": rows}, each row a dict as it is shown."""
    sizes = [SIZES[name] for name in names or SIZES]
    share = seconds / (len(sizes) + 1)
    rows = []
    with progress(total=2 * len(sizes) + 1, desc="measuring", leave=False) as bar:
        for size in sizes:
            rows.append(step_row(size, workers, 0.7 * share))
            bar.update()
            rows[-1]["writes tokens/s"] = writing_rate(size, 0.15 * share)
            bar.update()
        methods = method_rows(SIZES["nano"] if SIZES["nano"] in sizes else sizes[0], workers, share)
        bar.update()
    return {"machine": machine(), "sizes": rows, "methods": methods}


def step_row(size, workers, seconds):
    contenders = {"step": training_step(size, workers), "floor": gemm_floor(size, workers)}
    times = interleave(contenders, *plan_turns(contenders, seconds))
    step, floor = (statistics.median(times[name]) for name in ("step", "floor"))
    return {"size": size.name, "layers/width/heads/context/batch": str(size).split()[1], "step ms": 1e3 * step,
            "floor ms": 1e3 * floor, "step / floor": step / floor, "trains tokens/s": round(size.batch * size.context / step)}


def writing_rate(size, seconds):
    """Tokens per second that one model writes, text after text, each of up to 64 tokens from a single one."""
    model, n = GPT(size.config, np.random.default_rng(0)), min(size.context, 64) - 1
    until, took = time.perf_counter() + seconds, []
    while not took or time.perf_counter() < until:
        took.append(seconds_of(lambda: generate(model, [0], n, np.random.default_rng(0))))
    return round(n / statistics.median(took))


def method_rows(size, workers, seconds):
    """Each recipe: what trains, how long a step takes, what it keeps in memory. The first, full fine-tuning, is the measure."""
    contenders = {name: training_step(size, workers, recipe) for name, recipe in METHODS.items()}
    times = interleave(contenders, *plan_turns(contenders, seconds))
    full = statistics.median(times["full"])
    return [{"method": name, "size": size.name, "step ms": 1e3 * statistics.median(times[name]),
             "of full": statistics.median(times[name]) / full} | method_costs(size, workers, METHODS[name]) for name in METHODS]


def method_costs(size, workers, recipe):
    """Of training with a recipe: the count of parameters that move, and MB of memory beside the weights."""
    trainer = new_trainer(size, workers, recipe)
    return {"trains": sum(p.size for p in trainer.model.trainable_parameters().values()),
            "gradient, optimizer MB": training_state_bytes(trainer) / 1e6,
            "activations MB": activation_bytes(trainer.model, size.batch_of_noise()[0]) / 1e6}


# Rows as text.

def cell(value):
    """A number with about three figures that count, thousands apart."""
    if isinstance(value, float):
        digits = next((digits for digits, least in enumerate((100, 10, 0.1)) if abs(value) >= least), 4)
        return f"{value:,.{digits}f}"
    return f"{value:,d}" if isinstance(value, int) else str(value)


def aligned(rows):
    """Dicts with the same keys as a table: texts to the left, numbers to the right."""
    columns = [[name, *(cell(row[name]) for row in rows)] for name in rows[0]]
    shown = []
    for column, value in zip(columns, rows[0].values()):
        width = max(map(len, column))
        shown.append([text.ljust(width) if isinstance(value, str) else text.rjust(width) for text in column])
    return "\n".join("   ".join(line).rstrip() for line in zip(*shown))
