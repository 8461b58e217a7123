"""minillm report: write one page about a run, with all pictures inside."""

from ..surface.measure import GRID
from .options import COUNT, add_grid, add_runs, add_samples, add_seed, add_workers, path
from .output import WORK_IS_KEPT

SUMMARY = "Write one page about a run, with all pictures inside: open it anywhere, or mail it to a class."
EXAMPLES = ("runs/demo", "runs/demo --models full lora --out lora.html")
WRITES_FILES = True
IF_INTERRUPTED = WORK_IS_KEPT


def add_options(parser):
    add_seed(parser)
    add_workers(parser)
    add_runs(parser)
    parser.add_argument("--models", nargs="+", metavar="NAME", help="names of fine-tunings in the folder (default: all)")
    parser.add_argument("--out", type=path, metavar="FILE", help="file of the page (default: report.html in the folder)")
    parser.add_argument("--documents", type=COUNT, default=100, help="documents of each kind to evaluate the models on")
    add_samples(parser, " (a quarter of them for the old kinds)")
    add_grid(parser, GRID)
    parser.add_argument("--dark", action="store_true", help="use light colours on a dark background")


def run(args):
    from ..report import report

    print(report(args.folder, args.out, args.models, args.documents, args.grid, args.seed, args.workers, args.dark,
                 announce=lambda line: print(f"{line} ...", flush=True), samples=args.samples))
