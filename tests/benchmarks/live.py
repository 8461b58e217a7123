"""How many steps a second does the live window make, and what takes the time?

    python tests/benchmarks/live.py [--steps 60] [--methods full adapter lora] [--folder runs/demo]

`Window.update()` at the sizes of the demo, drawn with Agg into 1280 x 720 pixels: a training step on 12 novels; its place on
the map (with LoRA, merging); every 5 steps the true losses, every 10 a text of 60 tokens; and the picture. The last columns are
means of these parts; "all at once" is the time to draw everything, as when the window changes its size. Without a folder, models
are made that have trained for two steps.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import report

from minillm.demo import Plan
from minillm.draw.live import DPI, SIZE, Window
from minillm.draw.styles import figure, style
from minillm.finetune.methods import BottleneckAdapter, Frozen, Full
from minillm.ground.processes import default_workers
from minillm.live import Live
from minillm.runs.finetuning import finetune
from minillm.runs.pretraining import pretrain
from minillm.surface.views import surface
from minillm.tasks.special import SpecialTask
from minillm.tasks.world import WorldTask
from minillm.train.optimizers import AdamW
from minillm.train.optimizers.muon import Muon

QUICK = dict(steps=6, methods=["full"])
NAMES = ["full", "adapter", "frozen"]


def measure(steps=60, methods=("full", "frozen", "adapter", "lora"), folder=None):
    with tempfile.TemporaryDirectory() as made:
        folder = folder or hardly_trained(Path(made))
        live = Live(folder, surface(folder, "three", NAMES, 21 if folder != Path(made) else 5), methods, steps=steps)
        with style():
            return [row(live, method) for method in methods]


def hardly_trained(folder):
    """Models of the demo's sizes: how much they know changes no time, but for how long their texts become."""
    plan, path = Plan(), folder / "pretrained.npz"
    base = pretrain(WorldTask(1), plan.config(), path, optimizer=Muon(), steps=2, batch=plan.batch)
    for recipe in (Full(), Frozen(), BottleneckAdapter(plan.bottleneck)):
        finetune(base, path, SpecialTask("novel", 1, plan.documents), recipe, folder / f"{recipe.method}.npz",
                 optimizer=AdamW(recipe.lr), steps=2, batch=plan.finetuning_batch)
    return folder


def row(live, method):
    live.reset(method)
    window = Window(live, figure(*SIZE, DPI))
    window.fig.canvas.draw()
    window.play()
    whole = clock(window.fig.canvas, "draw")                # also what an axis that grows, and the end of a run, ask for
    train, look, step = clock(live.run.trainer, "step"), clock(live, "look"), clock(live, "step")
    update = clock(window, "update")
    for _ in range(live.steps):
        window.update()
    del live.look, live.step
    window.fig.canvas.draw()
    mean = lambda seconds: 1e3 * float(np.mean(seconds[1:]))             # the first forks processes
    return {"method": method, "processes": live.workers or default_workers(), "updates/s": 1e3 / mean(update),
            "median ms": 1e3 * statistics.median(update), "least ms": 1e3 * min(update), "training": mean(train),
            "place, losses, text": mean(look), "picture": mean(update) - mean(step), "all at once": 1e3 * min(whole)}


def clock(thing, method):
    """Lets an object's method note how long each call takes; returns the list."""
    plain, seconds = getattr(thing, method), []

    def timed(*args):
        start = time.perf_counter()
        result = plain(*args)
        seconds.append(time.perf_counter() - start)
        return result

    setattr(thing, method, timed)
    return seconds


def main():
    report.command(__doc__, measure, QUICK, steps=dict(type=int, help="how many updates"),
                   methods=dict(nargs="+", metavar="METHOD", help="of full, frozen, adapter, lora (default: all)"),
                   folder=dict(metavar="DIR", help="a finished demo"))


if __name__ == "__main__":
    main()
