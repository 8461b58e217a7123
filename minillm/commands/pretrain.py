"""minillm pretrain: train a generalist from scratch, in the toy world or on a text of your own."""

from pathlib import Path

from ..nn.config import ARCHITECTURES, PARTS
from ..runs.pretraining import pretrain
from ..tasks.text import TextTask
from ..tasks.world import CONTEXT, WorldTask
from .inputs import add_optimizer, optimizer_of
from .options import add_seed, add_training, add_workers, number, path
from .output import print_result
from .resuming import options_of_run

SUMMARY = "Train a generalist from scratch, in the toy world or on a text of your own."
EXAMPLES = ("", "--layers 2 --width 64 --heads 2 --steps 300 --out runs/small", "--arch llama --kv-heads 2",
            "--positions rotary --norm rmsnorm", "--text book.txt --context 64 --batch 12 --steps 2000",
            "--resume --out runs/small")
WRITES_FILES = True
CONTEXT_OF_TEXT = 64
ROPE_BASE = 100.0      # for short texts; the field's 10,000 was chosen for contexts of thousands


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
    add_architecture(parser)
    add_training(parser, batch=24, steps=1000)
    add_optimizer(parser, "muon", "of the optimizer")
    parser.add_argument("--out", default="runs/pretrain", type=path, metavar="FOLDER",
                        help="folder for the new file pretrained.npz")


def add_architecture(parser):
    parser.add_argument("--arch", choices=ARCHITECTURES, default="gpt2",
                        help="whose blocks: GPT-2's (2019), or those that most open models have had since Llama (2023)")
    for part, choices in PARTS.items():
        parser.add_argument(f"--{part}", choices=choices, help=f"{part} of another kind than --arch has")
    parser.add_argument("--kv-heads", type=number(int, 1, 1000), metavar="N",
                        help="heads of keys and values, each shared by several heads of queries (default: as many as --heads)")
    parser.add_argument("--hidden", type=number(int, 1, 1_000_000), metavar="N",
                        help="hidden features of the MLP (default: 4 x width; of a SwiGLU, about 8/3 x width)")
    parser.add_argument("--rope-base", type=number(float, above=0, high=1e12), metavar="N",
                        help="rotary positions: how slow the slowest turn is; for texts of at most a few hundred tokens, 100 is "
                             f"good (default: {ROPE_BASE:g})")
    parser.add_argument("--untied", action="store_true", help="give the output layer a table of its own")


def architecture_of(args):
    """The arguments of Config that the options choose."""
    chosen = {part: getattr(args, part) for part in PARTS} | {"n_kv_head": args.kv_heads, "n_hidden": args.hidden}
    config = ARCHITECTURES[args.arch] | {name: value for name, value in chosen.items() if value is not None}
    if config.get("positions") == "rotary":
        config["rope_base"] = args.rope_base or ROPE_BASE
    elif args.rope_base:
        raise ValueError("--rope-base is for rotary positions; add --positions rotary")
    return config | {"tied": not args.untied}


def run(args):
    out = Path(args.out) / "pretrained.npz"
    options = options_of_run(args, out)
    if args.text is not None:
        task, context = TextTask(args.text, workers=args.workers), CONTEXT_OF_TEXT
    else:
        task, context = WorldTask(args.seed, args.workers), CONTEXT
    config = {"context": args.context or context, "n_layer": args.layers, "n_head": args.heads, "n_embd": args.width}
    config |= architecture_of(args)
    loaded = pretrain(task, config, out, optimizer=optimizer_of(args), steps=args.steps, batch=args.batch, seed=args.seed,
                      workers=args.workers, accumulate=args.accumulate, save_every=args.save_every, metadata={"options": options})
    print_result(args, loaded, task, out)
