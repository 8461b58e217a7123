"""minillm compare: methods and remedies side by side, in one table and one picture."""

import sys
from pathlib import Path

from ..finetune.compare import DEFAULT_METHODS, compare, default_methods
from ..ground.ownership import not_others
from .inputs import add_base, add_task, load_base, task_for
from .options import COUNT, STEPS, add_samples, add_workers, number, path
from .output import WORK_IS_KEPT, print_json
from .recipes import METHODS_HELP, add_method, add_remedy

SUMMARY = "Compare methods of fine-tuning: each at its best learning rate, over several seeds, in one table."
EXAMPLES = ("--base runs/demo/pretrained.npz", "--base runs/demo/pretrained.npz --documents 64 --steps 100",
            "--base runs/demo/pretrained.npz --methods full lora:rank=2 lora:rank=8 --seeds 5",
            "--base runs/demo/pretrained.npz --methods full lora --remedies none replay wise:keep=0.7")
NOTES = METHODS_HELP
WRITES_FILES = True
IF_INTERRUPTED = WORK_IS_KEPT

BEGINNINGS = {"md": b"| method |", "csv": b"method,", "json": b'"settings"'}     # of the files that this command writes


def add_options(parser):
    add_workers(parser)
    add_base(parser)
    add_method(parser, "--methods", nargs="+", default=DEFAULT_METHODS, help="methods to compare (see below)")
    add_remedy(parser, "--remedies", nargs="+", default=["none"],
               help="remedies against forgetting; each method is combined with each of them (see below)")
    add_task(parser)
    parser.add_argument("--seeds", type=number(int, low=1, high=100), default=3,
                        help="number of seeds; each draws its own documents")
    parser.add_argument("--rates", type=number(int, low=1, high=15), default=5,
                        help="number of learning rates to try for each method on the first seed, each twice the previous one; "
                             "a few more if the best is at the edge")
    parser.add_argument("--steps", type=STEPS, default=128, help="optimisation steps of each run")
    parser.add_argument("--batch", type=COUNT, default=12, help="documents in a batch")
    parser.add_argument("--test-documents", type=COUNT, default=100, help="test documents of each kind")
    add_samples(parser, " (a quarter of them for the old kinds)")
    parser.add_argument("--no-scratch", action="store_true", help="leave out the model that is trained from scratch")
    parser.add_argument("--out", default="runs/compare", type=path, metavar="FOLDER",
                        help="folder for the table, the picture and finished runs; running it again computes only what is "
                             "missing")


def run(args):
    from .. import draw

    base = load_base(args.base)
    for ending, beginning in BEGINNINGS.items():
        not_others(Path(args.out) / f"comparison.{ending}", beginning)
    methods = args.methods if "methods" in args.given else default_methods(base.model)
    if len(methods) < len(args.methods):
        print("left out: bitfit, since this model has no biases", file=sys.stderr)
    comparison = compare(base, task_for(args, base).to_json(), methods, args.remedies, seeds=args.seeds, rates=args.rates,
                         steps=args.steps, batch=args.batch, test_documents=args.test_documents, samples=args.samples,
                         scratch=not args.no_scratch, folder=args.out, workers=args.workers)
    print(comparison.text())
    files = comparison.save(args.out)
    picture = Path(args.out) / "comparison.png"
    draw.comparison(comparison, picture)
    print("", *files, picture, sep="\n")
    print_json(args, comparison.to_json())
