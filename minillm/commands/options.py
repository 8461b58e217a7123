"""Types of options, which refuse bad values with a sentence, and groups of options that several commands share."""

import argparse
import math
import os


def number(kind, low=None, high=None, above=None):
    """A type of option: a number of this kind, within bounds."""
    def convert(text):
        try:
            value = kind(text)
            finite = math.isfinite(value)
        except OverflowError:
            finite = False
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None
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
STEPS = number(int, low=1, high=1_000_000)
SEED = number(int, low=0, high=2**32 - 1)


def path(text):
    """A type of option: the name of a file or folder."""
    if not text.strip() or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be the name of a file or folder")
    return text


def plain_name(text):
    """A type of option: the name of a model's file, without its folder, which --out names."""
    odd = text != os.path.basename(text) or "\\" in text or "\0" in text or text.startswith(".") or len(text) > 100
    if not text.strip() or odd:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} cannot be the name of a model: give a plain name, and the folder with "
                                         "--out")
    if text.endswith((".training", ".trajectory")):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be the name of a model: files with that ending are kept beside models")
    return text


def spec(parse):
    """A type of option: a text that `parse` accepts. It stays a text, so that it can be saved."""
    def check(text):
        try:
            parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text
    return check


def add_seed(parser):
    parser.add_argument("--seed", type=SEED, default=1, help="seed of every random choice; the same seed gives the same result")


def add_workers(parser):
    parser.add_argument("--workers", type=number(int, low=1, high=256), help="number of processes (default: one per core)")


def add_model(parser):
    """Add the options for a model to read."""
    parser.add_argument("checkpoint", type=path, help="file of a model or an adapter (.npz)")
    add_base_of_adapter(parser)


def add_base_of_adapter(parser):
    parser.add_argument("--base", type=path, metavar="FILE", help="file of the adapter's base, if it was moved")


def add_training(parser, batch, steps):
    parser.add_argument("--batch", type=COUNT, default=batch, help="documents, or windows of a text, in a batch")
    parser.add_argument("--accumulate", type=COUNT, default=1, metavar="PIECES",
                        help="split each batch into pieces that are processed one after the other, to save memory")
    parser.add_argument("--steps", type=STEPS, default=steps, help="optimisation steps")
    parser.add_argument("--save-every", type=COUNT, default=100, metavar="STEPS",
                        help="save the run after every so many steps, for --resume")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run, with its options")


def add_samples(parser, more=""):
    parser.add_argument("--samples", type=number(int, 0, 100_000), default=100,
                        help="number of texts of each kind of the toy world that a model writes, at two temperatures, to count "
                             f"those without a mistake{more}; 0: none")


def add_runs(parser):
    """Add the argument for a folder of fine-tunings."""
    parser.add_argument("folder", type=path, help="folder of pretrained.npz and fine-tunings of it, with their trajectories")


def add_grid(parser, points):
    parser.add_argument("--grid", type=number(int, 3, 501), default=points, help="number of points along each axis of a surface")


def add_pictures(parser, plots="plots"):
    parser.add_argument("--plots", default=plots, type=path, metavar="FOLDER", help="folder for pictures")
    parser.add_argument("--dark", action="store_true", help="use light colours on a dark background")
