"""minillm demo: the whole story in one run, and with --live a window in which the weights move."""

from pathlib import Path

from .options import add_seed, add_workers, path
from .output import print_json

SUMMARY = "Run the whole story: pretrain, fine-tune with three methods, compare, draw the loss surface."
EXAMPLES = ("", "--quick", "--seed 2 --out runs/second", "--live --dark")
WRITES_FILES = True
IF_INTERRUPTED = "; the same command with --resume continues it"


def add_options(parser):
    add_seed(parser)
    add_workers(parser)
    parser.add_argument("--quick", action="store_true", help="use a smaller model, which takes half a minute")
    parser.add_argument("--out", default="runs/demo", type=path, metavar="FOLDER", help="folder for models and metrics.json")
    parser.add_argument("--plots", default="plots", type=path, metavar="FOLDER", help="folder for pictures")
    parser.add_argument("--resume", action="store_true", help="keep what an interrupted demo finished, and continue it")
    parser.add_argument("--live", action="store_true",
                        help="open a window in which a class can watch the weights move; runs the demo in --out first if it "
                             "is not finished")
    parser.add_argument("--dark", action="store_true", help="use light colours on a dark background in that window")


def run(args):
    from ..demo import QUICK, demo

    if args.live:
        show_live(args)
    else:
        print_json(args, demo(args.out, args.plots, args.seed, QUICK if args.quick else None, args.workers, args.resume))


def show_live(args):
    """A window in which one more specialist trains, over the surface of a finished demo."""
    from .. import draw
    from ..demo import QUICK, SHOWN, Plan, demo
    from ..draw import live as window
    from ..live import Live
    from ..surface.views import surface

    plan, folder = QUICK if args.quick else Plan(), Path(args.out)
    if not (folder / "metrics.json").exists():
        print(f"There is no finished demo in {folder}, so it is run first.", flush=True)
        demo(args.out, args.plots, args.seed, plan, args.workers, resume=True)
    landscape = surface(folder, "three", SHOWN, plan.grid, args.workers, args.seed)
    if window.has_display():
        print("Close the window to end.", flush=True)
        window.run(Live(folder, landscape, batch=plan.finetuning_batch, workers=args.workers), dark=args.dark)
    else:
        page = Path(args.plots) / "weights_moving.html"
        draw.player(landscape, page, dark=args.dark)
        print("No window can be opened here (is there a screen, and Tk or Qt for Python?). Instead, open this page in any "
              f"browser:\n{page}")
