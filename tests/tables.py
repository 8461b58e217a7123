"""What the tables of the package list, so that tests reach what is added to them later."""

from inspect import signature

import numpy as np

from minillm.finetune.methods import METHODS, recipe_of
from minillm.finetune.remedies import REMEDIES, remedy_of
from minillm.finetune.wrapper import inserted
from minillm.nn import GPT, Config
from minillm.train.optimizers import OPTIMIZERS


def and_all_methods(*texts):
    """Texts of recipes, and each method that none of them is of, by its defaults."""
    return [*texts, *(name for name in METHODS if name not in {recipe_of(text).method for text in texts})]


def and_all_remedies(*texts):
    """The same of remedies."""
    return [*texts, *(name for name in REMEDIES if name not in {remedy_of(text).method for text in texts})]


DECAYING = {name: rule for name, rule in OPTIMIZERS.items() if "weight_decay" in signature(rule).parameters}


def mergeable_methods():
    """The methods whose every insertion says that it can be merged."""
    def insertions(name):
        return [slot.module for slot in inserted(recipe_of(name).apply(GPT(Config(11, 64, 1, 3, 12), np.random.default_rng(0))))]

    return [name for name in METHODS if insertions(name) and all(wrapper.mergeable for wrapper in insertions(name))]
