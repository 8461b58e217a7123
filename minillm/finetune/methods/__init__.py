"""The methods of fine-tuning, one file each; and their names, as texts such as `lora:rank=8,targets=q+v`."""

from dataclasses import asdict

from ...ground.schema import shown
from ...train.old_names import current_recipe
from ..recipe import Recipe
from ..spec import from_options, named, restored
from .bottleneck import BottleneckAdapter
from .dora import DoRA
from .frozen import Frozen
from .full import Full
from .head import Head
from .ia3 import IA3
from .lora import LoRA
from .prefix import PrefixTuning
from .prompt import PromptTuning

METHODS = {recipe.method: recipe for recipe in
           (Full, Frozen, Head, BottleneckAdapter, LoRA, DoRA, IA3, PrefixTuning, PromptTuning)}

# Names of well-known settings.
ALIASES = {
    "bitfit": "frozen:train=biases",
    "norms": "frozen:train=norms",
    "houlsby": "adapter",
    "pfeiffer": "adapter:places=mlp,norms=no",
    "parallel": "adapter:places=mlp,form=parallel,norms=no",
    "ulmfit": "full:decay=2.6,gradual=yes",
}


def recipe_of(text):
    """A recipe from `name` or `name:option=value,...`, several values joined by +. ValueError lists what is valid."""
    name, _, options = text.partition(":")
    named(name, METHODS | ALIASES, "method", "methods")
    if name in ALIASES:
        name, _, preset = ALIASES[name].partition(":")
        options = f"{preset},{options}".strip(",")
    return from_options(METHODS[name], name, options)


def to_json(recipe):
    return {"method": recipe.method} | asdict(recipe)


def from_json(json):
    """The inverse. ValueError for an unknown method or option, and for a value of the wrong type."""
    options = dict(current_recipe(json))
    method = options.pop("method", None)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"there is no method {shown(method)}")
    return restored(METHODS[method], options)


__all__ = ["ALIASES", "BottleneckAdapter", "DoRA", "Frozen", "Full", "Head", "IA3", "LoRA", "METHODS", "PrefixTuning",
           "PromptTuning", "Recipe", "from_json", "recipe_of", "to_json"]
