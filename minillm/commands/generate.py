"""minillm generate: generate text with a model."""

import numpy as np

from ..inference.generate import generate
from ..runs.saved import load
from .options import COUNT, add_model, add_seed, add_workers, number
from .output import print_json

SUMMARY = "Generate text with a model."
EXAMPLES = ("runs/demo/full.npz --prompt '<novel>'", "runs/demo/pretrained.npz --prompt '<story> one sunny day'",
            "runs/book/pretrained.npz --prompt 'ROMEO:' --tokens 300 --temperature 0.8")


def add_options(parser):
    add_seed(parser)
    add_workers(parser)
    add_model(parser)
    parser.add_argument("--prompt", default="",
                        help="beginning of the text; in the toy world, '<novel>' or '<story>' chooses the kind of text")
    parser.add_argument("--tokens", type=COUNT, default=200, help="largest number of tokens to generate")
    parser.add_argument("--temperature", type=number(float, low=0), default=0.8,
                        help="randomness of the choice of tokens; 0: always the most likely one")
    parser.add_argument("--top-k", type=COUNT, help="draw only from this many of the most likely tokens")
    parser.add_argument("--top-p", type=number(float, above=0, high=1),
                        help="draw only from the most likely tokens that together have this probability")
    parser.add_argument("--count", type=COUNT, default=1, help="number of texts")


def run(args):
    loaded = load(args.checkpoint, args.base)
    tokenizer = loaded.tokenizer
    ids = tokenizer.encode(args.prompt)
    if tokenizer.begin is not None:
        ids = [tokenizer.begin, *ids]
    elif not ids:
        ids = [tokenizer.newline or 0]
    rng = np.random.default_rng(args.seed)
    texts = []
    for _ in range(args.count):
        written = generate(loaded.model, ids, args.tokens, rng, args.temperature, args.top_k, args.top_p, tokenizer.end,
                           len(tokenizer))
        texts.append(tokenizer.decode([i for i in written if i not in (tokenizer.begin, tokenizer.end)]))
        print(texts[-1])
    print_json(args, {"texts": texts})
