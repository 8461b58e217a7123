"""How many tokens does a model write per second, beside Hugging Face transformers on the same machine?

    python tests/benchmarks/generation.py [--rounds 12] [--sizes lesson nano] [--batches 1 8]

Texts of 64 tokens (or the context, where that is shorter) from a single one, drawn at temperature 1, one at a time and eight at
once, each contender with one thread. minillm as users call it: what it prepares for each text counts as well. "General form" is
what models with adapters use; "nothing remembered" reads the whole text for each token. transformers is GPT2LMHeadModel.generate
with its own key-value cache.
"""

import statistics

import numpy as np
import report

from minillm import bench
from minillm.inference.generate import generate_batch, sample
from minillm.nn import GPT

QUICK = dict(rounds=1, sizes=["lesson"])
OURS = "minillm"
START = 1          # the id with which each text begins; transformers takes 0 for padding


class General(GPT):
    """A GPT that nobody knows to be one, so that it is written with as if something had been inserted."""


def ours(size, batch, n, kind=GPT):
    model, rng = kind(size.config, np.random.default_rng(0)), np.random.default_rng(0)
    return lambda: generate_batch(model, [[START]] * batch, n, rng)


def nothing_remembered(size, batch, n):
    model, rng = GPT(size.config, np.random.default_rng(0)), np.random.default_rng(0)

    def write():
        tokens = np.full((batch, 1), START)
        for _ in range(n):
            drawn = [sample(logits, rng) for logits in model.logits(tokens)[:, -1]]
            tokens = np.column_stack([tokens, drawn])

    return write


def transformers(size, batch, n):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, logging

    logging.set_verbosity_error()
    torch.set_num_threads(1)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=size.vocabulary, n_positions=size.context, n_embd=size.width,
                                       n_layer=size.layers, n_head=size.heads, bos_token_id=None, eos_token_id=None)).eval()
    tokens = torch.full((batch, 1), START)
    return lambda: model.generate(tokens, attention_mask=torch.ones_like(tokens), use_cache=True, do_sample=True, temperature=1.0,
                                  top_k=0, pad_token_id=0, min_new_tokens=n, max_new_tokens=n)


CONTENDERS = {
    OURS: ("minillm", ours),
    "minillm, general form": ("minillm", lambda *shape: ours(*shape, kind=General)),
    "minillm, nothing remembered": ("minillm", nothing_remembered),
    "transformers": ("transformers", transformers),
}


def measure(rounds=12, sizes=("nano",), batches=(1, 8)):
    chosen = {name: make for name, (module, make) in CONTENDERS.items() if report.installed(module, name)}
    rows = []
    for size in (bench.SIZES[name] for name in sizes):
        for batch in batches:
            n = min(size.context, 64) - 1
            times = report.race({name: make(size, batch, n) for name, make in chosen.items()}, rounds)
            rows += rates(times, batch * n, size=str(size), texts=batch)
    return rows


def rates(times, tokens, **labels):
    """A row for each contender: tokens per second, and how many times as many OURS writes."""
    median, least = ({name: summary(seconds) for name, seconds in times.items()} for summary in (statistics.median, min))
    return [labels | {"contender": name, "median tokens/s": round(tokens / median[name]),
                      "best tokens/s": round(tokens / least[name]), f"{OURS} / it": median[name] / median[OURS],
                      "best / best": least[name] / least[OURS]} for name in times]


def main():
    report.command(__doc__, measure, QUICK, rounds=report.ROUNDS, sizes=report.sizes_option(bench.SIZES),
                   batches=dict(nargs="+", type=int, metavar="B", help="how many texts at once (default: 1 8)"))


if __name__ == "__main__":
    main()
