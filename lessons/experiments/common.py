"""What the experiments share: their options, the base, cells that are computed once, tables and pictures."""

import argparse
from pathlib import Path

from minillm import Muon, load
from minillm.demo import QUICK, Plan
from minillm.finetune.compare import Lab, best_rate, search
from minillm.phases import pretrain
from minillm.train.checkpoint import CheckpointError
from minillm.train.tasks import CONTEXT, WorldTask

ROOT = Path(__file__).resolve().parents[2]
RUNS, PLOTS = ROOT / "runs" / "experiments", ROOT / "plots"


def options(goal, seeds=3):
    parser = argparse.ArgumentParser(description=goal)
    parser.add_argument("--seed", type=int, default=1, help="of the base and its world (default: 1)")
    parser.add_argument("--seeds", type=int, default=seeds, help=f"trainings of each kind (default: {seeds})")
    parser.add_argument("--quick", action="store_true", help="a small base and a few steps: shows that all runs, and no more")
    args = parser.parse_args()
    if args.quick:
        args.seeds = min(args.seeds, 2)
    return args


def base_path(args, **sizes):
    """The file of the generalist that the demo trains; made now, in about a minute, if it is not there. sizes: such as width=64"""
    plan = QUICK if args.quick else Plan()
    width, layers, heads = (sizes.get(name, getattr(plan, name)) for name in ("width", "layers", "heads"))
    steps = 60 if args.quick else plan.pretraining_steps
    own = RUNS / f"base-seed{args.seed}-{layers}x{width}{'-quick' if args.quick else ''}.npz"
    for path in (own, *([ROOT / "runs" / "demo" / "pretrained.npz"] if not args.quick else [])):
        try:
            loaded = load(path)
        except CheckpointError:
            continue
        config = loaded.model.config
        if (loaded.meta["seed"], config.n_embd, config.n_layer) == (args.seed, width, layers):
            return path
    pretrain(WorldTask(args.seed), {"context": CONTEXT, "n_layer": layers, "n_head": heads, "n_embd": width}, own,
             optimizer=Muon(plan.lr, adamw_lr=plan.adamw_lr), steps=steps, batch=plan.batch, seed=args.seed)
    return own


def laboratory(name, args, task="novel", documents=64, steps=100, batch=16, test_documents=100, path=None):
    """A `Lab` (minillm/finetune/compare.py) whose cells are kept in runs/experiments/NAME: what was computed once is read."""
    if args.quick:
        steps, test_documents = 6, 10
    facts = {"kind": task, "seed": args.seed, "documents": documents, "draw": 0}
    return Lab(load(path or base_path(args)), facts, steps, batch, test_documents, RUNS / name)


def at_best_rate(run, middle, rates=3):
    """The learning rate with the least validation loss of a few around a middle one, and beyond if it is the last of them.

    run(lr) gives a cell's result. Returns the rate, and {rate: result}.
    """
    sweep = search(run, middle, rates)
    return best_rate(sweep)[0], sweep


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def shown(values, digits=3):
    """mean (least-largest)"""
    values = list(values)
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def print_table(headings, rows):
    """Rows of texts; the first column to the left, all others to the right."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(headings, *rows)]
    for row in (headings, *rows):
        print("  ".join(str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))).rstrip())
