"""What the lessons share: options, pictures, figures with their expected values, and the generalist of lessons 7 to 14."""

import ctrl_c  # noqa: F401, I001  (first, since the imports after it may take long and be interrupted)
import argparse
import os
import re
import shlex
import sys
import webbrowser
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from minillm import GPT, Config, Muon, Trainer, World, WorldBatches, load, save_model, warmup_linear
from minillm.draw.styles import figure
from minillm.draw.styles import save, style
from minillm.ground.files import CheckpointError
from minillm.train.fit import fit
from minillm.tasks.world import CONTEXT

ROOT = Path(__file__).resolve().parent.parent
PLOTS, RUNS = ROOT / "plots", ROOT / "runs" / "lessons"
NOTEBOOK = "ipykernel" in sys.modules
EXPECTED = re.compile(r"(-?[\d.,]+(?:e-?\d+)?) ± ([\d.,]+(?:e-?\d+)?)")


class Lesson:
    """The options of a lesson (--seed, --quick, --show), its pictures and its figures.

    In a notebook there is no command line: set `lesson.seed = 2` or `lesson.quick = True` in a cell of its own, or, before it
    starts, the environment variable LESSON_OPTIONS.
    """

    def __init__(self, number, title):
        self.number = number
        parser = argparse.ArgumentParser(description=f"Lesson {number}: {title}",
                                         epilog="Pictures go to plots/. The lesson is a notebook, too: see lessons/README.md.")
        parser.add_argument("--seed", type=int, default=1, help="of every random choice (default: 1)")
        parser.add_argument("--quick", action="store_true",
                            help="a few seconds: only shows that everything runs, with other figures than in the text")
        parser.add_argument("--show", action="store_true", help="open each picture in a window as well")
        args = parser.parse_args(shlex.split(os.environ.get("LESSON_OPTIONS", "")) if NOTEBOOK else None)
        if args.seed < 0:
            parser.error(f"argument --seed: {args.seed} must be at least 0")
        self.seed, self.quick, self.show = args.seed, args.quick, args.show

    def rng(self, *key):
        """Random numbers, the same for the same seed and key."""
        return np.random.default_rng([self.seed, *key])

    def expect(self, name, value, expected):
        """Print a figure beside the range seen with other seeds, such as "0.31 ± 0.05", and say so if it lies outside."""
        centre, spread = (float(part.replace(",", "")) for part in EXPECTED.search(expected).groups())
        tail = EXPECTED.search(expected)[2]
        digits = len(tail.partition(".")[2]) + 1 if "e" not in tail else None       # one more than the tolerance has
        text = f"{value:.1e}" if digits is None else f"{value:,.{digits}f}"
        if self.quick:
            note = f"(in a full run {expected})"
        else:
            note = f"expected {expected}{'' if abs(value - centre) <= spread else '   <- NOT as expected'}"
        print(f"{name:56s} {text:>10s}   {note}", flush=True)

    def path(self, name):
        """plots/lesson04_NAME"""
        return PLOTS / f"lesson{self.number:02d}_{name}"

    @contextmanager
    def picture(self, name, width=8, height=5):
        """An empty figure in the common style; saved at the end, and shown.   with lesson.picture("bowl.png") as fig:"""
        with style():
            fig = figure(width, height)
            yield fig
            save(fig, self.path(name))
        self.shown(self.path(name))

    def shown(self, path):
        """Print where a picture is; in a notebook show it below the cell, with --show in a window."""
        print(f"picture: {path}", flush=True)
        if NOTEBOOK:
            from IPython.display import Image, display
            display(Image(str(path)))
        elif self.show:
            webbrowser.open(path.as_uri())


# The generalist that lessons 7 to 14 share: trained by the first that needs it, in about 20 seconds, and saved.

def settings(lesson):
    """Its size and training. Two blocks are enough for it; the embeddings work best with large steps."""
    if lesson.quick:
        return SimpleNamespace(n_layer=2, n_head=4, n_embd=64, batch=12, steps=150, lr=0.04, adamw_lr=0.02, seed=lesson.seed)
    return SimpleNamespace(n_layer=2, n_head=4, n_embd=96, batch=24, steps=700, lr=0.04, adamw_lr=0.01, seed=lesson.seed)


def generalist_file(lesson):
    return RUNS / f"generalist-seed{lesson.seed}{'-quick' if lesson.quick else ''}.npz"


def made_from(world, lesson):
    """Its settings and some texts of its world: a saved generalist is used only if these are the same."""
    return vars(settings(lesson)) | {"texts": world.mixed_ids(8, 0)}


def new_generalist(world, lesson):
    """The untrained model, its trainer and its batches: lesson 9 trains them before your eyes."""
    s = settings(lesson)
    model = GPT(Config(len(world.tokenizer), CONTEXT, s.n_layer, s.n_head, s.n_embd), lesson.rng(0))
    batches = WorldBatches(world, s.batch)
    trainer = Trainer(model, Muon(s.lr, momentum=0.95, adamw_lr=s.adamw_lr), warmup_linear(s.steps), total=batches.total)
    return model, trainer, batches


def save_generalist(model, world, lesson):
    save_model(generalist_file(lesson), model, world.tokenizer, made=made_from(world, lesson))


def generalist(lesson):
    """The generalist, from its file if that is there, else trained now and saved."""
    path, world = generalist_file(lesson), World(lesson.seed)
    try:
        loaded = load(path)
        if loaded.meta["made"] == made_from(world, lesson):
            return loaded.model
    except (CheckpointError, KeyError):
        pass                                            # not made yet, or by an older version
    model, trainer, batches = new_generalist(world, lesson)
    print("The generalist is pretrained first, once for all lessons (about 20 seconds).", flush=True)
    fit(trainer, batches, settings(lesson).steps, title="pretraining")
    save_generalist(model, world, lesson)
    return model


def copy_of(model, rng=None):
    """A second model with the same weights, to be changed."""
    twin = GPT(model.config, rng or np.random.default_rng(0))
    twin.load_state_dict(model.state_dict())
    return twin
