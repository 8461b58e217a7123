"""Options for a method of fine-tuning, such as lora:rank=8, or a remedy against forgetting; and the text that explains them."""

from ..finetune.methods import ALIASES, METHODS, recipe_of
from ..finetune.methods.frozen import PARTS, Frozen
from ..finetune.remedies import REMEDIES, remedy_of
from ..finetune.spec import options_of
from .options import spec


def add_method(parser, option, **settings):
    parser.add_argument(option, type=spec(recipe_of), metavar="METHOD", **settings)


def add_remedy(parser, option, **settings):
    parser.add_argument(option, type=spec(remedy_of), metavar="REMEDY", **settings)


def lines_of(kinds):
    """Each method, remedy or tokenizer with its options."""
    return [f"  {name:10s}{options_of(kind)}".rstrip() for name, kind in kinds.items()]


METHODS_HELP = "\n".join([
    "methods, with their options and defaults; several values are joined by +", *lines_of(METHODS),
    f"train is one of {', '.join(PARTS)}, or a pattern of parameter names; last-2 means the last two blocks",
    f"the default learning rate of frozen is {Frozen(('biases',)).lr:g} if train is biases or norms by these names, and "
    f"{Frozen().lr:g} otherwise",
    "targets of lora and dora: q, k, v and o, the output map of attention; fc and proj, the two maps of the MLP; of a SwiGLU "
    "gate, up and down",
    "blocks are those that something is inserted into; of adapters with norms=yes, the norms of all blocks train nevertheless",
    "short names", *(f"  {name:10s}= {text}" for name, text in ALIASES.items()),
    "remedies against forgetting", *lines_of(REMEDIES),
    "ewc puts no penalty on parameters that have no effect at the start: A of lora and dora, the down-projection of adapters, "
    "and the keys and values of a prefix with a gate"])
