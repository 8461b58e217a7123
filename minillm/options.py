"""The options of every command, checked as they are read: what cannot be is refused in a sentence, with exit code 2."""

import argparse
import math

from . import __version__
from .finetune.methods import Partial
from .phases import OPTIMIZERS
from .train.tasks import CONTEXT

MODEL_HELP = "a model or an adapter, an .npz"
BASE_HELP = "an adapter's base, if it is not where it was"
BENCH_SIZES = ("lesson", "nano", "medium", "large")      # those of bench.py


def number(kind, low=None, high=None, above=None):
    """An argparse type: a number within bounds, refused in a sentence."""
    def convert(text):
        try:
            value = kind(text)
            finite = math.isfinite(value)
        except OverflowError:
            finite = False
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        if not finite:
            bound = f"at most {high}" if high else "finite"
            raise argparse.ArgumentTypeError(f"{text[:20]} must be {bound}")
        if (low is not None and value < low) or (above is not None and value <= above):
            bound = f"at least {low}" if low is not None else f"above {above}"
            raise argparse.ArgumentTypeError(f"{text} must be {bound}")
        if high is not None and value > high:
            raise argparse.ArgumentTypeError(f"{text} must be at most {high}")
        return value
    return convert


COUNT = number(int, low=1, high=10_000_000)
SEED = number(int, low=0, high=2**32 - 1)


def parser(runs):
    """`runs` has the function of each command: {name: run(args)}."""
    top = argparse.ArgumentParser(prog="minillm", description="A small GPT with every gradient written by hand.",
                                  epilog="minillm COMMAND --help shows the options and examples of a command.")
    top.add_argument("--version", action="version", version=f"minillm {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, summary, *examples):
        epilog = "examples:\n" + "\n".join(f"  minillm {name} {example}".rstrip() for example in examples)
        sub = commands.add_parser(name, help=summary, description=summary, epilog=epilog, formatter_class=Help,
                                  allow_abbrev=False)      # so that an option on the command line has its full name
        sub.set_defaults(run=runs[name])
        sub.add_argument("--json", action="store_true", help="end with one line of JSON")
        return sub

    def common(sub, seed=True):
        if seed:
            sub.add_argument("--seed", type=SEED, default=1, help="of every random choice; the same seed gives the same result")
        sub.add_argument("--workers", type=number(int, low=1, high=256), help="processes (default: one for each core)")

    def training(sub, batch, steps):
        sub.add_argument("--text", metavar="FILE", help="learn your own UTF-8 text, character by character")
        sub.add_argument("--batch", type=COUNT, default=batch, help="documents, or windows of a text, in a step")
        sub.add_argument("--accumulate", type=COUNT, default=1, metavar="PIECES",
                         help="go through a batch in pieces, one after the other, when it is larger than memory")
        sub.add_argument("--steps", type=COUNT, default=steps, help="optimisation steps")
        sub.add_argument("--save-every", type=COUNT, default=100, metavar="STEPS", help="how often to save, for --resume")
        sub.add_argument("--resume", action="store_true", help="go on with an interrupted run, with the options it had")

    sub = command("demo", "The whole story: pretrain, fine-tune in three ways, compare, draw the loss surface.",
                  "", "--quick", "--seed 2 --out runs/second")
    common(sub)
    sub.add_argument("--quick", action="store_true", help="a smaller model; half a minute")
    sub.add_argument("--out", default="runs/demo", metavar="FOLDER", help="for models and metrics.json")
    sub.add_argument("--plots", default="plots", metavar="FOLDER", help="for pictures")
    sub.add_argument("--resume", action="store_true", help="keep what an interrupted demo has finished, and go on")

    sub = command("pretrain", "Train a generalist from nothing.",
                  "", "--layers 2 --width 64 --heads 2 --steps 300 --out runs/small",
                  "--text book.txt --context 64 --batch 12 --steps 2000", "--resume --out runs/small")
    common(sub)
    sub.add_argument("--layers", type=number(int, 1, 1000), default=4, help="blocks")
    sub.add_argument("--heads", type=number(int, 1, 1000), default=4, help="attention heads in a block")
    sub.add_argument("--width", type=number(int, 1, 100_000), default=128, help="of every vector inside; a multiple of heads")
    sub.add_argument("--context", type=number(int, 2, 1_000_000),
                     help=f"longest text it reads (default: {CONTEXT}, or 64 with --text)")
    training(sub, batch=24, steps=1000)
    sub.add_argument("--optimizer", choices=OPTIMIZERS, default="muon", help="the rule that turns a gradient into a step")
    sub.add_argument("--lr", type=number(float, above=0), help="learning rate (default: that of the optimizer)")
    sub.add_argument("--out", default="runs/pretrain", metavar="FOLDER", help="pretrained.npz is written there")

    sub = command("finetune", "Make a specialist of a pretrained model.",
                  "--base runs/pretrain/pretrained.npz --method adapter",
                  "--base runs/pretrain/pretrained.npz --method frozen --train 'blocks.*.mlp.*' '*.bias'",
                  "--base runs/book/pretrained.npz --method full --text letters.txt")
    common(sub)
    sub.add_argument("--base", required=True, metavar="FILE", help="the pretrained model, an .npz")
    sub.add_argument("--method", choices=("full", "frozen", "adapter"), default="full",
                     help="all weights, some with the rest frozen, or inserted adapters")
    sub.add_argument("--train", nargs="+", metavar="PATTERN",
                     help=f"for frozen: names of the parameters that train (default: last)")
    sub.add_argument("--bottleneck", type=number(int, 1, 100_000), help="for adapter: its inner width (default: 20)")
    sub.add_argument("--documents", type=COUNT, default=64, help="how many novels to learn from")
    training(sub, batch=16, steps=100)
    sub.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="the rule that turns a gradient into a step")
    sub.add_argument("--lr", type=number(float, above=0), help="learning rate (default: that of the method)")
    sub.add_argument("--out", metavar="FOLDER", help="METHOD.npz is written there (default: beside the base)")

    sub = command("evaluate", "The loss of a model, and how far above the best possible it is.",
                  "runs/demo/full.npz", "runs/demo/adapter.npz --json", "runs/book/pretrained.npz --text other.txt")
    common(sub, seed=False)
    sub.add_argument("checkpoint", help=MODEL_HELP)
    sub.add_argument("--base", metavar="FILE", help=BASE_HELP)
    sub.add_argument("--documents", type=COUNT, default=500, help="of each domain, from the test split")
    sub.add_argument("--text", metavar="FILE", help="evaluate on this whole text")

    sub = command("generate", "Let a model write.",
                  "runs/demo/full.npz --prompt '<novel>'", "runs/demo/pretrained.npz --prompt '<story> one sunny day'",
                  "runs/book/pretrained.npz --prompt 'ROMEO:' --tokens 300 --temperature 0.8")
    common(sub)
    sub.add_argument("checkpoint", help=MODEL_HELP)
    sub.add_argument("--base", metavar="FILE", help=BASE_HELP)
    sub.add_argument("--prompt", default="", help="how it begins; in the toy world '<novel>' or '<story>' says what kind of text")
    sub.add_argument("--tokens", type=COUNT, default=200, help="at most so many more")
    sub.add_argument("--temperature", type=number(float, low=0), default=0.8, help="0: always the likeliest")
    sub.add_argument("--top-k", type=COUNT, help="draw only from the likeliest so many")
    sub.add_argument("--top-p", type=number(float, above=0, high=1), help="draw only from the likeliest that hold this share")
    sub.add_argument("--count", type=COUNT, default=1, help="how many texts")

    sub = command("surface", "Measure and draw the loss surface through three models, their weights moving on it.",
                  "runs/demo", "runs/demo --grid 51 --plots /tmp/plots")
    common(sub, seed=False)
    sub.add_argument("folder", help="with pretrained.npz, full.npz, adapter.npz and what was recorded beside them")
    sub.add_argument("--grid", type=number(int, 3, 501), default=21, help="points along each axis")
    sub.add_argument("--plots", default="plots", metavar="FOLDER", help="for pictures")

    sub = command("gradcheck", "Check every hand-written gradient against finite differences.", "", "--seed 7")
    sub.add_argument("--seed", type=SEED, default=1, help="of the inputs and upstream gradients")

    sub = command("bench", "How fast is it on this machine? Training steps, writing, and each way of fine-tuning.",
                  "", "--size lesson nano --seconds 10", "--workers 1 --json")
    common(sub, seed=False)
    sub.add_argument("--size", nargs="+", choices=BENCH_SIZES, metavar="SIZE",
                     help=f"of the models: {', '.join(BENCH_SIZES)} (default: all four)")
    sub.add_argument("--seconds", type=number(float, above=0, high=3600), default=20.0, help="about how long to measure")
    return top


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the help of each option, but not of those that have none, and the examples as they are written."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False, "") else super()._get_help_string(action)
