"""The commands: parse, call, print. What they do is in phases.py and demo.py."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from . import __version__
from .finetune.recipes import BottleneckAdapter, Full, Partial
from .finetune.report import size, trainable_table
from .finetune.store import load
from .phases import OPTIMIZERS, finetune, pretrain, surface, unfinished
from .text.generate import generate
from .text.tokenizer import BEGIN, END
from .train.checkpoint import CheckpointError, read_arrays
from .train.evaluate import evaluate_text
from .train.fit import Interrupted
from .train.tasks import CONTEXT, NovelTask, TextTask, WorldTask, task_of
from .train.trainer import Diverged


def main(argv=None):
    """Run one command and leave with its exit code: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""
    args = parser().parse_args(argv)
    try:
        sys.exit(args.run(args) or 0)
    except Interrupted as stop:
        print(f"\nminillm: {stop}. Saved in {stop.saved}; the same command with --resume goes on from there.", file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("\nminillm: interrupted.", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, Diverged) as error:
        if "MINILLM_DEBUG" in os.environ:
            raise
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
        print(f"minillm {args.command}: {reason}", file=sys.stderr)
        sys.exit(2)


# The commands.

def run_demo(args):
    from .demo import QUICK, demo

    metrics = demo(args.out, args.plots, args.seed, QUICK if args.quick else None, args.workers, args.resume)
    answer(args, metrics)


def run_pretrain(args):
    out = Path(args.out) / "pretrained.npz"
    options = options_of_run(args, out)
    task = TextTask(args.text, workers=args.workers) if args.text else WorldTask(args.seed, args.workers)
    config = {"context": args.context or (64 if args.text else CONTEXT), "n_layer": args.layers, "n_head": args.heads,
              "n_embd": args.width}
    loaded = pretrain(task, config, out, optimizer=optimizer_of(args), steps=args.steps, batch=args.batch, seed=args.seed,
                      workers=args.workers, save_every=args.save_every, facts={"options": options})
    report_run(args, loaded, task, out)


def run_finetune(args):
    folder = Path(args.out) if args.out else Path(args.base).parent
    out = folder / f"{args.method}.npz"
    options = options_of_run(args, out)
    base = load(args.base)
    if args.text:
        task = TextTask(args.text, base.tokenizer, args.workers)
    elif base.meta["task"]["kind"] == "world":
        task = NovelTask(base.meta["task"]["seed"], args.documents, args.workers)
    else:
        raise ValueError(f"{args.base} was pretrained on a text; say with --text FILE what it shall be fine-tuned on")
    recipe = {"full": Full, "frozen": lambda: Partial(tuple(args.train)), "adapter": lambda: BottleneckAdapter(args.bottleneck)}
    args.lr = args.lr or {"full": 6e-4, "frozen": 5e-3, "adapter": 1.5e-2}[args.method]
    loaded = finetune(base, args.base, task, recipe[args.method](), out, optimizer=optimizer_of(args), steps=args.steps,
                      batch=args.batch, seed=args.seed, workers=args.workers, save_every=args.save_every, facts={"options": options},
                      announce=lambda model: print("\n".join(trainable_table(model)), flush=True))
    report_run(args, loaded, task, out)


def run_evaluate(args):
    loaded = load(args.checkpoint, args.base)
    start = time.perf_counter()
    if args.text:
        scores = {"text": evaluate_text(loaded.model, TextTask(args.text, loaded.tokenizer).ids, args.workers)}
    else:
        task = task_of(loaded.meta["task"], loaded.tokenizer, args.workers)
        scores = task.score(loaded.model, documents=args.documents)
    print_scores(scores)
    tokens = sum(score.tokens for score in scores.values())
    result = {"loss": sum(score.loss * score.tokens for score in scores.values()) / tokens, "tokens": tokens,
              "seconds": time.perf_counter() - start}
    if "text" not in scores:
        result["domains"] = {name: vars(score) for name, score in scores.items()}
    answer(args, result)


def run_generate(args):
    loaded = load(args.checkpoint, args.base)
    tokenizer = loaded.tokenizer
    ids = tokenizer.encode(args.prompt)
    if BEGIN in tokenizer.ids:
        ids = [tokenizer.ids[BEGIN], *ids]
    elif not ids:
        ids = [tokenizer.ids.get("\n", 0)]
    rng = np.random.default_rng(args.seed)
    for i in range(args.count):
        written = generate(loaded.model, ids, args.tokens, rng, args.temperature, args.top_k, args.top_p, tokenizer.ids.get(END))
        print(tokenizer.decode([i for i in written if tokenizer.tokens[i] not in (BEGIN, END)]))


def run_surface(args):
    from . import draw

    start = time.perf_counter()
    found = surface(args.folder, args.grid, args.workers)
    pictures = [Path(args.plots) / "surface.png", Path(args.plots) / "weights_moving.gif"]
    draw.surface(found, pictures[0])
    draw.animate(found, pictures[1])
    print("Is the picture right?")
    for line in found.checks():
        print(f"  {line}")
    print(*pictures, Path(args.folder) / "surface.npz", sep="\n")
    answer(args, {"distances": found.distances, "cosines": found.cosines, "max_residual": found.max_residual,
                  "seconds": time.perf_counter() - start})


def run_gradcheck(args):
    from .nn.gradcheck import TOLERANCE, check_everything

    errors = check_everything(np.random.default_rng(args.seed))
    for name, error in errors.items():
        print(f"{name:38s}{error:10.1e}  {'right' if error < TOLERANCE else 'WRONG'}")
    worst = max(errors.values())
    print(f"largest relative error {worst:.1e}; a right gradient stays below {TOLERANCE:g}")
    answer(args, {"max_relative_error": worst, "errors": errors})
    return 0 if worst < TOLERANCE else 1


# What they share.

def answer(args, result):
    """With --json, the last line of standard output is one JSON object."""
    if args.json:
        print(json.dumps(result), flush=True)


def report_run(args, loaded, task, out):
    """What a training command says in the end."""
    print(f"{loaded.meta['seconds']:.1f} seconds")
    if args.text:
        score = task.score(loaded.model)
        print(f"validation loss {score.loss:.4f} nats = {score.loss / np.log(2):.3f} bits per character, on {score.tokens:,d} characters "
              "that were not trained on")
        result = {"validation_loss": score.loss, "bits_per_character": score.loss / np.log(2)}
    else:
        scores = task.score(loaded.model, "validation", 100)
        print_scores(scores)
        own = [scores[name] for name in ([task.world.special] if isinstance(task, NovelTask) else task.world.general)]
        tokens = sum(score.tokens for score in own)
        result = {"validation_loss": sum(score.loss * score.tokens for score in own) / tokens,
                  "domains": {name: vars(score) for name, score in scores.items()}}
    print(out)
    answer(args, result | {"seconds": loaded.meta["seconds"]} | size(loaded.model))


def print_scores(scores):
    print(f"{'':10s}{'loss':>9s}{'floor':>9s}{'excess':>9s}{'+-':>8s}{'tokens':>10s}")
    for name, score in scores.items():
        if score.floor is None:
            print(f"{name:10s}{score.loss:9.4f}{'-':>9s}{'-':>9s}{'-':>8s}{score.tokens:10,d}")
        else:
            print(f"{name:10s}{score.loss:9.4f}{score.floor:9.4f}{score.excess:9.4f}{1.96 * score.stderr:8.4f}{score.tokens:10,d}")


def optimizer_of(args):
    if args.lr is None:
        return OPTIMIZERS[args.optimizer]()
    return OPTIMIZERS[args.optimizer](lr=args.lr)


NOT_OF_THE_RUN = ("command", "run", "resume", "json", "out")


def options_of_run(args, out):
    """The options that make a run what it is. With --resume they are those of the run that was interrupted, put into `args`.

    ValueError if there is nothing to resume, if an option was given that differs, or if a run would be lost by starting another.
    """
    checkpoint = unfinished(out)
    if not args.resume:
        if checkpoint.exists():
            raise ValueError(f"{checkpoint} holds a run that was interrupted: go on with --resume, remove that file, or choose another --out")
        out.parent.mkdir(parents=True, exist_ok=True)
        return {name: value for name, value in vars(args).items() if name not in NOT_OF_THE_RUN}
    if not checkpoint.exists():
        raise ValueError(f"there is nothing to resume: no {checkpoint}")
    saved = read_arrays(checkpoint)[1].get("options")
    if saved is None:
        raise CheckpointError(f"{checkpoint} was not written by this command")
    default = vars(parser().parse_args([args.command, *(["--base", "-"] if args.command == "finetune" else [])]))
    for name, value in saved.items():
        if getattr(args, name) not in (value, default[name]):
            raise ValueError(f"the interrupted run has --{name.replace('_', '-')} {value}; --resume cannot change that")
        setattr(args, name, value)
    return saved


# The options.

def number(kind, low=None, high=None, above=None):
    """An argparse type: a number within bounds, refused in a sentence."""
    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {'a whole number' if kind is int else 'a number'}") from None
        if not np.isfinite(value) or (low is not None and value < low) or (above is not None and value <= above):
            raise argparse.ArgumentTypeError(f"{text} is too small; it must be {f'at least {low}' if low is not None else f'above {above}'}")
        if high is not None and value > high:
            raise argparse.ArgumentTypeError(f"{text} is too large; it must be at most {high}")
        return value
    return convert


COUNT = number(int, low=1, high=10_000_000)
SEED = number(int, low=0, high=2**32 - 1)


def parser():
    top = argparse.ArgumentParser(prog="minillm", description="A small GPT with every gradient written by hand.",
                                  epilog="minillm COMMAND --help shows the options and examples of a command.")
    top.add_argument("--version", action="version", version=f"minillm {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, summary, *examples):
        sub = commands.add_parser(name, help=summary, description=summary, formatter_class=Help,
                                  epilog="examples:\n" + "\n".join(f"  minillm {name} {example}".rstrip() for example in examples))
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="end with one line of JSON")
        return sub

    def common(sub, seed=True):
        if seed:
            sub.add_argument("--seed", type=SEED, default=1, help="of every random choice; the same seed gives the same result")
        sub.add_argument("--workers", type=number(int, low=1, high=256), help="threads (default: one for each core)")

    def training(sub, batch, steps):
        sub.add_argument("--text", metavar="FILE", help="learn your own UTF-8 text, character by character, instead of the toy world")
        sub.add_argument("--batch", type=COUNT, default=batch, help="documents, or windows of a text, in a step")
        sub.add_argument("--steps", type=COUNT, default=steps, help="optimisation steps")
        sub.add_argument("--save-every", type=COUNT, default=100, metavar="STEPS", help="how often to save what --resume goes on from")
        sub.add_argument("--resume", action="store_true", help="go on with a run that was interrupted, with the options it had")

    sub = command("demo", run_demo, "The whole story: pretrain, fine-tune in three ways, compare, draw the loss surface.",
                  "", "--quick", "--seed 2 --out runs/second")
    common(sub)
    sub.add_argument("--quick", action="store_true", help="a smaller model; half a minute")
    sub.add_argument("--out", default="runs/demo", metavar="FOLDER", help="for models and metrics.json")
    sub.add_argument("--plots", default="plots", metavar="FOLDER", help="for pictures")
    sub.add_argument("--resume", action="store_true", help="keep what an interrupted demo has finished, and go on")

    sub = command("pretrain", run_pretrain, "Train a generalist from nothing.",
                  "", "--layers 2 --width 64 --heads 2 --steps 300 --out runs/small",
                  "--text book.txt --context 64 --batch 12 --steps 2000", "--resume --out runs/small")
    common(sub)
    sub.add_argument("--layers", type=number(int, 1, 1000), default=4, help="blocks")
    sub.add_argument("--heads", type=number(int, 1, 1000), default=4, help="attention heads in a block")
    sub.add_argument("--width", type=number(int, 1, 100_000), default=128, help="of the residual stream, a multiple of heads")
    sub.add_argument("--context", type=number(int, 2, 1_000_000), help=f"longest text it reads (default: {CONTEXT}, or 64 with --text)")
    training(sub, batch=32, steps=900)
    sub.add_argument("--optimizer", choices=OPTIMIZERS, default="muon", help="the rule that turns a gradient into a step")
    sub.add_argument("--lr", type=number(float, above=0), help="learning rate (default: that of the optimizer)")
    sub.add_argument("--out", default="runs/pretrain", metavar="FOLDER", help="pretrained.npz is written there")

    sub = command("finetune", run_finetune, "Make a specialist of a pretrained model.",
                  "--base runs/pretrain/pretrained.npz --method adapter",
                  "--base runs/pretrain/pretrained.npz --method frozen --train 'blocks.*.mlp.*' '*.bias'",
                  "--base runs/book/pretrained.npz --method full --text letters.txt")
    common(sub)
    sub.add_argument("--base", required=True, metavar="FILE", help="the pretrained model, an .npz")
    sub.add_argument("--method", choices=("full", "frozen", "adapter"), default="full",
                     help="all weights, some with the rest frozen, or inserted adapters")
    sub.add_argument("--train", nargs="+", default=list(Partial().patterns), metavar="PATTERN",
                     help="for frozen: names of the parameters that train")
    sub.add_argument("--bottleneck", type=number(int, 1, 100_000), default=20, help="for adapter: its inner width")
    sub.add_argument("--documents", type=COUNT, default=64, help="how many novels to learn from")
    training(sub, batch=16, steps=100)
    sub.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="the rule that turns a gradient into a step")
    sub.add_argument("--lr", type=number(float, above=0), help="learning rate (default: 6e-4 full, 5e-3 frozen, 1.5e-2 adapter)")
    sub.add_argument("--out", metavar="FOLDER", help="METHOD.npz is written there (default: beside the base)")

    sub = command("evaluate", run_evaluate, "The loss of a model, and how far above the best possible it is.",
                  "runs/demo/full.npz", "runs/demo/adapter.npz --json", "runs/book/pretrained.npz --text other.txt")
    common(sub, seed=False)
    sub.add_argument("checkpoint", help="a model or an adapter, an .npz")
    sub.add_argument("--base", metavar="FILE", help="an adapter's base, if it is not where it was")
    sub.add_argument("--documents", type=COUNT, default=500, help="of each domain, from the test split")
    sub.add_argument("--text", metavar="FILE", help="evaluate on this whole text")

    sub = command("generate", run_generate, "Let a model write.",
                  "runs/demo/full.npz --prompt '<novel>'", "runs/demo/pretrained.npz --prompt '<story> one sunny day'",
                  "runs/book/pretrained.npz --prompt 'ROMEO:' --tokens 300 --temperature 0.8")
    common(sub)
    sub.add_argument("checkpoint", help="a model or an adapter, an .npz")
    sub.add_argument("--base", metavar="FILE", help="an adapter's base, if it is not where it was")
    sub.add_argument("--prompt", default="", help="how it begins; in the toy world a tag such as '<novel>' says what kind of text")
    sub.add_argument("--tokens", type=COUNT, default=200, help="at most so many more")
    sub.add_argument("--temperature", type=number(float, low=0), default=0.8, help="0: always the likeliest")
    sub.add_argument("--top-k", type=COUNT, help="draw only from the likeliest so many")
    sub.add_argument("--top-p", type=number(float, above=0, high=1), help="draw only from the likeliest that hold this probability")
    sub.add_argument("--count", type=COUNT, default=1, help="how many texts")

    sub = command("surface", run_surface, "Measure and draw the loss surface through three models, with their weights moving on it.",
                  "runs/demo", "runs/demo --grid 51 --plots /tmp/plots")
    common(sub, seed=False)
    sub.add_argument("folder", help="with pretrained.npz, full.npz, adapter.npz and what was recorded beside them")
    sub.add_argument("--grid", type=number(int, 3, 501), default=25, help="points along each axis")
    sub.add_argument("--plots", default="plots", metavar="FOLDER", help="for pictures")

    sub = command("gradcheck", run_gradcheck, "Check every hand-written gradient against finite differences.", "", "--seed 7")
    sub.add_argument("--seed", type=SEED, default=1, help="of the inputs and upstream gradients")
    return top


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the help of each option, but not of those that have none, and the examples as they are written."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False, "") else super()._get_help_string(action)
