"""minillm bench: how fast training and generation are on this machine."""

from .options import add_workers, number
from .output import print_json

SIZES = ("lesson", "nano", "medium", "large")      # those of minillm/bench.py

SUMMARY = "Measure the speed on this machine: training steps, generation, and each method of fine-tuning."
EXAMPLES = ("", "--size lesson nano --seconds 10", "--workers 1 --json")


def add_options(parser):
    add_workers(parser)
    parser.add_argument("--size", nargs="+", choices=SIZES, metavar="SIZE",
                        help=f"sizes of the models to measure: {', '.join(SIZES)} (default: all four)")
    parser.add_argument("--seconds", type=number(float, above=0, high=3600), default=20.0,
                        help="about how long to measure in all")


def run(args):
    from ..bench import aligned, bench

    result = bench(args.size, args.workers, args.seconds)
    print("\n".join(f"{name:10s}{value}" for name, value in result["machine"].items()))
    print("\nOne training step. The floor is the time of its matrix products alone.\n")
    print(aligned(result["sizes"]))
    print("\nOne training step of each method of fine-tuning. The memory does not include the weights.\n")
    print(aligned(result["methods"]))
    print_json(args, result)
