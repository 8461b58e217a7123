"""The gradients of every method, held against finite differences."""

import re

import numpy as np

from ..nn import GPT, Config
from ..nn.gradcheck import check_model, perturb
from .methods import METHODS, recipe_of
from .methods.dora import norms_held

TRIED = [*METHODS, "adapter:form=parallel", "prefix:gate=no"]
SMALL = {"bottleneck": 5, "rank": 3, "tokens": 4}


def check_methods(rng):
    """A small GPT in float64 with each method applied, all of its weights training: {"lora: blocks.*.mlp.fc.lora.A": error, ...}.

    The error is the largest of any block.
    """
    errors = {}
    for text in TRIED:
        recipe = recipe_of(text)
        small = ",".join(f"{option}={value}" for option, value in SMALL.items() if hasattr(recipe, option))
        recipe = recipe_of(f"{text}{',' if ':' in text else ':'}{small}")
        model = GPT(Config(vocab_size=11, context=6, n_layer=2, n_head=3, n_embd=12), rng, np.float64)
        perturb(model, rng, 0.2)
        before = set(model.parameters())
        recipe.apply(model, rng)
        perturb(model, rng, 0.1)
        model.trainable = True
        with norms_held(model):
            found = check_model(model, rng.integers(0, 11, (2, 5)), rng, entries=6)
        for name, error in found.items():
            kind = "all the rest of the model" if name in before else re.sub(r"^blocks\.\d+", "blocks.*", name)
            errors[f"{text}: {kind}"] = max(error, errors.get(f"{text}: {kind}", 0.0))
    return errors
