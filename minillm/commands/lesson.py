"""minillm lesson: list the lessons, describe or run one of them, and start its exercises."""

import argparse

from ..exercises.commands import lesson
from .options import SEED
from .workbook import add_workbook, run_and_answer

SUMMARY = "List the lessons, describe or run one of them, and start its exercises."
EXAMPLES = ("", "1", "1 --start", "next", "4 --run --show")


def which_lesson(text):
    """A type of option: list, next or a number, as a text."""
    if text not in ("list", "next") and not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither the number of a lesson, nor next, nor list")
    return text


def add_options(parser):
    parser.add_argument("which", nargs="?", default="list", type=which_lesson, metavar="N",
                        help="number of a lesson, next, or list")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--start", action="store_true",
                        help="copy the exercises of the lesson to your workbook; existing files are left as they are")
    action.add_argument("--run", action="store_true", dest="run_it", help="run the lesson here")
    parser.add_argument("--quick", action="store_true", help="with --run: take only a few seconds, with worse models")
    parser.add_argument("--show", action="store_true", help="with --run: open each picture as well")
    parser.add_argument("--seed", type=SEED, default=1, help="with --run: seed of every random choice")
    add_workbook(parser)


def run(args):
    return run_and_answer(lesson, args)
