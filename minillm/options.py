"""The options of every command, checked as they are read: what cannot be is refused in a sentence, with exit code 2."""

import argparse
import math
import os

from . import __version__
from .exercises.workbook import FOLDER
from .finetune.compare import DEFAULT_METHODS
from .finetune.methods import ALIASES, METHODS, recipe_of
from .finetune.methods.frozen import PARTS
from .finetune.remedies import REMEDIES, remedy_of
from .finetune.spec import options_of
from .surface.views import VIEWS
from .tasks.special import SPECIALITIES
from .tasks.world import CONTEXT
from .train.optimizers import OPTIMIZERS

MODEL_HELP = "a model or an adapter, an .npz"
BASE_HELP = "an adapter's base, if it is not where it was"
VIEWS_HELP = {name: lay.__doc__ for name, (lay, _) in VIEWS.items()} | {"line": "The straight line between two models."}
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


def path(text):
    """An argparse type: the name of a file or folder."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be the name of a file or folder")
    return text


def plain_name(text):
    """An argparse type: a name for files, which lie in a folder that is told apart."""
    odd = text != os.path.basename(text) or "\\" in text or "\0" in text or text.startswith(".") or len(text) > 100
    if not text.strip() or odd:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} cannot be the name of a model: give a plain name, and the folder by "
                                         "--out")
    if text.endswith((".training", ".trajectory")):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be the name of a model: files with that ending are kept beside models")
    return text


def which_lesson(text):
    """An argparse type: list, next or a number, as a text."""
    if text not in ("list", "next") and not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither the number of a lesson, nor next, nor list")
    return text


def spec(parse):
    """An argparse type: a text that `parse` must understand. It stays a text, which can be saved."""
    def check(text):
        try:
            parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text
    return check


def listing(kinds):
    return [f"  {name:10s}{options_of(kind)}".rstrip() for name, kind in kinds.items()]


METHODS_HELP = "\n".join([
    "methods, with their options and what these are at first; several values are joined by +", *listing(METHODS),
    f"train is one of {', '.join(PARTS)}, or a pattern of parameter names; last-2 are the last two blocks",
    "also", *(f"  {name:10s}= {text}" for name, text in ALIASES.items()),
    "remedies against forgetting", *listing(REMEDIES),
    "ewc does not hold what has no effect at the start: A of lora and dora, the way down of adapters, a prefix behind its gate"])

COUNT = number(int, low=1, high=10_000_000)
STEPS = number(int, low=1, high=1_000_000)
SEED = number(int, low=0, high=2**32 - 1)


def parser(runs):
    """`runs` has the function of each command: {name: run(args)}."""
    top = Parser(prog="minillm", description="A small GPT with every gradient written by hand.",
                                  epilog="minillm COMMAND --help shows the options and examples of a command.")
    top.add_argument("--version", action="version", version=f"minillm {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, summary, *examples, notes=""):
        epilog = "examples:\n" + "\n".join(f"  minillm {name} {example}".rstrip() for example in examples)
        epilog += f"\n\n{notes}" if notes else ""
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
        sub.add_argument("--batch", type=COUNT, default=batch, help="documents, or windows of a text, in a step")
        sub.add_argument("--accumulate", type=COUNT, default=1, metavar="PIECES",
                         help="go through a batch in pieces, one after the other, when it is larger than memory")
        sub.add_argument("--steps", type=STEPS, default=steps, help="optimisation steps")
        sub.add_argument("--save-every", type=COUNT, default=100, metavar="STEPS", help="how often to save, for --resume")
        sub.add_argument("--resume", action="store_true", help="go on with an interrupted run, with the options it had")

    def method(sub, option, **more):
        sub.add_argument(option, type=spec(recipe_of), metavar="METHOD", **more)

    def task(sub):
        sub.add_argument("--task", choices=SPECIALITIES, default="novel", help="what of the toy world is to be learned")
        sub.add_argument("--documents", type=COUNT, default=64, help="how many to learn from")
        sub.add_argument("--text", type=path, metavar="FILE",
                         help="learn your own UTF-8 text instead, in the characters of the base")
        sub.add_argument("--pairs", type=path, metavar="FILE", help='or JSONL, each line {"prompt": ..., "completion": ...}')
        sub.add_argument("--skip-bad", action="store_true", help="leave out the lines of --pairs that cannot be used")

    def samples(sub, more=""):
        sub.add_argument("--samples", type=number(int, 0, 100_000), default=100,
                         help="texts that a model writes of each kind of the toy world, at two temperatures, to count those "
                              f"without a mistake{more}; 0: none")

    def optimizer(sub, name, whose):
        sub.add_argument("--optimizer", choices=OPTIMIZERS, default=name, help="the rule that turns a gradient into a step")
        sub.add_argument("--lr", type=number(float, above=0), help=f"learning rate (default: that {whose})")

    sub = command("demo", "The whole story: pretrain, fine-tune in three ways, compare, draw the loss surface.",
                  "", "--quick", "--seed 2 --out runs/second", "--live --dark")
    common(sub)
    sub.add_argument("--quick", action="store_true", help="a smaller model; half a minute")
    sub.add_argument("--out", default="runs/demo", type=path, metavar="FOLDER", help="for models and metrics.json")
    sub.add_argument("--plots", default="plots", type=path, metavar="FOLDER", help="for pictures")
    sub.add_argument("--resume", action="store_true", help="keep what an interrupted demo has finished, and go on")
    sub.add_argument("--live", action="store_true",
                     help="a window in which a class watches the weights move; uses the demo in --out, makes it first if need be")
    sub.add_argument("--dark", action="store_true", help="that window light on dark")

    sub = command("pretrain", "Train a generalist from nothing.",
                  "", "--layers 2 --width 64 --heads 2 --steps 300 --out runs/small",
                  "--text book.txt --context 64 --batch 12 --steps 2000", "--resume --out runs/small")
    common(sub)
    sub.add_argument("--layers", type=number(int, 1, 1000), default=4, help="blocks")
    sub.add_argument("--heads", type=number(int, 1, 1000), default=4, help="attention heads in a block")
    sub.add_argument("--width", type=number(int, 1, 100_000), default=128, help="of every vector inside; a multiple of heads")
    sub.add_argument("--context", type=number(int, 2, 1_000_000),
                     help=f"longest text it reads (default: {CONTEXT}, or 64 with --text)")
    sub.add_argument("--text", type=path, metavar="FILE", help="learn your own UTF-8 text, character by character")
    training(sub, batch=24, steps=1000)
    optimizer(sub, "muon", "of the optimizer")
    sub.add_argument("--out", default="runs/pretrain", type=path, metavar="FOLDER", help="pretrained.npz is written there")

    sub = command("finetune", "Make a specialist of a pretrained model.",
                  "--base runs/pretrain/pretrained.npz --method lora",
                  "--base runs/pretrain/pretrained.npz --method lora:rank=8,targets=q+v --lr 5e-3",
                  "--base runs/pretrain/pretrained.npz --method 'frozen:train=blocks.*.mlp.*+*.bias'",
                  "--base runs/pretrain/pretrained.npz --task questions --documents 1024 --steps 400 --batch 32",
                  "--base runs/pretrain/pretrained.npz --remedy replay:share=0.5",
                  "--base runs/book/pretrained.npz --method adapter:bottleneck=8 --text letters.txt",
                  "--base runs/pretrain/pretrained.npz --pairs answers.jsonl", notes=METHODS_HELP)
    common(sub)
    sub.add_argument("--base", required=True, type=path, metavar="FILE", help="the pretrained model, an .npz")
    method(sub, "--method", default="full", help="how: a method, or method:option=value,... (see below)")
    sub.add_argument("--remedy", type=spec(remedy_of), default="none", metavar="REMEDY",
                     help="against forgetting (see below)")
    task(sub)
    training(sub, batch=16, steps=100)
    optimizer(sub, "adamw", "of the method")
    sub.add_argument("--out", type=path, metavar="FOLDER", help="NAME.npz is written there (default: beside the base)")
    sub.add_argument("--name", type=plain_name, help="of the file (default: the name of the method)")

    sub = command("inspect", "What is in a model? With --method: what would train, and what would it take?",
                  "runs/demo/pretrained.npz", "runs/demo/adapter.npz", "runs/demo/pretrained.npz --method lora:rank=8 --batch 32",
                  notes=METHODS_HELP)
    sub.add_argument("checkpoint", type=path, help=MODEL_HELP)
    sub.add_argument("--base", type=path, metavar="FILE", help=BASE_HELP)
    method(sub, "--method", help="as of finetune")
    sub.add_argument("--batch", type=COUNT, default=16, help="texts in a step, for the memory of activations")
    sub.add_argument("--context", type=COUNT, help="tokens in each (default: as many as the model reads)")
    sub.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="for the memory of its state")
    common(sub, seed=False)

    sub = command("merge", "Fold an adapter into its base: one model, as small and as quick as the base.",
                  "runs/demo/lora.npz --out runs/demo/merged.npz")
    sub.add_argument("checkpoint", type=path, help="an adapter made by lora, dora or ia3")
    sub.add_argument("--base", type=path, metavar="FILE", help=BASE_HELP)
    sub.add_argument("--out", required=True, type=path, metavar="FILE", help="the .npz to write")

    sub = command("compare", "Methods side by side: each at its best learning rate, over several seeds, in one table.",
                  "--base runs/demo/pretrained.npz", "--base runs/demo/pretrained.npz --documents 256 --steps 300",
                  "--base runs/demo/pretrained.npz --methods full lora:rank=2 lora:rank=8 --seeds 5",
                  "--base runs/demo/pretrained.npz --methods full lora --remedies none replay wise:keep=0.7", notes=METHODS_HELP)
    common(sub, seed=False)
    sub.add_argument("--base", required=True, type=path, metavar="FILE", help="the pretrained model, an .npz")
    sub.add_argument("--methods", nargs="+", type=spec(recipe_of), metavar="METHOD", default=DEFAULT_METHODS, help="to compare")
    sub.add_argument("--remedies", nargs="+", type=spec(remedy_of), metavar="REMEDY", default=["none"],
                     help="each method is tried with each of them")
    task(sub)
    sub.add_argument("--seeds", type=number(int, low=1, high=100), default=3, help="how many; each draws its own documents")
    sub.add_argument("--rates", type=number(int, low=1, high=15), default=5,
                     help="learning rates to try for each method on the first seed, each twice the one before; a few more where "
                          "the best is at the edge")
    sub.add_argument("--steps", type=STEPS, default=100, help="optimisation steps")
    sub.add_argument("--batch", type=COUNT, default=16, help="documents in a step")
    sub.add_argument("--test-documents", type=COUNT, default=100, help="of each kind, to judge by")
    samples(sub, " (a fourth as many of the old kinds)")
    sub.add_argument("--no-scratch", action="store_true", help="leave out the model that starts from nothing")
    sub.add_argument("--out", default="runs/compare", type=path, metavar="FOLDER",
                     help="for the table, the picture, and what is finished: run again, and only what is missing is computed")

    sub = command("evaluate", "The loss of a model, and how far above the best possible it is.",
                  "runs/demo/full.npz", "runs/demo/adapter.npz --json", "runs/demo/pretrained.npz --task questions",
                  "runs/book/pretrained.npz --text other.txt")
    common(sub, seed=False)
    sub.add_argument("checkpoint", type=path, help=MODEL_HELP)
    sub.add_argument("--base", type=path, metavar="FILE", help=BASE_HELP)
    sub.add_argument("--documents", type=COUNT, default=500, help="of each domain, from the test split")
    samples(sub)
    sub.add_argument("--task", choices=SPECIALITIES, help="on this (default: on what it has learned, and what it knew before)")
    sub.add_argument("--text", type=path, metavar="FILE", help="on this whole text")
    sub.add_argument("--pairs", type=path, metavar="FILE", help="on the last tenth of this JSONL")
    sub.add_argument("--skip-bad", action="store_true", help="leave out the lines of --pairs that cannot be used")

    sub = command("generate", "Let a model write.",
                  "runs/demo/full.npz --prompt '<novel>'", "runs/demo/pretrained.npz --prompt '<story> one sunny day'",
                  "runs/book/pretrained.npz --prompt 'ROMEO:' --tokens 300 --temperature 0.8")
    common(sub)
    sub.add_argument("checkpoint", type=path, help=MODEL_HELP)
    sub.add_argument("--base", type=path, metavar="FILE", help=BASE_HELP)
    sub.add_argument("--prompt", default="", help="how it begins; in the toy world '<novel>' or '<story>' says what kind of text")
    sub.add_argument("--tokens", type=COUNT, default=200, help="at most so many more")
    sub.add_argument("--temperature", type=number(float, low=0), default=0.8, help="0: always the likeliest")
    sub.add_argument("--top-k", type=COUNT, help="draw only from the likeliest so many")
    sub.add_argument("--top-p", type=number(float, above=0, high=1), help="draw only from the likeliest that hold this share")
    sub.add_argument("--count", type=COUNT, default=1, help="how many texts")

    def pictures(sub, plots="plots"):
        sub.add_argument("--plots", default=plots, type=path, metavar="FOLDER", help="for pictures")
        sub.add_argument("--dark", action="store_true", help="light on dark, for a projector in a dark room")

    def grid(sub, points):
        sub.add_argument("--grid", type=number(int, 3, 501), default=points, help="points along each axis of a surface")

    sub = command("surface", "Measure and draw the loss surface on which the weights moved.",
                  "runs/demo", "runs/demo --grid 51 --dark", "runs/demo --view pca --models full", "runs/demo --view hessian",
                  "runs/demo --view curve --models full scratch", "runs/demo --view line --models pretrained full",
                  notes="\n".join(["views, and what they show", *(f"  {name:9s}{text}" for name, text in VIEWS_HELP.items())]))
    common(sub)
    sub.add_argument("folder", type=path, help="with pretrained.npz, fine-tunings of it, and what was recorded beside them")
    sub.add_argument("--view", choices=VIEWS_HELP, default="three", help="along what to look (see below)")
    sub.add_argument("--models", nargs="+", metavar="NAME",
                     help="fine-tunings in the folder; the first one or two choose the directions (default: all but scratch)")
    grid(sub, 21)
    pictures(sub)

    sub = command("sharpness", "How steep are the walls around a model? The largest and smallest eigenvalues of its Hessian.",
                  "runs/demo/full.npz", "runs/demo/adapter.npz --trainable")
    common(sub)
    sub.add_argument("checkpoint", type=path, help=MODEL_HELP)
    sub.add_argument("--base", type=path, metavar="FILE", help=BASE_HELP)
    sub.add_argument("--trainable", action="store_true", help="only along the parameters that its method trains")
    sub.add_argument("--top", type=number(int, 1, 20), default=2, help="how many of the largest")

    sub = command("report", "One page about a run, with all pictures inside: open it anywhere, mail it to a class.",
                  "runs/demo", "runs/demo --models full lora --out lora.html")
    common(sub)
    sub.add_argument("folder", type=path, help="with pretrained.npz, fine-tunings of it, and what was recorded beside them")
    sub.add_argument("--models", nargs="+", metavar="NAME", help="fine-tunings in the folder (default: all)")
    sub.add_argument("--out", type=path, metavar="FILE", help="the page (default: report.html in the folder)")
    sub.add_argument("--documents", type=COUNT, default=100, help="of each kind, to judge the models by")
    samples(sub, " (a fourth as many of the old kinds)")
    grid(sub, 21)
    sub.add_argument("--dark", action="store_true", help="light on dark")

    sub = command("gallery", "Every kind of picture, from a finished demo; trains and measures what is missing.",
                  "runs/demo", "runs/demo --plots plots/dark --dark")
    common(sub, seed=False)
    sub.add_argument("--seed", type=SEED, help="of every random choice (default: that of the demo)")
    sub.add_argument("folder", type=path, help="of a finished demo")
    grid(sub, 31)
    pictures(sub, "plots/gallery")

    def learning(sub):
        sub.add_argument("--workbook", default=FOLDER, type=path, metavar="FOLDER", help="of your exercises and progress")

    sub = command("lesson", "The lessons: which there are, what one is about, and its exercises.",
                  "", "1", "1 --start", "next", "4 --run --show")
    sub.add_argument("which", nargs="?", default="list", type=which_lesson, metavar="N", help="a number, next, or list")
    action = sub.add_mutually_exclusive_group()
    action.add_argument("--start", action="store_true",
                        help="copy the exercises of the lesson to where you work; what is there already stays as it is")
    action.add_argument("--run", action="store_true", dest="run_it", help="run the lesson here")
    sub.add_argument("--quick", action="store_true", help="with --run: in a few seconds, with poor models")
    sub.add_argument("--show", action="store_true", help="with --run: open each picture as well")
    sub.add_argument("--seed", type=SEED, default=1, help="with --run: of every random choice")
    learning(sub)

    sub = command("check", "Is your answer to an exercise right? If not: where, and what may be the cause.",
                  "1", "softmax --watch", "7 elsewhere/linear.py")
    sub.add_argument("exercise", metavar="N", help="number or name of the exercise")
    sub.add_argument("file", nargs="?", type=path, metavar="FILE", help="your file (default: the one in the workbook)")
    sub.add_argument("--watch", action="store_true", help="check again whenever you save it, until it is right")
    sub.add_argument("--seed", type=SEED, help="of the sizes and numbers to try it with (default: new ones each time)")
    learning(sub)

    sub = command("hint", "Stuck? The next of three hints for an exercise.", "1", "softmax --level 1")
    sub.add_argument("exercise", metavar="N", help="number or name of the exercise")
    sub.add_argument("--level", type=number(int, 1), help="this hint instead of the next")
    learning(sub)

    sub = command("progress", "What you have solved, and what comes next.", "")
    learning(sub)

    sub = command("gradcheck", "Check every hand-written gradient against finite differences.", "", "--seed 7")
    sub.add_argument("--seed", type=SEED, default=1, help="of the inputs and upstream gradients")

    sub = command("bench", "How fast is it on this machine? Training steps, writing, and each way of fine-tuning.",
                  "", "--size lesson nano --seconds 10", "--workers 1 --json")
    common(sub, seed=False)
    sub.add_argument("--size", nargs="+", choices=BENCH_SIZES, metavar="SIZE",
                     help=f"of the models: {', '.join(BENCH_SIZES)} (default: all four)")
    sub.add_argument("--seconds", type=number(float, above=0, high=3600), default=20.0, help="about how long to measure")
    return top


class BadOption(ValueError):
    """What was typed cannot be. `prog` is the command, as far as it is known."""

    def __init__(self, prog, message):
        super().__init__(message)
        self.prog = prog


class Parser(argparse.ArgumentParser):
    """One that raises, so that there is one place where errors are told."""

    def error(self, message):
        raise BadOption(self.prog, f"error: {message}; {self.prog} --help shows what there is")


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults in the help of each option, but not of those that have none, and the examples as they are written."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False, "") else super()._get_help_string(action)
