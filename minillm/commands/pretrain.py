"""minillm pretrain: train a generalist from scratch, in the toy world or on a text of your own."""

import sys
from pathlib import Path

from ..finetune.spec import from_options, named
from ..runs.pretraining import pretrain
from ..tasks.text import TextTask
from ..tasks.vocabulary import VOCABULARIES
from ..tasks.world import CONTEXT, WorldTask
from .architecture import add_architecture, architecture_of
from .inputs import add_optimizer, optimizer_of
from .options import add_seed, add_training, add_workers, number, path, spec
from .output import print_result
from .recipes import lines_of
from .resuming import options_of_run

SUMMARY = "Train a generalist from scratch, in the toy world or on a text of your own."
EXAMPLES = ("", "--layers 2 --width 64 --heads 2 --steps 300 --out runs/small", "--arch llama --kv-heads 2",
            "--positions rotary --norm rmsnorm", "--text book.txt --context 64 --batch 12 --steps 2000",
            "--text book.txt --tokenizer bpe:size=2048", "--resume --out runs/small")
WRITES_FILES = True
CONTEXT_OF_TEXT = 64
NOTES = "\n".join([
    "tokenizers, with their options and defaults", *lines_of(VOCABULARIES),
    "with char every character of the text is a token, and a text with other characters cannot be read; bpe learns frequent "
    "strings of bytes, and reads any text"])


def add_options(parser):
    add_seed(parser)
    add_workers(parser)
    parser.add_argument("--layers", type=number(int, 1, 1000), default=4, help="number of blocks")
    parser.add_argument("--heads", type=number(int, 1, 1000), default=4, help="attention heads in each block")
    parser.add_argument("--width", type=number(int, 1, 100_000), default=128,
                        help="features at each position; a multiple of heads")
    parser.add_argument("--context", type=number(int, 2, 1_000_000),
                        help=f"largest number of tokens the model reads (default: {CONTEXT}, or {CONTEXT_OF_TEXT} with --text)")
    parser.add_argument("--text", type=path, metavar="FILE", help="learn your own UTF-8 text")
    parser.add_argument("--tokenizer", type=spec(vocabulary_of), default="char",
                        help="how --text is cut into tokens: char or bpe:size=N (see below)")
    add_architecture(parser)
    add_training(parser, batch=24, steps=1000)
    add_optimizer(parser, "muon", "of the optimizer")
    parser.add_argument("--out", default="runs/pretrain", type=path, metavar="FOLDER",
                        help="folder for the new file pretrained.npz")


def run(args):
    out = Path(args.out) / "pretrained.npz"
    options = options_of_run(args, out)
    if args.text is not None:
        vocabulary = vocabulary_of(args.tokenizer)
        task, context = TextTask(args.text, workers=args.workers, vocabulary=vocabulary), CONTEXT_OF_TEXT
    elif "tokenizer" in args.given:
        raise ValueError("--tokenizer says how a text of yours is cut into tokens; name the text with --text FILE")
    else:
        task, context = WorldTask(args.seed, args.workers), CONTEXT
    config = {"context": args.context or context, "n_layer": args.layers, "n_head": args.heads, "n_embd": args.width}
    config |= architecture_of(args, config["context"])
    loaded = pretrain(task, config, out, optimizer=optimizer_of(args), steps=args.steps, batch=args.batch, seed=args.seed,
                      workers=args.workers, accumulate=args.accumulate, save_every=args.save_every, metadata={"options": options})
    if args.text is not None and len(task.tokenizer) < getattr(vocabulary, "size", 0):      # not sooner: an error is one sentence
        print(f"{args.text} gives {len(task.tokenizer):,d} tokens instead of {vocabulary.size:,d}: no further pair of them "
              "occurs twice", file=sys.stderr)
    print_result(args, loaded, task, out)


def vocabulary_of(text):
    """A vocabulary to learn from `name` or `name:option=value`. ValueError lists what is valid."""
    name, _, options = text.partition(":")
    return from_options(named(name, VOCABULARIES, "tokenizer", "tokenizers"), name, options)
