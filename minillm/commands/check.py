"""minillm check: is the answer to an exercise right?"""

from ..exercises.commands import check
from .options import SEED, path
from .workbook import add_exercise, add_workbook, run_and_answer

SUMMARY = "Check your answer to an exercise: is it right, and if not, where is the mistake?"
EXAMPLES = ("1", "softmax --watch", "7 elsewhere/linear.py")


def add_options(parser):
    add_exercise(parser)
    parser.add_argument("file", nargs="?", type=path, metavar="FILE", help="your file (default: the one in the workbook)")
    parser.add_argument("--watch", action="store_true", help="check again each time you save the file, until it is right")
    parser.add_argument("--seed", type=SEED,
                        help="seed of the sizes and numbers it is checked with (default: new ones each time)")
    add_workbook(parser)


def run(args):
    return run_and_answer(check, args)
