"""Recipes: what trains when a pretrained model becomes a specialist. Applied from outside; the transformer knows none."""

from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from typing import ClassVar

from .adapter import Adapted, Adapter

SUBLAYERS = ("attn", "mlp")      # of a block: where an adapter can go


@dataclass(frozen=True)
class Full:
    """Every weight moves."""

    method: ClassVar[str] = "full"
    lr: ClassVar[float] = 4e-4               # of AdamW: the best of five on the demo's model, from 2e-4 to 3.2e-3
    stands_alone: ClassVar[bool] = True      # a file of the result needs no base beside it

    def apply(self, model, rng=None):
        model.trainable = True


@dataclass(frozen=True)
class Partial:
    """Only the parameters whose names match one of the patterns move; the rest is frozen.

    Patterns are those of a shell (`blocks.3.*`, `*.bias`), and a block may be counted from the end (`blocks.-1.*`). The default
    trains the last block and the final norm. The output layer is tied to the embedding and stays with it.
    """

    patterns: tuple = ("blocks.-1.*", "ln_f.*")

    method: ClassVar[str] = "frozen"
    lr: ClassVar[float] = 4e-3               # of five from 1e-3 to 1.6e-2
    stands_alone: ClassVar[bool] = True

    def apply(self, model, rng=None):
        """ValueError names a pattern that matches nothing; the model is then left as it was."""
        parameters = model.parameters()
        chosen = set()
        for pattern in self.patterns:
            absolute = from_the_end(pattern, model.config.n_layer)
            matched = {name for name in parameters if fnmatch(name, absolute)}
            if not matched:
                raise ValueError(f"the pattern {pattern!r} matches no parameter; names look like "
                                 f"{', '.join(examples(parameters))}")
            chosen |= matched
        for name, p in parameters.items():
            p.trainable = name in chosen


def from_the_end(pattern, n_layer):
    """blocks.-1.* -> blocks.3.* in a model of four blocks"""
    parts = pattern.split(".")
    if len(parts) > 1 and parts[0] == "blocks" and parts[1].startswith("-") and parts[1][1:].isdigit():
        parts[1] = str(n_layer + int(parts[1]))
    return ".".join(parts)


def examples(parameters):
    names = list(parameters)
    return names[0], names[len(names) // 2], names[-1]


@dataclass(frozen=True)
class BottleneckAdapter:
    """New layers are inserted behind the sublayers of every block and train; of the body only the norms do (Houlsby et al. 2019).

    bottleneck    m, the width of the adapters
    places        the sublayers that get one: "attn" and "mlp" (Houlsby), or "mlp" alone (Pfeiffer et al. 2021)
    norms         train the gains and biases of the LayerNorms too, as Houlsby does
    """

    bottleneck: int = 20
    places: tuple = SUBLAYERS
    norms: bool = True

    method: ClassVar[str] = "adapter"
    lr: ClassVar[float] = 1e-2               # of five from 2.5e-3 to 4e-2
    stands_alone: ClassVar[bool] = False

    def apply(self, model, rng):
        """ValueError for a bottleneck below 1, a place that no block has or that is taken; the model is then left as it was."""
        if self.bottleneck < 1:
            raise ValueError(f"the bottleneck is {self.bottleneck}, but must be at least 1")
        for i, place in enumerate(self.places):
            if place not in SUBLAYERS:
                raise ValueError(f"a block has no {place!r} to adapt; its sublayers are {' and '.join(map(repr, SUBLAYERS))}")
            if place in self.places[:i] or any(isinstance(getattr(block, place), Adapted) for block in model.blocks):
                raise ValueError(f"{place!r} has an adapter already")
        model.trainable = False
        if self.norms:
            for layer in [model.ln_f, *(norm for block in model.blocks for norm in (block.ln_1, block.ln_2))]:
                layer.trainable = True
        C = model.config.n_embd
        for block in model.blocks:
            for place in self.places:
                adapter = Adapter(C, self.bottleneck, rng, dtype=model.wte.weight.data.dtype)
                setattr(block, place, Adapted(getattr(block, place), adapter))


RECIPES = {recipe.method: recipe for recipe in (Full, Partial, BottleneckAdapter)}


def to_json(recipe):
    return {"method": recipe.method} | asdict(recipe)


def from_json(facts):
    facts = dict(facts)
    recipe = RECIPES[facts.pop("method")]
    return recipe(**{name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()})
