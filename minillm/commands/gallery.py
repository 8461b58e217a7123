"""minillm gallery: draw every kind of picture from one finished demo."""

from .options import SEED, add_grid, add_pictures, add_workers, path
from .output import WORK_IS_KEPT

SUMMARY = "Draw every kind of picture from a finished demo; what they need is trained and measured first."
EXAMPLES = ("runs/demo", "runs/demo --plots plots/dark --dark")
WRITES_FILES = True
IF_INTERRUPTED = WORK_IS_KEPT


def add_options(parser):
    add_workers(parser)
    parser.add_argument("--seed", type=SEED, help="seed of every random choice (default: that of the demo)")
    parser.add_argument("folder", type=path, help="folder of a finished demo")
    add_grid(parser, 31)
    add_pictures(parser, "plots/gallery")


def run(args):
    from ..gallery import gallery

    print(*gallery(args.folder, args.plots, args.grid, args.seed, args.workers, args.dark), sep="\n")
