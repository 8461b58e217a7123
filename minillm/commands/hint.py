"""minillm hint: the next hint for an exercise."""

from ..exercises.commands import hint
from .options import number
from .workbook import add_exercise, add_workbook, run_and_answer

SUMMARY = "Show the next of three hints for an exercise."
EXAMPLES = ("1", "softmax --level 1")


def add_options(parser):
    add_exercise(parser)
    parser.add_argument("--level", type=number(int, 1), help="show the hint of this number instead of the next one")
    add_workbook(parser)


def run(args):
    return run_and_answer(hint, args)
