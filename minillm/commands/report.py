"""minillm report: one page about a run, with all pictures inside."""

from .options import COUNT, add_grid, add_runs, add_samples, add_seed, add_workers, path

SUMMARY = "One page about a run, with all pictures inside: open it anywhere, mail it to a class."
EXAMPLES = ("runs/demo", "runs/demo --models full lora --out lora.html")
WRITES_FILES = True
IF_INTERRUPTED = "; what is finished is kept, and the same command goes on from there"


def add_options(parser):
    add_seed(parser)
    add_workers(parser)
    add_runs(parser)
    parser.add_argument("--models", nargs="+", metavar="NAME", help="fine-tunings in the folder (default: all)")
    parser.add_argument("--out", type=path, metavar="FILE", help="the page (default: report.html in the folder)")
    parser.add_argument("--documents", type=COUNT, default=100, help="of each kind, to judge the models by")
    add_samples(parser, " (a fourth as many of the old kinds)")
    add_grid(parser, 21)
    parser.add_argument("--dark", action="store_true", help="light on dark")


def run(args):
    from ..report import report

    print(report(args.folder, args.out, args.models, args.documents, args.grid, args.seed, args.workers, args.dark,
                 announce=lambda line: print(f"{line} ...", flush=True), samples=args.samples))
