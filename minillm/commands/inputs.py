"""The options that choose a base, a task and an optimizer for training, and the objects they stand for."""

import os
import sys

from ..finetune.wrapper import all_mergeable
from ..runs.saved import load
from ..tasks.pairs import PairTask
from ..tasks.special import SPECIALITIES, SpecialTask
from ..tasks.text import TextTask
from ..train.optimizers import OPTIMIZERS
from .options import COUNT, number, path


def add_base(parser):
    parser.add_argument("--base", required=True, type=path, metavar="FILE", help="file of the pretrained model (.npz)")


def load_base(path):
    """Load a model to fine-tune. ValueError if the file is an adapter."""
    base = load(path)
    if base.meta["kind"] == "adapter":
        advice = f", or merge the two first: minillm merge {path} --out FILE" if all_mergeable(base.model) else ""
        raise ValueError(f"{path} is an adapter; fine-tune its base{advice}")
    return base


def keep_base(base, out, option):
    """ValueError if a result would overwrite the base that it was made from."""
    if os.path.realpath(out) == os.path.realpath(base):
        raise ValueError(f"the result would be written over {base}, from which it is made; choose another {option}")


def add_task(parser):
    parser.add_argument("--task", choices=SPECIALITIES, default="novel", help="task of the toy world to learn")
    parser.add_argument("--documents", type=COUNT, default=512, help="number of documents to learn from")
    parser.add_argument("--text", type=path, metavar="FILE",
                        help="learn your own UTF-8 text instead; a base that reads characters knows only those it has learned")
    parser.add_argument("--pairs", type=path, metavar="FILE",
                        help='learn pairs from a JSONL file instead, each line {"prompt": ..., "completion": ...}')
    add_skip_bad(parser)


def add_skip_bad(parser):
    parser.add_argument("--skip-bad", action="store_true", help="skip the lines of --pairs that cannot be used")


def task_for(args, base):
    """The task that the options name, with the tokenizer of a base."""
    tasks = [option for option in ("text", "pairs", "task") if option in args.given]
    if len(tasks) > 1:
        raise ValueError(f"--{' and --'.join(tasks)} are two tasks; give one of them")
    if args.text is not None:
        if base.tokenizer.kind == "word":
            raise ValueError(f"{args.base} knows only the words of the toy world; for --text, pretrain a model with --text first")
        return TextTask(args.text, base.tokenizer, args.workers)
    if args.pairs is not None:
        task = PairTask(args.pairs, base.tokenizer, args.workers, args.skip_bad, base.model.config.context)
        for line in task.skipped:
            print(f"left out: {args.pairs}, {line}", file=sys.stderr)
        return task
    learned = base.meta.get("task", {}).get("kind")
    world = None if learned in ("text", "pairs", None) else base.task(args.workers).world
    if world is None:
        why = "does not say what it has learned" if learned is None else "was pretrained on a text, not on the toy world"
        raise ValueError(f"{args.base} {why}; give what it is to learn with --text or --pairs")
    return SpecialTask(args.task, world.seed, args.documents, workers=args.workers)


def add_optimizer(parser, name, whose):
    """Add --optimizer, by default `name`, and --lr.   whose: says in the help where the default learning rate comes from"""
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default=name, help="rule that turns gradients into steps")
    parser.add_argument("--lr", type=number(float, above=0), help=f"learning rate (default: that {whose})")


def optimizer_of(args):
    """The optimizer that the options name."""
    if args.lr is None:
        return OPTIMIZERS[args.optimizer]()
    return OPTIMIZERS[args.optimizer](lr=args.lr)
