"""A fair comparison of methods: each at its own best learning rate, with the same documents and steps, over several seeds.

The unit of work is a cell: one training, with one method, remedy, learning rate and seed. Its result is saved as soon as it is
known, in a file named by a hash of everything that it depends on. So a comparison that was interrupted goes on where it stopped,
and one with more methods or seeds computes only the new cells.
"""

import hashlib
import json
import math
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ..ground.files import CheckpointError, read_json, write_json
from ..ground.locks import alone
from ..ground.processes import default_workers
from ..ground.progress import progress
from ..ground.schema import anything, maybe, number, one_of, record, table, whole
from ..tasks import identity, task_from_json
from ..tasks.samples import TEMPERATURES, flawless_json, flawless_world, sample_counts
from ..train.blueprint import n_parameters
from ..train.checkpoint import fingerprint
from ..train.costs import check_memory
from ..train.optimizers import AdamW
from ..train.trainer import Diverged
from .adapter_file import save_specialist
from .methods import Full, recipe_of
from .remedies import remedy_of
from .specialist import prepare, specialise
from .summary import parameter_counts, training_memory
from .table import LEVEL, Comparison, Row

DEFAULT_METHODS = ["full", "frozen", "adapter", "lora", "ia3", "bitfit"]
SCRATCH, SCRATCH_LR = "scratch", 8e-3
FORMAT = 2          # of a cell's file; goes up when the same cell would give another result
STEP = 2.0          # the factor from one learning rate to the next
BEYOND = 2          # how many more rates are tried, at most, if the best one is at an edge; and, after that, how many lower ones
                    # while the lowest closes LEVEL of the gap


def default_methods(model):
    """The methods to compare if none is chosen: `bitfit` only where there are biases."""
    biased = any(name.endswith(".bias") for name in model.parameters())
    return [method for method in DEFAULT_METHODS if biased or method != "bitfit"]


@dataclass(frozen=True)
class Cell:
    """One training. `method` and `remedy` are texts as for `recipe_of` and `remedy_of`, or the method is "scratch"."""

    method: str
    lr: float
    seed: int
    remedy: str = "none"


def compare(base, task_json, methods, remedies=("none",), *, seeds=3, rates=5, steps=128, batch=12, test_documents=100,
            samples=100, scratch=True, folder="runs/compare", workers=None, quiet=False):
    """Train and evaluate every method with every remedy: a `Comparison` (table.py).

    base        a Loaded
    task_json   the new task, as `task_from_json` takes it; if the task can draw documents, each seed draws its own
    rates       how many learning rates are tried for each method, by factors of two around its usual one, on the first seed.
                The one with the least validation loss is used for all seeds. If it is the first or the last of them, up to two
                more are tried beyond it; if it is still at the edge, the table says so. A remedy uses its method's rate.
                While the lowest still closes LEVEL of the gap, up to two lower ones are tried, to know what is forgotten there
    samples     how many texts each model writes, to count those without a mistake (tasks/samples.py)
    """
    lab = Lab(base, task_json, steps, batch, test_documents, Path(folder), workers, samples)
    for method in methods:                                  # fail now, and not after an hour
        model, config = prepare(base.model, recipe_of(method)), base.model.config
        check_memory(config, batch, workers=workers, adds=recipe_of(method).adds(config), others=n_parameters(config),
                     trains=parameter_counts(model)["trainable_parameters"])
    names = list(dict.fromkeys([*methods, *([SCRATCH] if scratch else [])]))
    contenders = [(name, remedy) for name in names for remedy in (remedies if name != SCRATCH else ["none"])]
    settings = {"task": identity(task_json), "seeds": seeds, "rates": rates, "steps": steps, "batch": batch,
                "test_documents": test_documents, "samples": samples, "base": lab.fingerprint}
    comparison = Comparison(lab.untouched(), [], lab.new, lab.old, settings, lab.measures)
    total = sum(max(0, rates - 1) for _ in names) + seeds * len(contenders)
    with alone(Path(folder) / "comparison"), progress(total=total, desc="comparing", unit="cell", quiet=quiet) as bar:
        def run(*cell):
            result = lab.run(Cell(*cell))
            bar.update()
            bar.total = max(bar.total, bar.n)
            return result

        for name in names:
            sweep = search(lambda lr: run(name, lr, 1), usual_rate(name), rates)
            if name != SCRATCH and rates > 1:
                sweep = try_lower_rates(lambda lr: run(name, lr, 1), sweep, lambda cell: comparison.closed(cell) >= LEVEL)
            best, at_edge = best_rate(sweep)
            bar.update(-1)                                  # the best cell of the sweep is run again below, from its file
            for remedy in [remedy for other, remedy in contenders if other == name]:
                cells = [run(name, best, seed, remedy) for seed in range(1, seeds + 1)]
                comparison.rows.append(Row(name, remedy, best, at_edge, cells, sweep if remedy == "none" else {}))
    return comparison


def usual_rate(name):
    """The learning rate around which the search begins."""
    return SCRATCH_LR if name == SCRATCH else recipe_of(name).lr


def search(run, middle, n):
    """{learning rate: result of run} for n rates around a middle one, and for up to BEYOND more while the best is at an edge."""
    sweep = {lr: run(lr) for lr in (middle * STEP ** (i - n // 2) for i in range(n))}
    for _ in range(BEYOND if n > 1 else 0):
        best, at_edge = best_rate(sweep)
        if not at_edge:
            break
        lr = best / STEP if best == min(sweep) else best * STEP
        sweep[lr] = run(lr)
    return dict(sorted(sweep.items()))


def try_lower_rates(run, sweep, enough):
    """The sweep, and up to BEYOND lower rates while the lowest has learned enough (see `Comparison.forgotten_at_level`)."""
    for _ in range(BEYOND):
        lowest = sweep[min(sweep)]
        if lowest["status"] != "done" or not enough(lowest):
            break
        sweep = {min(sweep) / STEP: run(min(sweep) / STEP)} | sweep
    return sweep


def best_rate(sweep):
    """The rate of least validation loss, and whether it is the first or last one tried. Cells that diverged do not count."""
    losses = {lr: cell["validation"] for lr, cell in sweep.items() if cell["status"] == "done"}
    if not losses:
        return min(sweep), True
    best = min(losses, key=losses.get)
    return best, len(sweep) > 1 and best in (min(sweep), max(sweep))


class Lab:
    """Runs cells, and saves their results."""

    def __init__(self, base, task_json, steps, batch, test_documents, folder, workers=None, samples=0):
        self.base, self.task_json, self.steps, self.batch = base, task_json, steps, batch
        self.test_documents, self.samples = test_documents, samples
        self.cells, self.workers = folder / "cells", workers or default_workers()
        self.fingerprint = fingerprint(base.model)
        self.old_task = base.task(workers)
        self.new = self.task(1).name
        self.old = [name if name != self.new else f"{name}, the old" for name in self.old_task.learned]
        self.measures = self.task(1).measure, self.old_task.measure
        self.texts = {}                                     # {domain: how many texts a model writes, for the grammar to judge}
        if self.old_task.world:
            self.texts = sample_counts(self.old_task.world, [*self.old, self.new], [self.new], samples)
        self.form = self.cell_form()

    def cell_form(self):
        """The schema of a cell's file (ground/schema.py)."""
        judged = record({"excess": number(), "accuracy": maybe(number(0, 1))})
        shares = table(record({"share": number(0, 1)}), [f"{temperature:g}" for temperature in TEMPERATURES])
        done = record({"validation": number(), "test": table(judged, self.judged_on()), "seconds": number(0),
                       "flawless?": table(shares, [name for name, n in self.texts.items() if n]), "step_ms": number(0),
                       "file_bytes": whole(), "memory": table(number(0)), "trainable_parameters": whole(),
                       "total_parameters": whole(1)})
        ended = record({"status": one_of("done", "diverged")})
        return record({"cell": table(anything), "result": lambda value, where: (
            done if ended(value, where)["status"] == "done" else ended)(value, where)})

    def task(self, seed):
        """The new task with the documents of this seed."""
        draw = {"draw": seed - 1} if "documents" in self.task_json else {}
        return task_from_json(self.task_json | draw, self.base.tokenizer, self.workers)

    def run(self, cell):
        """{"status": "done"} and what `train` returns, or {"status": "diverged", ...}; read from the cell's file if it exists."""
        inputs = self.inputs_of(cell)
        path = self.cells / f"{hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]}.json"
        if path.exists():
            saved = read_json(path, self.form, "cell of a comparison")
            if saved["cell"] != json.loads(json.dumps(inputs)):
                raise CheckpointError(f"{path} holds another cell than its name says; remove it, and it is computed anew")
            return saved["result"]
        try:
            result = {"status": "done"} | self.train(cell)
        except Diverged as error:
            result = {"status": "diverged", "step": error.step}
        write_json(path, {"cell": inputs, "result": result})
        return result

    def inputs_of(self, cell):
        """Everything that the result of a cell depends on, for JSON."""
        recipe = None if cell.method == SCRATCH else recipe_of(cell.method)
        return asdict(cell) | {
            "method": {"method": SCRATCH} if recipe is None else {"method": recipe.method} | asdict(recipe),
            "remedy": {"method": remedy_of(cell.remedy).method} | asdict(remedy_of(cell.remedy)),
            "task": identity(self.task(cell.seed).to_json()), "base": self.fingerprint, "steps": self.steps, "batch": self.batch,
            "test_documents": self.test_documents, "samples": self.samples, "workers": self.workers,
            "old_task": identity(self.old_task.to_json()), "format": FORMAT}

    def train(self, cell):
        """Train and evaluate one cell: its result without the status. Raises Diverged."""
        scratch = cell.method == SCRATCH
        recipe, task = Full() if scratch else recipe_of(cell.method), self.task(cell.seed)
        model = prepare(self.base.model, recipe, cell.seed, scratch)
        run = specialise(model, recipe, task, self.old_task, AdamW(cell.lr), self.steps, self.batch, cell.seed,
                         remedy_of(cell.remedy), self.workers)
        start, times = time.perf_counter(), []
        for step in range(self.steps):
            began = time.perf_counter()
            run.trainer.step(*run.batches.at(step))
            times.append(time.perf_counter() - began)
        run.finish()
        seconds = time.perf_counter() - start
        validation = excess_or_loss(self.score(model, task, "validation"))
        if not math.isfinite(validation):
            raise Diverged(self.steps)
        return {"validation": validation, "test": self.judge(model, task), "flawless": self.flawless(model), "seconds": seconds,
                "step_ms": 1e3 * statistics.median(times), "file_bytes": self.file_bytes(model, recipe),
                "memory": training_memory(run.trainer, run.trainer.workers.at_a_time(run.batches.at(0)[1]))
                } | parameter_counts(model)

    def judged_on(self):
        """The names of the domains in the result of `judge`."""
        return [self.new, *self.old]

    def judge(self, model, task):
        """{domain: {"excess": ..., "accuracy": ...}} on test texts, new and old; "excess" is the loss where no floor is known."""
        old = self.old_task.score(model, "test", self.test_documents)
        scores = dict(zip(self.old, map(old.get, self.old_task.learned))) | {self.new: self.score(model, task, "test")}
        return {name: {"excess": excess_or_loss(score), "accuracy": score.accuracy} for name, score in scores.items()}

    def flawless(self, model):
        """{domain: {"1": {"share": ..., ...}, "0.7": ...}} of texts that the model writes, new and old; {} without a grammar."""
        if not self.texts:
            return {}
        return flawless_json(flawless_world(model, self.old_task.world, self.texts, workers=self.workers))

    def score(self, model, task, split):
        """The Score on the new task alone."""
        return task.score_learned(model, split, self.test_documents)

    def untouched(self):
        """The result of the base itself, evaluated like the others."""
        model = self.base.model
        judged = {"test": self.judge(model, self.task(1)), "flawless": self.flawless(model)}
        return {"status": "done"} | judged | parameter_counts(model)

    def file_bytes(self, model, recipe):
        """The size of the specialist's file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "specialist.npz"
            save_specialist(path, model, self.base.tokenizer, recipe, path, self.fingerprint)
            return path.stat().st_size


def excess_or_loss(score):
    """The number by which a model is judged: the excess over the floor, or the loss if the floor is unknown."""
    return score.loss if score.excess is None else score.excess
