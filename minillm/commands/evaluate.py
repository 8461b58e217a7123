"""minillm evaluate: the loss of a model, and the best possible one."""

import time

from ..runs.saved import load
from ..tasks.evaluate import evaluate_text, pooled, score_table
from ..tasks.pairs import PairTask
from ..tasks.samples import flawless_json, flawless_world, sample_counts
from ..tasks.special import SPECIALITIES, SpecialTask
from ..tasks.text import TextTask, loss_of_text
from .inputs import add_skip_bad
from .options import COUNT, add_model, add_samples, add_seed, add_workers, path
from .output import print_json

SUMMARY = "Measure the loss of a model, and how far it is above the best possible loss."
EXAMPLES = ("runs/demo/full.npz", "runs/demo/adapter.npz --json", "runs/demo/pretrained.npz --task questions",
            "runs/book/pretrained.npz --text other.txt")


def add_options(parser):
    add_seed(parser)
    add_workers(parser)
    add_model(parser)
    parser.add_argument("--documents", type=COUNT, default=500, help="documents of each domain, from the test split")
    add_samples(parser)
    parser.add_argument("--task", choices=SPECIALITIES,
                        help="evaluate on this task (default: on what the model learned and on what it knew before)")
    parser.add_argument("--text", type=path, metavar="FILE", help="evaluate on this whole text")
    parser.add_argument("--pairs", type=path, metavar="FILE", help="evaluate on the last tenth of this JSONL file")
    add_skip_bad(parser)


def run(args):
    sources = [option for option in ("text", "pairs", "task") if getattr(args, option) is not None]
    if len(sources) > 1:
        raise ValueError(f"--{' and --'.join(sources)} cannot be combined; give only one of them")
    loaded = load(args.checkpoint, args.base)
    start = time.perf_counter()
    scores, written, bits = scores_on_text(args, loaded) if args.text is not None else scores_on_task(args, loaded)
    result = {"loss": pooled(scores), "tokens": sum(score.tokens for score in scores.values()),
              "seconds": time.perf_counter() - start}
    if all(score.floor is not None or score.accuracy is not None for score in scores.values()):
        result["domains"] = {name: vars(score) for name, score in scores.items()}
        for name, flawless in flawless_json(written).items():
            result["domains"][name] = result["domains"][name] | {"flawless": flawless}
    print_json(args, result | bits)


def scores_on_text(args, loaded):
    """Evaluate on a whole text, and print the scores. Returns what `scores_on_task` returns; {} since no texts were written."""
    ids = TextTask(args.text, loaded.tokenizer).ids
    score = evaluate_text(loaded.model, ids, args.workers)
    told, bits = loss_of_text(score, ids, loaded.tokenizer)
    print(*score_table({"text": score}), told, sep="\n")
    return {"text": score}, {}, bits


def scores_on_task(args, loaded):
    """Evaluate on documents of a task, and print the scores.

    Returns them, the counts of texts without a mistake, and of a plain text the losses in bits.
    """
    task = task_to_evaluate_on(args, loaded)
    scores, written = task.score(loaded.model, n=args.documents), {}
    if task.world:
        how_many = sample_counts(task.world, scores, scores, args.samples)
        written = flawless_world(loaded.model, task.world, how_many, seed=args.seed, workers=args.workers)
    print(*score_table(scores, written), *task.remarks("test", args.documents), sep="\n")
    bits = {}
    if isinstance(task, TextTask):
        told, bits = loss_of_text(scores[task.name], task.validation, task.tokenizer)
        print(told)
    return scores, written, bits


def task_to_evaluate_on(args, loaded):
    """The task that the options name, or else the one that the model learned."""
    if args.pairs is not None:
        return PairTask(args.pairs, loaded.tokenizer, args.workers, args.skip_bad)
    task = loaded.task(args.workers)
    if not args.task:
        return task
    if not task.world:
        raise ValueError(f"{args.checkpoint} does not know the language of the toy world, so it cannot be evaluated on --task "
                         f"{args.task}; use --text or --pairs")
    return SpecialTask(args.task, task.world.seed, args.documents, workers=args.workers)
