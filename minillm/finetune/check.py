"""Gradient checks of every fine-tuning method, against finite differences."""

from dataclasses import replace
from itertools import product

import numpy as np

from ..gradcheck import check_model, perturb
from ..nn import ARCHITECTURES, GPT, Config
from ..train.parts import renumbered
from .methods import METHODS, recipe_of
from .methods.dora import norms_held

CHECKED = [*METHODS, "adapter:form=parallel", "prefix:gate=no"]
SMALL = {"bottleneck": 5, "rank": 3, "tokens": 4}


def check_methods(rng):
    """Check a small GPT-2 and a small Llama in float64 with each method applied and all weights training.

    Returns {"lora: blocks.*.mlp.fc.lora.A": error, ...}, each error the largest over all blocks.
    """
    errors = {}
    gpt2 = Config(vocab_size=11, context=6, n_layer=2, n_head=3, n_embd=12)
    llama = replace(gpt2, n_kv_head=1, tied=False, **ARCHITECTURES["llama"])
    for text, config in product(CHECKED, (gpt2, llama)):
        recipe = recipe_of(text)
        small = ",".join(f"{option}={value}" for option, value in SMALL.items() if hasattr(recipe, option))
        recipe = recipe_of(f"{text}{',' if ':' in text else ':'}{small}")
        model = GPT(config, rng, np.float64)
        perturb(model, rng, 0.2)
        body = set(model.parameters())
        recipe.apply(model, rng)
        perturb(model, rng, 0.1)
        model.trainable = True
        with norms_held(model):
            model_errors = check_model(model, rng.integers(0, 11, (2, 5)), rng, entries=6)
        for name, error in model_errors.items():
            kind = "all the rest of the model" if name in body else renumbered(name, "*")
            errors[f"{text}: {kind}"] = max(error, errors.get(f"{text}: {kind}", 0.0))
    return errors
