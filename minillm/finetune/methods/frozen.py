"""Partial fine-tuning: some of the weights train, the rest is frozen."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import ClassVar

from ...train.parts import block_of, from_the_end, parameter_kinds
from ..recipe import Recipe

# Names of the parts that are usually trained alone. Where the output layer is the table of words (tied), head.py unties it.
PARTS = {
    "last": "the last block and the final norm; last-2: the last two blocks",
    "first": "the first block; first-2: the first two",
    "middle": "the block in the middle; middle-2: two",
    "block-N": "block N, counted from 0",
    "attention": "the attention of every block",
    "mlp": "the MLP of every block",
    "biases": "all biases (BitFit, Ben Zaken et al. 2022)",
    "norms": "gains (and biases) of all norms",
    "tables": "the vectors of words and positions",
    "head": "the output layer, if it is not tied to the table of words",
}
KINDS = {"attention": "attention", "mlp": "MLP", "norms": "norm", "tables": "embedding",
         "head": "head"}      # as the modules call themselves


@dataclass(frozen=True)
class Frozen(Recipe):
    """Only the chosen parameters train.

    train       parts by name (PARTS), or patterns of parameter names as in a shell (`blocks.*.attn.*`, `*.bias`), in which a
                block may be counted from the end (`blocks.-1.*`)
    """

    train: tuple[str, ...] = ("last",)

    method: ClassVar[str] = "frozen"

    @property
    def lr(self):
        """Biases and gains need far larger steps than matrices. Without a model only the names of the parts tell what trains:
        a pattern (`*.bias`) has the smaller rate, even if it chooses the same parameters as `biases`.
        """
        return 0.256 if set(self.train) <= {"biases", "norms"} else 0.012

    def apply(self, model, rng=None):
        """ValueError if a pattern matches nothing; it lists the closest names."""
        chosen = set()
        for part in self.train or ("",):
            names = members(part, model)
            if not names and part in PARTS:
                raise ValueError(f"this model has no {part} that could train" + (
                    "; its output layer is tied to the table of words, and --method head unties it" if part == "head" else ""))
            if not names:
                raise ValueError(f"the pattern {part!r} matches no parameter; {closest(part, model.parameters())}")
            chosen |= names
        for name, p in model.parameters().items():
            p.trainable = name in chosen
        return model


def members(part, model):
    """The names of the parameters of a part, or of those that match a pattern; an empty set if there are none."""
    kinds, n = parameter_kinds(model), len(model.blocks)
    if counted := re.fullmatch(r"(last|first|middle|block)-?(\d+)?", part):
        word, k = counted[1], int(counted[2] or 1)
        start = {"last": n - k, "first": 0, "middle": (n - k + 1) // 2, "block": int(counted[2] or n)}[word]
        blocks = {start} if word == "block" else set(range(start, start + k)) if 0 < k <= n else set()
        names = {name for name in kinds if block_of(name) in blocks}
        final = {name for name, kind in kinds.items() if kind == "norm" and block_of(name) is None}
        return names | final if names and word == "last" else names
    if part in KINDS:
        return {name for name, kind in kinds.items() if kind == KINDS[part]}
    pattern = "*.bias" if part == "biases" else from_the_end(part, n)
    return {name for name in kinds if fnmatch(name, pattern)}


def closest(wrong, parameters):
    """The names that are close to a wrong one, as part of a message."""
    near = get_close_matches(wrong, [*PARTS, *parameters], n=3, cutoff=0.4) or [*parameters][:3]
    return f"close to it are {', '.join(near)}. Parts have names too: {', '.join(PARTS)}"
