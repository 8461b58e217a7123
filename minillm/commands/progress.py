"""minillm progress: what a learner has solved, and what comes next."""

from ..exercises.commands import progress
from .workbook import add_workbook, run_and_answer

SUMMARY = "Show which exercises you have solved, and what comes next."
EXAMPLES = ("",)


def add_options(parser):
    add_workbook(parser)


def run(args):
    return run_and_answer(progress, args)
