"""How fast minillm is on this machine: a training step and the least time it could take, generation, and each method.

The least time is that of the step's matrix products alone, shared by as many processes: the matmul time ("floor" in the tables).
Everything else in a step (norms, softmax, GELU, the optimizer, Python itself) comes on top. So step / floor measures the code,
however fast the machine is.

On a machine that does other things too, times drift by a third. So everything to be compared takes turns in one run
(`interleave`), and only ratios of such times mean anything. tests/benchmarks/ compares with other programs in the same way.
"""

import functools
import gc
import platform
import statistics
import time
from dataclasses import dataclass

import numpy as np

from . import __version__
from .finetune.methods import BottleneckAdapter, Frozen, Full, LoRA
from .ground.processes import Team, default_workers
from .ground.progress import progress
from .ground.runtime import cores
from .inference.generate import generate
from .nn import GPT, Config, Embedding
from .train.blueprint import blueprint
from .train.costs import activation_bytes, training_state_bytes
from .train.optimizers import AdamW
from .train.trainer import Trainer

SETTLE = 0.05      # seconds at the start of a turn that do not count: idle workers of the last contender may still be spinning
TURN = 0.3         # seconds of a turn that count; at least one step


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
        """Floating-point operations of the matrix products of one training step.

        Each token is multiplied with N weights, at two operations each: forward, for dW and for dx, so 6 N. Attention has six
        products of 2 T C operations for each token and layer.
        """
        N = self.layers * 12 * self.width ** 2 + self.vocabulary * self.width
        return self.batch * self.context * (6 * N + 12 * self.layers * self.context * self.width)


SIZES = {size.name: size for size in (Size("lesson", 2, 64, 4, 32, 16), Size("nano", 4, 128, 4, 64, 12),      # nanoGPT's on a CPU
                                      Size("medium", 6, 256, 4, 128, 16), Size("large", 6, 384, 6, 256, 8))}

# The name of the table of words, which is the first embedding of a model.
TABLE = next(path for path, module in blueprint(SIZES["lesson"].config).modules() if isinstance(module, Embedding))

METHODS = {"full": Full(), "last block and final norm": Frozen(), "adapters": BottleneckAdapter(),
           "LoRA": LoRA(), "biases": Frozen(("biases",)), "norms": Frozen(("norms",)),
           "embedding, tied head": Frozen((f"{TABLE}.*",))}


# What is measured.

def new_trainer(size, workers=None, recipe=METHODS["full"]):
    """A Trainer with the settings of all benchmarks: AdamW, lr 1e-3, the gradient clipped to 1."""
    rng = np.random.default_rng(0)
    model = GPT(size.config, rng)
    recipe.apply(model, rng)
    return Trainer(model, AdamW(1e-3), clip=1.0, workers=workers)


def training_step(size, workers=None, recipe=METHODS["full"]):
    """A function that makes one training step, on the same batch each time."""
    trainer, batch = new_trainer(size, workers, recipe), size.batch_of_noise()
    return lambda: trainer.step(*batch)


def matmul_step(size, workers=None):
    """A function that does only the matrix products of one training step."""
    return MatrixProducts(size, workers or default_workers()).step


class MatrixProducts:
    """The products of a training step in n processes, each with its part of the batch, in the same way as train/workers.py."""

    def __init__(self, size, n):
        self.size = size
        self.rows = [len(part) for part in np.array_split(np.arange(size.batch), n)]
        self.products = {}                                                  # {rank: triples}, one entry in each process
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

    Each layer has its own weights, gradients and cache. All layers share the arrays for temporary results, just as they would
    reuse freed memory.
    """
    C, H, T, V = size.width, size.heads, size.context, size.vocabulary
    N, D = B * T, C // H
    forward, backward = [], []

    def own(*shape):
        return np.ones(shape, np.float32)

    @functools.cache
    def temporary(name, *shape):
        return own(*shape)

    def linear(n_in, n_out):
        x, W, dW, dy = own(N, n_in), own(n_in, n_out), own(n_in, n_out), temporary("dy", N, n_out)
        forward.append((x, W, temporary("y", N, n_out)))
        backward.extend([(dy, W.T, temporary("dx", N, n_in)), (x.T, dy, dW)])

    def attention():
        (q, k, v), P, dS = (own(B, H, T, D) for _ in range(3)), own(B, H, T, T), temporary("dS", B, H, T, T)
        do, out = temporary("do", B, H, T, D), temporary("out", B, H, T, D)
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
    """Make steps for SETTLE seconds, at least one, until idle workers of the last contender sleep."""
    until = time.perf_counter() + SETTLE
    step()
    while time.perf_counter() < until:
        step()


def interleave(contenders, rounds, steps):
    """{name: seconds of each measured step} of contenders {name: step}, which take turns, so that drift affects all alike.

    rounds      turns of each contender
    steps       measured in each turn
    """
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, step in contenders.items():
            settle(step)
            times[name] += [seconds_of(step) for _ in range(steps)]
    return times


def plan_turns(contenders, budget=0.0):
    """(rounds, steps) for `interleave` that take about `budget` seconds, at least two rounds; estimated from one step of each."""
    gc.collect()      # end the workers of earlier contenders now, and not during a measurement
    took = [seconds_of(step) for step in contenders.values()]
    steps = max(1, int(TURN / max(took)))
    return max(2, int(budget / sum(max(SETTLE, seconds) + steps * seconds for seconds in took))), steps


# The machine, and what `minillm bench` measures on it.

def machine():
    """What every measured time depends on: {"processor": ..., "cores": ..., "Python": ..., "NumPy": ..., "BLAS": ...}."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"processor": processor(), "cores": str(cores()), "system": f"{platform.system()} {platform.machine()}",
            "Python": platform.python_version(), "NumPy": np.__version__,
            "BLAS": f"{blas.get('name')} {blas.get('version', '')}".strip(), "minillm": __version__}


def processor():
    """The name of the processor, from the kernel or else from Python."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def bench(names=None, workers=None, seconds=20.0):
    """Measure everything in about `seconds`. Returns {"machine": {...}, "sizes": rows, "methods": rows}, with rows as dicts."""
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
    contenders = {"step": training_step(size, workers), "matmul": matmul_step(size, workers)}
    times = interleave(contenders, *plan_turns(contenders, seconds))
    step, matmul = (statistics.median(times[name]) for name in ("step", "matmul"))
    return {"size": size.name, "layers/width/heads/context/batch": str(size).split()[1], "step ms": 1e3 * step,
            "floor ms": 1e3 * matmul, "step / floor": step / matmul, "trains tokens/s": round(size.batch * size.context / step)}


def writing_rate(size, seconds):
    """Tokens per second that one model generates, text after text, each of up to 64 tokens."""
    model, n = GPT(size.config, np.random.default_rng(0)), min(size.context, 64) - 1
    until, took = time.perf_counter() + seconds, []
    while not took or time.perf_counter() < until:
        took.append(seconds_of(lambda: generate(model, [0], n, np.random.default_rng(0))))
    return round(n / statistics.median(took))


def method_rows(size, workers, seconds):
    """A row for each method: what trains, the time of a step, also relative to full fine-tuning, and the memory."""
    contenders = {name: training_step(size, workers, recipe) for name, recipe in METHODS.items()}
    times = interleave(contenders, *plan_turns(contenders, seconds))
    full = statistics.median(times["full"])
    return [{"method": name, "size": size.name, "step ms": 1e3 * statistics.median(times[name]),
             "of full": statistics.median(times[name]) / full} | method_costs(size, workers, METHODS[name]) for name in METHODS]


def method_costs(size, workers, recipe):
    """What training with a recipe costs: how many parameters train, and MB of memory besides the weights."""
    trainer = new_trainer(size, workers, recipe)
    return {"trains": sum(p.size for p in trainer.model.trainable_parameters().values()),
            "gradient, optimizer MB": training_state_bytes(trainer) / 1e6,
            "activations MB": activation_bytes(trainer.model, size.batch_of_noise()[0]) / 1e6}


# Rows as text.

def cell(value):
    """A value as text: a float with about three significant digits, with commas between thousands."""
    if isinstance(value, float):
        digits = next((digits for digits, least in enumerate((100, 10, 0.1)) if abs(value) >= least), 4)
        return f"{value:,.{digits}f}"
    return f"{value:,d}" if isinstance(value, int) else str(value)


def aligned(rows):
    """Dicts with the same keys as a table, texts aligned left, numbers right."""
    columns = [[name, *(cell(row[name]) for row in rows)] for name in rows[0]]
    shown = []
    for column, value in zip(columns, rows[0].values()):
        width = max(map(len, column))
        shown.append([text.ljust(width) if isinstance(value, str) else text.rjust(width) for text in column])
    return "\n".join("   ".join(line).rstrip() for line in zip(*shown))
