"""Options that name a way of fine-tuning, lora:rank=8 say, or a remedy against forgetting; and the text that explains them."""

from ..finetune.methods import ALIASES, METHODS, recipe_of
from ..finetune.methods.frozen import PARTS
from ..finetune.remedies import REMEDIES, remedy_of
from ..finetune.spec import options_of
from .options import spec


def add_method(parser, option, **settings):
    parser.add_argument(option, type=spec(recipe_of), metavar="METHOD", **settings)


def add_remedy(parser, option, **settings):
    parser.add_argument(option, type=spec(remedy_of), metavar="REMEDY", **settings)


def lines_of(kinds):
    """Each method or remedy with its options."""
    return [f"  {name:10s}{options_of(kind)}".rstrip() for name, kind in kinds.items()]


METHODS_HELP = "\n".join([
    "methods, with their options and what these are at first; several values are joined by +", *lines_of(METHODS),
    f"train is one of {', '.join(PARTS)}, or a pattern of parameter names; last-2 are the last two blocks",
    "also", *(f"  {name:10s}= {text}" for name, text in ALIASES.items()),
    "remedies against forgetting", *lines_of(REMEDIES),
    "ewc does not hold what has no effect at the start: A of lora and dora, the way down of adapters, a prefix behind its gate"])
