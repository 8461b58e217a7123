"""minillm surface: measure and draw the loss around the trajectories of fine-tunings."""

import time
from pathlib import Path

from ..ground.processes import parallel_map
from ..surface.measure import GRID
from ..surface.views import VIEWS, line, surface
from .options import add_grid, add_pictures, add_runs, add_seed, add_workers
from .output import WORK_IS_KEPT, print_json

VIEWS_HELP = {name: lay_out.__doc__ for name, (lay_out, _) in VIEWS.items()} | {"line": "The straight line between two models."}

SUMMARY = "Measure and draw the loss surface around the trajectories of fine-tunings."
EXAMPLES = ("runs/demo", "runs/demo --grid 51 --dark", "runs/demo --view pca --models full", "runs/demo --view hessian",
            "runs/demo --view curve --models full scratch", "runs/demo --view line --models pretrained full")
NOTES = "\n".join(["views", *(f"  {name:9s}{text}" for name, text in VIEWS_HELP.items())])
WRITES_FILES = True
IF_INTERRUPTED = WORK_IS_KEPT


def add_options(parser):
    add_seed(parser)
    add_workers(parser)
    add_runs(parser)
    parser.add_argument("--view", choices=VIEWS_HELP, default="three", help="plane to show (see below)")
    parser.add_argument("--models", nargs="+", metavar="NAME",
                        help="names of fine-tunings in the folder; the first one or two determine the plane (default: all but "
                             "scratch)")
    add_grid(parser, GRID)
    add_pictures(parser)


def run(args):
    from .. import draw

    start = time.perf_counter()
    if args.view == "line":
        measured = line(args.folder, args.models, workers=args.workers, seed=args.seed)
    else:
        measured = surface(args.folder, args.view, args.models, args.grid, args.workers, args.seed)
    seconds = time.perf_counter() - start
    pictures = draw_all(args, measured)
    if args.view == "curve":
        along = line(args.folder, args.models, True, workers=args.workers, seed=args.seed)
        pictures.append(Path(args.plots) / "curve_profile.png")
        draw.profile(along, pictures[-1], dark=args.dark)
    print("Is the picture right?")
    print("\n".join(f"  {sentence}" for sentence in measured.checks()))
    print(*pictures, sep="\n")
    print_json(args, {"view": args.view, "seconds": seconds} | numbers_of(measured, args.view))


def draw_all(args, measured):
    """Draw all pictures of a view in parallel, the slowest first. Returns their paths."""
    from .. import draw

    plots, view = Path(args.plots), "" if args.view == "three" else f"-{args.view}"
    if args.view == "line":
        drawings = [(draw.profile, "line.png")]
    else:
        drawings = [(draw.surface, f"surface{view}.png"), (draw.relief, f"relief{view}.png")]
        if measured.trajectories:
            drawings += [(draw.animate, f"weights_moving{view}.gif"), (draw.player, f"weights_moving{view}.html")]

    def draw_one(drawing):
        draw_picture, name = drawing
        draw_picture(measured, plots / name, dark=args.dark)

    parallel_map(draw_one, reversed(drawings), args.workers)
    return [plots / name for _, name in drawings]


def numbers_of(measured, view):
    """The numbers that --json prints."""
    if view == "line":
        return {"barrier": measured.barrier}
    return {"distances": measured.distances, "cosines": measured.cosines, "max_residual": measured.max_residual,
            "gap": measured.info["gap"], "not_numbers": measured.info["not_numbers"]}
