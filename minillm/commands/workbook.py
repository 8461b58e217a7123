"""What the commands for learners share: lesson, check, hint, progress. They call exercises/commands.py."""

from ..exercises.workbook import FOLDER
from .options import path
from .output import print_json


def add_exercise(parser):
    parser.add_argument("exercise", metavar="N", help="number or name of the exercise")


def add_workbook(parser):
    parser.add_argument("--workbook", default=FOLDER, type=path, metavar="FOLDER", help="folder of your exercises and progress")


def run_and_answer(command, args):
    """Run a function of exercises/commands.py, which prints its answer. Returns its exit code."""
    code, result = command(args)
    print_json(args, result)
    return code
