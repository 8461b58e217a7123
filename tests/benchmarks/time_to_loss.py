"""How long until a small GPT has learned Shakespeare's characters, beside nanoGPT's recipe in PyTorch?

    python tests/benchmarks/time_to_loss.py --text tinyshakespeare.txt

The model is that of nanoGPT's CPU recipe, about 0.8 million parameters; it learns from the first nine tenths of the text and is
judged by the last tenth. PyTorch follows the recipe (nanogpt_recipe.py), 2000 steps of AdamW. We train with Muon, twice: in few
steps, and in as many as fit into PyTorch's time. Only training counts as time, and all take turns of about five seconds, so that
they meet the same machine. The losses are of the same windows of the text, worked out by the same function.
"""

import sys
import time

import numpy as np
import report

from minillm.nn import GPT, Config
from minillm.ground.processes import default_workers
from minillm.ground.runtime import cores
from minillm.text.batches import StreamBatches
from minillm.train import schedule as schedules
from minillm.tasks.evaluate import evaluate_text
from minillm.train.optimizers.muon import Muon
from minillm.train.tasks import TextTask
from minillm.train.trainer import Trainer

QUICK = dict(steps=30, short_steps=15, long_steps=30, slice=0.5)
CONTEXT, LAYERS, HEADS, WIDTH = 64, 4, 4, 128
SCHEDULES = {name: getattr(schedules, name) for name in ("warmup_linear", "warmup_cosine")}


class Run:
    """A training that is done in slices, and its time."""

    def __init__(self, name, model, step, steps):
        self.name, self.model, self.step, self.steps = name, model, step, steps
        self.done, self.seconds = 0, 0.0

    def advance(self, seconds):
        """As many steps as about fill so many seconds."""
        start = time.perf_counter()
        while self.done < self.steps and time.perf_counter() - start < seconds:
            self.step(self.done)
            self.done += 1
        self.seconds += time.perf_counter() - start


def ours(name, task, steps, batch, optimizer, schedule, seed):
    model = GPT(Config(len(task.tokenizer), CONTEXT, LAYERS, HEADS, WIDTH), np.random.default_rng([seed, 0]))
    batches = StreamBatches(task.train, CONTEXT, batch, seed)
    trainer = Trainer(model, optimizer, SCHEDULES[schedule](steps), workers=default_workers())
    return Run(name, model, lambda i: trainer.step(*batches.at(i)), steps)


def pytorch(task, steps, seed):
    from nanogpt_recipe import NanoGPT
    recipe = NanoGPT(task.train, len(task.tokenizer), steps, cores(), seed)
    return Run("PyTorch, nanoGPT's recipe", recipe, recipe.step, steps)


def measure(text=None, steps=2000, short_steps=430, long_steps=1600, lr=0.025, adamw_lr=0.01, batch=12, schedule="warmup_linear",
            slice=5.0, seed=1):
    if text is None:
        print("say with --text FILE what to learn: the complete plays of Shakespeare (tinyshakespeare, 1.1 MB), as nanoGPT does",
              file=sys.stderr)
        return []
    task = TextTask(text)
    runs = [ours(f"minillm, {n} steps", task, n, batch, Muon(lr, adamw_lr=adamw_lr), schedule, seed)
            for n in (short_steps, long_steps)]
    if report.installed("torch", "PyTorch"):
        runs.append(pytorch(task, steps, seed))
    while any(run.done < run.steps for run in runs):
        for run in runs:
            run.advance(slice)
    return [row(run, runs[-1], task) for run in runs]


def row(run, last, task):
    loss = evaluate_text(run.model, task.validation, workers=1).loss      # in this process, where PyTorch has its threads
    return {"run": run.name, "steps": run.steps, "s": run.seconds, "ms a step": 1e3 * run.seconds / run.steps,
            "of the last's time": run.seconds / last.seconds, "validation loss": f"{loss:.4f}"}


def main():
    number, share = dict(type=int), dict(type=float)
    report.command(
        __doc__, measure, QUICK, text=dict(metavar="FILE", help="what to learn, in UTF-8"),
        steps=number | dict(help="of PyTorch (default: 2000, the recipe's)"),
        short_steps=number | dict(help="of our short run (default: 430)"),
        long_steps=number | dict(help="of our long run: as many as fit into PyTorch's time (default: 1600)"),
        lr=share | dict(help="of Muon (default: 0.025)"), adamw_lr=share | dict(help="of its AdamW (default: 0.01)"),
        batch=number | dict(help="windows in each of our steps (default: 12)"),
        schedule=dict(choices=list(SCHEDULES), help="of our learning rates (default: warmup_linear)"),
        slice=share | dict(help="seconds of a turn (default: 5)"), seed=number | dict(help="of weights and batches (default: 1)"))


if __name__ == "__main__":
    main()
