"""What the tables of the package list, so that tests reach what is added to them later."""

from minillm.finetune.methods import METHODS, recipe_of
from minillm.finetune.remedies import REMEDIES, remedy_of


def and_all_methods(*texts):
    """Texts of recipes, and each method that none of them is of, by its defaults."""
    return [*texts, *(name for name in METHODS if name not in {recipe_of(text).method for text in texts})]


def and_all_remedies(*texts):
    """The same of remedies."""
    return [*texts, *(name for name in REMEDIES if name not in {remedy_of(text).method for text in texts})]
