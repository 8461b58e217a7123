"""What the lessons share: their options, where things lie, and the generalist of lessons 9, 11 and 12."""

import argparse
import sys
import webbrowser
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from minillm import GPT, Config, Muon, Trainer, World, WorldBatches, load, save_model, warmup_linear
from minillm.train.checkpoint import CheckpointError
from minillm.train.fit import fit
from minillm.train.tasks import CONTEXT

ROOT = Path(__file__).resolve().parent.parent
PLOTS, RUNS = ROOT / "plots", ROOT / "runs" / "lessons"
NOTEBOOK = "ipykernel" in sys.modules


def options(goal):
    """--seed, --quick and --show. In a notebook there is no command line: edit what this returns."""
    parser = argparse.ArgumentParser(description=goal)
    parser.add_argument("--seed", type=int, default=1, help="of every random choice (default: 1)")
    parser.add_argument("--quick", action="store_true", help="a few seconds: shows that all runs, but the models stay poor")
    parser.add_argument("--show", action="store_true", help="open each picture in a window as well")
    return parser.parse_args([] if NOTEBOOK else None)


def shown(path, args):
    """Say where a picture is; in a notebook show it below the cell, with --show in a window."""
    print(f"picture: {path}")
    if NOTEBOOK:
        from IPython.display import Image, display
        display(Image(str(path)))
    elif args.show:
        webbrowser.open(path.as_uri())


def settings(args):
    """How the generalist of lessons 9, 11 and 12 is made. Two blocks are enough for it; the embeddings like large steps."""
    if args.quick:
        return SimpleNamespace(n_layer=2, n_head=4, n_embd=64, batch=12, steps=150, lr=0.04, adamw_lr=0.02, seed=args.seed)
    return SimpleNamespace(n_layer=2, n_head=4, n_embd=96, batch=24, steps=700, lr=0.04, adamw_lr=0.01, seed=args.seed)


def generalist_file(args):
    return RUNS / f"generalist-seed{args.seed}{'-quick' if args.quick else ''}.npz"


def facts(world, args):
    """What a kept generalist must agree with: its settings, and some texts of its world."""
    return vars(settings(args)) | {"texts": world.mixed_ids(8, 0)}


def save_generalist(model, world, args):
    save_model(generalist_file(args), model, world.tokenizer, made=facts(world, args))


def generalist(args):
    """The model that lesson 9 trains: from its file if it is there, else trained now (some 20 seconds) and kept."""
    path, world, s = generalist_file(args), World(args.seed), settings(args)
    try:
        loaded = load(path)
        if loaded.meta["made"] == facts(world, args):
            print(f"the generalist comes from {path}")
            return loaded.model
    except (CheckpointError, KeyError):
        pass                                            # not made yet, or by an older version
    config = Config(len(world.tokenizer), CONTEXT, s.n_layer, s.n_head, s.n_embd)
    model = GPT(config, np.random.default_rng([args.seed, 0]))
    batches = WorldBatches(world, s.batch)
    trainer = Trainer(model, Muon(s.lr, momentum=0.95, adamw_lr=s.adamw_lr), warmup_linear(s.steps), total=batches.total)
    fit(trainer, batches, s.steps, title="pretraining the generalist")
    save_generalist(model, world, args)
    print(f"the generalist is kept in {path}")
    return model
