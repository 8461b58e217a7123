"""Exercise 22: some weights move, all others stay."""

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from itertools import product

import numpy as np

from ..diagnose import same

HINTS = (
    "Go through the weights by name. Does any of the patterns fit? Then make the new array; if not, hand on the old one as it "
    "is.",
    "any(fnmatch(name, pattern) for pattern in patterns) answers the first question. Do not touch grads[name] before you know "
    "that the weight trains: it may not be there.",
    "For the slip of the pen ask the other way round, for each pattern: does it fit any name? Do it before anything else. Then "
    "build a new dictionary: W - rate * (grads[name] + decay * W) for those that train, W for all others.",
)

EXPLANATION = """
Two slips are common in real code. To freeze by setting gradients to zero leaves the weight decay at work, and frozen weights
slowly shrink. And a pattern with a typo trains nothing, without a word. Here both are impossible, and so they are in
`minillm/finetune/methods/frozen.py`.

In a real step the gradient of a frozen weight is not even computed. dx still passes through its layer, as long as anything
before it trains; below the lowest weight that trains the backward pass ends (`needs_dx` in `minillm/nn/module.py`).
"""

PATTERNS = (["*.bias"], ["blocks.1.*"], ["*"], ["blocks.0.*", "*.bias"], ["wte.weight"], ["*.mlp.*", "ln_f.*"])
NAMES = ("wte.weight", "blocks.0.attn.weight", "blocks.0.attn.bias", "blocks.0.mlp.weight", "blocks.0.mlp.bias",
         "blocks.1.attn.weight", "blocks.1.attn.bias", "blocks.1.mlp.weight", "blocks.1.mlp.bias", "ln_f.weight", "ln_f.bias")
# Names that do not fit, and careless ways to read a pattern by which they would.
TRAPS = "blocks.10.mlp.weight", "blocks.1.attn.bias_scale", "old.blocks.1.mlp.weight"
AS_IN_A_SHELL = "a pattern is read as in a shell (fnmatch): the whole name must fit, and all but * stands for itself"
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
        fits = {name: sum(fnmatch(name, pattern) for pattern in patterns) for name in weights}
        both = {name for name in weights if fits[name] == 2}
        again = {name: moved[name] - rate * (grads[name] + decay * moved[name]) for name in both}
        args = (weights, grads, list(patterns), rate, decay)
        found = attempt.call("step", *args, returns="weights")
        attempt.compare("step", args, found, {"weights": moved}, strayed(found, trained, train, patterns) | {
            "only the gradient is masked; the decay still moves frozen weights": entries(decayed, weights.keys() - train),
            "the decay is missing": entries(plain, train),
            "the decay is not multiplied by the rate": entries(inside, train),
            "a weight that fits two patterns makes two steps; it is to make one": entries(again, both),
            "a weight stays that fits one pattern but not all; one is enough": entries(
                weights, {name for name in train if fits[name] < len(patterns)}),
        }, note=f"and the patterns {patterns}")
        for name in weights.keys() - train:
            attempt.insist(np.asarray(found[name]).tobytes() == weights[name].tobytes(),
                           f"{name} is frozen, and not the same to the last bit: do not compute with it, hand it on.")
    check_the_slip(attempt, weights)


def entries(weights, names):
    return {f"weights[{name!r}]": weights[name] for name in names}


def strayed(found, trained, train, patterns):
    """{sentence: what came out}: a careless reading by which just those weights train that do, though they are frozen."""
    if not isinstance(found, Mapping):
        return {}
    moved = {name for name in trained.keys() & found.keys() - train if same(trained[name], found[name])}
    return {sentence: entries(trained, moved) for sentence, fits in CARELESS
            if moved == {name for name in trained if any(fits(name, pattern) for pattern in patterns)} - train}


def check_the_slip(attempt, weights):
    """A pattern that fits nothing."""
    grads = {name: 0 * W for name, W in weights.items()}
    for patterns in (["*.bais"], ["*.bias", "block.0.*"]):
        slip = f"The pattern {patterns[-1]!r} fits no name:"
        try:
            attempt.get("step")(weights, grads, patterns, 0.1, 0.1)
        except ValueError as error:
            attempt.insist(patterns[-1] in str(error), f"{slip} the message should have the pattern in it, and is: {error}")
        except Exception as error:
            attempt.insist(False, f"{slip} that is to be a ValueError, and was {type(error).__name__}: {error}")
        else:
            attempt.insist(False, f"{slip} raise a ValueError; nothing was said.")
