"""Partial fine-tuning: some of the weights move, the rest is frozen."""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import ClassVar

from ..recipe import Recipe

# Names for what people freeze all but. The output layer is tied to the table of words and stays with it (but see head.py).
PARTS = {
    "last": "the last block and the final norm; last-2: the last two blocks",
    "first": "the first block; first-2: the first two",
    "middle": "the block in the middle; middle-2: two",
    "block-N": "block N, counted from 0",
    "attention": "the attention of every block",
    "mlp": "the MLP of every block",
    "biases": "all biases (BitFit, Ben Zaken et al. 2022)",
    "norms": "gains and biases of all LayerNorms",
    "tables": "the vectors of words and positions",
}
PLAIN = {"attention": ["blocks.*.attn.*"], "mlp": ["blocks.*.mlp.*"], "biases": ["*.bias"],
         "norms": ["blocks.*.ln_?.*", "ln_f.*"], "tables": ["wte.*", "wpe.*"]}


@dataclass(frozen=True)
class Frozen(Recipe):
    """Only the chosen parameters move.

    train       parts by name (PARTS), or patterns of parameter names as in a shell (`blocks.*.attn.*`, `*.bias`), in which a
                block may be counted from the end (`blocks.-1.*`)
    """

    train: tuple[str, ...] = ("last",)

    method: ClassVar[str] = "frozen"

    @property
    def lr(self):
        """Biases and gains bear, and need, far larger steps than matrices."""
        return 0.256 if set(self.train) <= {"biases", "norms"} else 4e-3

    def apply(self, model, rng=None):
        """ValueError names a pattern that matches nothing, and the names that come closest."""
        parameters = model.parameters()
        chosen = set()
        for part in self.train or ("",):
            for pattern in patterns(part, len(model.blocks)):
                matched = {name for name in parameters if fnmatch(name, pattern)}
                if not matched:
                    raise ValueError(f"the pattern {part!r} matches no parameter; {closest(part, parameters)}")
                chosen |= matched
        for name, p in parameters.items():
            p.trainable = name in chosen


def patterns(part, n):
    """The patterns of parameter names that a part, or a pattern with blocks from the end, stands for in a model of n blocks."""
    counted = re.fullmatch(r"(last|first|middle|block)(?:-(\d+))?", part)
    if counted:
        word, k = counted[1], int(counted[2] or 1)
        if word == "block":
            blocks = [k] if counted[2] else []
        else:
            start = {"last": n - k, "first": 0, "middle": (n - k + 1) // 2}[word]
            blocks = range(start, start + k) if 0 < k <= n else [n]              # n: no such block, an error soon
        return [f"blocks.{i}.*" for i in blocks] + ["ln_f.*"] * (word == "last") or [part]
    return PLAIN.get(part) or [from_the_end(part, n)]


def from_the_end(pattern, n):
    """blocks.-1.* -> blocks.3.* in a model of four blocks"""
    return re.sub(r"^blocks\.-(\d+)(?=\.|$)", lambda found: f"blocks.{n - int(found[1])}", pattern)


def closest(wrong, parameters):
    """What might have been meant, for a message."""
    near = get_close_matches(wrong, [*PARTS, *parameters], n=3, cutoff=0.4) or [*parameters][:3]
    return f"close to it are {', '.join(near)}. Parts have names too: {', '.join(PARTS)}"
