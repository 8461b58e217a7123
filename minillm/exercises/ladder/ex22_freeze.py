"""Exercise 22: some weights train, all others stay frozen."""

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from itertools import product

import numpy as np

from ..diagnose import same

LESSON = 10

HINTS = (
    "Go through the weights by name. Does any of the patterns match? Then make the new array; if not, return the old one "
    "unchanged.",
    "any(fnmatch(name, pattern) for pattern in patterns) answers the first question. Do not read grads[name] before you know "
    "that the weight trains: it may be missing.",
    "To find a typo, ask the reverse question for each pattern: does it match any name? Do it first. Then build a new "
    "dictionary: W - rate * (grads[name] + decay * W) for those that train, W for all others.",
)

EXPLANATION = """
Two mistakes are common in real code. If weights are frozen by setting their gradients to zero, the weight decay still applies,
and frozen weights slowly shrink. And a pattern with a typo trains nothing, without any message. Your function excludes both, and
so does `minillm/finetune/methods/frozen.py`.

In a real step the gradient of a frozen weight is not even computed. dx still passes through its layer if anything before it
trains; below the first layer that trains, the backward pass ends (`needs_dx` in `minillm/nn/module.py`).
"""

PATTERNS = (["*.bias"], ["blocks.1.*"], ["*"], ["blocks.0.*", "*.bias"], ["wte.weight"], ["*.mlp.*", "ln_f.*"])
NAMES = ("wte.weight", "blocks.0.attn.weight", "blocks.0.attn.bias", "blocks.0.mlp.weight", "blocks.0.mlp.bias",
         "blocks.1.attn.weight", "blocks.1.attn.bias", "blocks.1.mlp.weight", "blocks.1.mlp.bias", "ln_f.weight", "ln_f.bias")
# Names that do not match, and wrong interpretations of a pattern by which they would.
TRAPS = "blocks.10.mlp.weight", "blocks.1.attn.bias_scale", "old.blocks.1.mlp.weight"
AS_IN_A_SHELL = "a pattern is read as in a shell (fnmatch): the whole name must match, and all but * stands for itself"
CARELESS = (
    (AS_IN_A_SHELL, lambda name, pattern: re.match(pattern.replace("*", ".*"), name)),
    (AS_IN_A_SHELL, lambda name, pattern: pattern.replace("*", "") in name),
    ("whether a weight has a gradient does not decide whether it trains; its name does", lambda name, pattern: True),
)


def check(attempt):
    for patterns, of_all in product(PATTERNS, (False, True)):
        rng, rate, decay = attempt.rng, 0.3, 0.2
        weights = {name: rng.normal(size=(3, 2) if name.endswith("weight") else 2) for name in NAMES + TRAPS}
        train = {name for name in weights if any(fnmatch(name, pattern) for pattern in patterns)}
        grads = {name: rng.normal(size=weights[name].shape) for name in weights if name in train or name in TRAPS or of_all}
        moved = {name: W - rate * (grads[name] + decay * W) if name in train else W for name, W in weights.items()}
        decayed = {name: moved[name] if name in train else W - rate * decay * W for name, W in weights.items()}
        trained = {name: W - rate * (grads[name] + decay * W) for name, W in weights.items() if name in grads}
        plain = {name: W - rate * grads[name] if name in train else W for name, W in weights.items()}
        inside = {name: W - rate * grads[name] - decay * W if name in train else W for name, W in weights.items()}
        matches = {name: sum(fnmatch(name, pattern) for pattern in patterns) for name in weights}
        both = {name for name in weights if matches[name] == 2}
        again = {name: moved[name] - rate * (grads[name] + decay * moved[name]) for name in both}
        args = (weights, grads, list(patterns), rate, decay)
        stepped = attempt.call("step", *args, returns="weights")
        attempt.compare("step", args, stepped, {"weights": moved}, strayed(stepped, trained, train, patterns) | {
            "only the gradient is masked; the decay still changes frozen weights": entries(decayed, weights.keys() - train),
            "the decay is missing": entries(plain, train),
            "the decay is not multiplied by the rate": entries(inside, train),
            "a weight that matches two patterns makes two steps; it must make one": entries(again, both),
            "a weight that matches one pattern but not all stays frozen; one match is enough": entries(
                weights, {name for name in train if matches[name] < len(patterns)}),
        }, note=f"and the patterns {patterns}")
        for name in weights.keys() - train:
            attempt.insist(np.asarray(stepped[name]).tobytes() == weights[name].tobytes(),
                           f"{name} is frozen, but not the same to the last bit: do not compute with it, return it as it is.")
    check_typo(attempt, weights)


def entries(weights, names):
    return {f"weights[{name!r}]": weights[name] for name in names}


def strayed(stepped, trained, train, patterns):
    """{sentence: entries}: a wrong interpretation that explains exactly which frozen weights were trained."""
    if not isinstance(stepped, Mapping):
        return {}
    moved = {name for name in trained.keys() & stepped.keys() - train if same(trained[name], stepped[name])}
    return {sentence: entries(trained, moved) for sentence, fits in CARELESS
            if moved == {name for name in trained if any(fits(name, pattern) for pattern in patterns)} - train}


def check_typo(attempt, weights):
    """Wrong unless a pattern that matches nothing raises a ValueError that names it."""
    grads = {name: 0 * W for name, W in weights.items()}
    for patterns in (["*.bais"], ["*.bias", "block.0.*"]):
        case = f"The pattern {patterns[-1]!r} matches no name:"
        try:
            attempt.get("step")(weights, grads, patterns, 0.1, 0.1)
        except ValueError as error:
            attempt.insist(patterns[-1] in str(error), f"{case} the message should contain the pattern, and is: {error}")
        except Exception as error:
            attempt.insist(False, f"{case} that should raise a ValueError, but it was {type(error).__name__}: {error}")
        else:
            attempt.insist(False, f"{case} raise a ValueError; nothing was raised.")
