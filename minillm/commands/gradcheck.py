"""minillm gradcheck: every hand-written gradient against finite differences."""

import numpy as np

from .options import SEED
from .output import print_json

SUMMARY = "Check every hand-written gradient against finite differences."
EXAMPLES = ("", "--seed 7")


def add_options(parser):
    parser.add_argument("--seed", type=SEED, default=1, help="seed of the inputs and the upstream gradients")


def run(args):
    from ..finetune.check import check_methods
    from ..gradcheck import TOLERANCE, check_everything

    rng = np.random.default_rng(args.seed)
    errors = check_everything(rng) | check_methods(rng)
    for name, error in errors.items():
        print(f"{name:56s}{error:10.1e}  {'right' if error < TOLERANCE else 'WRONG'}")
    worst = max(errors.values())
    print(f"largest relative error {worst:.1e}; it must be below {TOLERANCE:g}")
    print_json(args, {"max_relative_error": worst, "errors": errors})
    return 0 if worst < TOLERANCE else 1
