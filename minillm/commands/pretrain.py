"""minillm pretrain: train a generalist from scratch, in the toy world or on a text of your own."""

from pathlib import Path

from ..nn.gpt import PARTS
from ..runs.pretraining import pretrain
from ..tasks.text import TextTask
from ..tasks.world import CONTEXT, WorldTask
from .inputs import add_optimizer, optimizer_of
from .options import add_seed, add_training, add_workers, number, path
from .output import print_result
from .resuming import options_of_run

SUMMARY = "Train a generalist from scratch, in the toy world or on a text of your own."
EXAMPLES = ("", "--layers 2 --width 64 --heads 2 --steps 300 --out runs/small", "--norm rmsnorm --activation relu",
            "--text book.txt --context 64 --batch 12 --steps 2000", "--resume --out runs/small")
WRITES_FILES = True
CONTEXT_OF_TEXT = 64


def add_options(parser):
    add_seed(parser)
    add_workers(parser)
    parser.add_argument("--layers", type=number(int, 1, 1000), default=4, help="number of blocks")
    parser.add_argument("--heads", type=number(int, 1, 1000), default=4, help="attention heads in each block")
    parser.add_argument("--width", type=number(int, 1, 100_000), default=128,
                        help="features at each position; a multiple of heads")
    parser.add_argument("--context", type=number(int, 2, 1_000_000),
                        help=f"largest number of tokens the model reads (default: {CONTEXT}, or {CONTEXT_OF_TEXT} with --text)")
    parser.add_argument("--text", type=path, metavar="FILE", help="learn your own UTF-8 text, character by character")
    for part, choices in PARTS.items():
        if len(choices) > 1:
            parser.add_argument(f"--{part}", choices=choices, default=next(iter(choices)), help=f"kind of {part}")
    add_training(parser, batch=24, steps=1000)
    add_optimizer(parser, "muon", "of the optimizer")
    parser.add_argument("--out", default="runs/pretrain", type=path, metavar="FOLDER",
                        help="folder for the new file pretrained.npz")


def run(args):
    out = Path(args.out) / "pretrained.npz"
    options = options_of_run(args, out)
    if args.text is not None:
        task, context = TextTask(args.text, workers=args.workers), CONTEXT_OF_TEXT
    else:
        task, context = WorldTask(args.seed, args.workers), CONTEXT
    config = {"context": args.context or context, "n_layer": args.layers, "n_head": args.heads, "n_embd": args.width}
    config |= {part: getattr(args, part) for part in PARTS if part in args}
    loaded = pretrain(task, config, out, optimizer=optimizer_of(args), steps=args.steps, batch=args.batch, seed=args.seed,
                      workers=args.workers, accumulate=args.accumulate, save_every=args.save_every, metadata={"options": options})
    print_result(args, loaded, task, out)
