"""minillm bench: how fast training and writing are on this machine."""

from .options import add_workers, number
from .output import print_json

SIZES = ("lesson", "nano", "medium", "large")      # those of minillm/bench.py

SUMMARY = "How fast is it on this machine? Training steps, writing, and each way of fine-tuning."
EXAMPLES = ("", "--size lesson nano --seconds 10", "--workers 1 --json")


def add_options(parser):
    add_workers(parser)
    parser.add_argument("--size", nargs="+", choices=SIZES, metavar="SIZE",
                        help=f"of the models: {', '.join(SIZES)} (default: all four)")
    parser.add_argument("--seconds", type=number(float, above=0, high=3600), default=20.0, help="about how long to measure")


def run(args):
    from ..bench import aligned, bench

    result = bench(args.size, args.workers, args.seconds)
    print("\n".join(f"{what:10s}{value}" for what, value in result["machine"].items()))
    print("\nOne training step, beside the floor: the time of its matrix products alone.\n")
    print(aligned(result["sizes"]))
    print("\nThe same with each way of fine-tuning; memory is what comes on top of the weights.\n")
    print(aligned(result["methods"]))
    print_json(args, result)
