"""What the experiments share: options, the base, results that are computed only once, tables."""

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path

from minillm import AdamW, Config, Full, Muon, load
from minillm.demo import QUICK, Plan
from minillm.finetune.compare import SCRATCH, Cell, Lab, best_rate, search, usual_rate
from minillm.finetune.methods import recipe_of
from minillm.finetune.specialist import prepare, specialise
from minillm.finetune.summary import parameter_counts
from minillm.ground.files import CheckpointError, write_json
from minillm.runs.pretraining import pretrain
from minillm.tasks.evaluate import evaluate_documents
from minillm.tasks.world import WorldTask

ROOT = Path(__file__).resolve().parents[2]
RUNS, PLOTS = ROOT / "runs" / "experiments", ROOT / "plots"


def options(goal, seeds=3):
    parser = argparse.ArgumentParser(description=goal)
    parser.add_argument("--seed", type=int, default=1, help="of the base and its world (default: 1)")
    parser.add_argument("--seeds", type=int, default=seeds, help=f"trainings of each kind (default: {seeds})")
    parser.add_argument("--quick", action="store_true", help="a small base and a few steps: only shows that everything runs")
    args = parser.parse_args()
    if args.quick:
        args.seeds = min(args.seeds, 2)
    return args


def base_path(args, **sizes):
    """The file of the demo's generalist, which is trained now, in about a minute, if it is missing. sizes: such as width=64"""
    plan, world = replace(QUICK if args.quick else Plan(), **sizes), WorldTask(args.seed)
    steps = 60 if args.quick else plan.pretraining_steps
    own = RUNS / f"base-seed{args.seed}-{plan.layers}x{plan.width}{'-quick' if args.quick else ''}.npz"
    for path in (own, *([ROOT / "runs" / "demo" / "pretrained.npz"] if not args.quick else [])):
        try:
            loaded = load(path)
        except CheckpointError:
            continue
        made_with = loaded.meta["seed"], loaded.model.config, loaded.meta["history"]["steps"]
        if made_with == (args.seed, Config(len(world.tokenizer), **plan.config()), steps):      # and not by an earlier plan
            return path
    pretrain(world, plan.config(), own, optimizer=Muon(plan.lr, adamw_lr=plan.adamw_lr), steps=steps,
             batch=plan.batch, seed=args.seed)
    return own


class NewOnly(Lab):
    """Judges only what is new, for experiments that ignore forgetting: this saves a good part of a cell's time."""

    def judged_on(self):
        return [self.new]

    def judge(self, model, task):
        score = self.score(model, task, "test")
        return {self.new: {"excess": score.excess, "accuracy": score.accuracy}}


def laboratory(name, args, path=None, kind=Lab):
    """A `Lab` (minillm/finetune/compare.py) with the demo's novels, that keeps its cells in runs/experiments/NAME."""
    plan = Plan(finetuning_steps=6, test_documents=10) if args.quick else Plan()
    task_json = {"kind": "novel", "seed": args.seed, "documents": plan.documents, "draw": 0}
    return kind(load(path or base_path(args)), task_json, plan.finetuning_steps, plan.finetuning_batch, plan.test_documents,
                RUNS / name)


def at_best_rate(run, middle, rates=3):
    """The learning rate with the least validation loss, of a few around a middle one; more are tried if the best is the last.

    run(lr) returns a cell's result. Returns the rate, and {rate: result}.
    """
    sweep = search(run, middle, rates)
    return best_rate(sweep)[0], sweep


def trained(lab, cell, task=None, optimizer=None, start_seed=None):
    """The model of a cell, and its `Specialist`, which has the weights from before. (A `Lab` keeps only figures.)

    start_seed      the seed of the initial weights, if it differs from the cell's seed, which is then only that of the batches
    """
    scratch = cell.method == SCRATCH
    recipe = Full() if scratch else recipe_of(cell.method)
    model = prepare(lab.base.model, recipe, cell.seed if start_seed is None else start_seed, scratch)
    run = specialise(model, recipe, task or lab.task(cell.seed), lab.old_task, optimizer or AdamW(cell.lr), lab.steps, lab.batch,
                     cell.seed)
    for step in range(lab.steps):
        run.trainer.step(*run.batches.at(step))
    return model, run


def validation_excess(lab, model):
    """The excess on validation texts of the new task, by which learning rates are chosen."""
    return evaluate_documents(model, lab.task(1).documents("validation", lab.test_documents)).excess


def computed_once(lab, inputs, compute):
    """As `kept`, beside the cells of a lab, with inputs that begin with those of a cell (`Lab.inputs_of`)."""
    return kept(lab.cells.with_name("measured"), inputs, compute)


def kept(folder, inputs, compute):
    """compute(), a result for JSON; read from its file in the folder if it was computed before from the same inputs."""
    name = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"{name}.json"
    if not path.exists():
        write_json(path, {"facts": inputs, "result": compute()})
    return json.loads(path.read_text())["result"]


def tuned(lab, method, args, middle=None):
    """A method at its own best learning rate, chosen with the first seed: the rate, and the results over all seeds."""
    lr, sweep = at_best_rate(lambda lr: lab.run(Cell(method, lr, 1)), middle or usual_rate(method), 1 if args.quick else 3)
    edge = " (the last that was tried)" if best_rate(sweep)[1] else ""
    print(f"  {method}: of {len(sweep)} learning rates {lr:.2g} is best{edge}", flush=True)
    return lr, [lab.run(Cell(method, lr, seed)) for seed in range(1, args.seeds + 1)]


def count_trained(lab, method):
    """How many parameters would train."""
    return parameter_counts(prepare(lab.base.model, recipe_of(method)))["trainable_parameters"]


def trained_share(cell):
    """Of all parameters, in per cent."""
    return 100 * cell["trainable_parameters"] / cell["total_parameters"]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def shown(values, digits=3):
    """The text "mean (least-largest)"."""
    values = list(values)
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def print_table(headings, rows):
    """Print rows of texts, the first column aligned to the left, all others to the right."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(headings, *rows)]
    for row in (headings, *rows):
        print("  ".join(str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))).rstrip())
