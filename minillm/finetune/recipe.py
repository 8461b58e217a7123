"""What a recipe is: it says what trains when a pretrained model becomes a specialist, and inserts what is to be inserted.

It is applied from outside. The transformer's own text knows nothing of fine-tuning.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..train.blueprint import n_parameters
from ..train.costs import must_fit
from .wrapper import slot_at

LARGEST = 10_000_000      # no size that can be chosen is larger


@dataclass(frozen=True)
class Recipe:
    """The fields of a recipe are its options; as a text, `lora:rank=8,targets=q+v` (methods/__init__.py).

    method          its name
    lr              the learning rate of AdamW that served it best: on the demo's model, with 64 novels (`minillm compare`)
    stands_alone    a file of the result needs no base beside it
    """

    method: ClassVar[str]
    lr: ClassVar[float] = 1e-3
    stands_alone: ClassVar[bool] = False

    def apply(self, model, rng=None):
        """Prepare a model for training. ValueError if that cannot be; the model is then left as it was.

        rng         what is inserted may begin with random numbers of it; by default of a new one of seed 0, the same each time
        """
        raise NotImplementedError

    def adds(self, config):
        """How many numbers it inserts into a GPT of this shape, without building anything.

        Of options that `apply` refuses, it says at most as many as of the largest it takes: so the sentence about them is said.
        """
        return 0

    def lr_multipliers(self, model, steps):
        """step -> {parameter: factor on the learning rate}, or None where all have the same (see lr_multipliers.py)."""


@dataclass(frozen=True)
class Insertion(Recipe):
    """A recipe that inserts new structure. It trains; of the body, only what `also` names.

    blocks      numbers of the blocks that get it, from the end if negative; none means all
    """

    blocks: tuple[int, ...] = field(default=(), kw_only=True)      # so that LoRA(8) is of rank 8

    def build(self, model, rng):
        """{path: the Wrapper to put there}, its inner the module that is there now."""
        raise NotImplementedError

    def also(self, model):
        """Modules of the body that train as well."""
        return []

    def apply(self, model, rng=None):
        adds = self.adds(model.config)
        must_fit(4 * (n_parameters(model.config) + 4 * adds),                                  # weights, gradients, two moments
                 f"to train the {adds:,d} numbers that the method {self.method} would insert", "choose a smaller size")
        new = self.build(model, rng or np.random.default_rng(0))
        places = [slot_at(model, path) for path in new]
        model.trainable = False
        for module in self.also(model):
            module.trainable = True
        for slot, module in zip(places, new.values()):
            slot.put(module)

    def count_chosen(self, config):
        """How many blocks get it."""
        return len({i % config.n_layer for i in self.blocks}) if self.blocks else config.n_layer

    def chosen(self, model):
        """(number, block) of each block that gets it. ValueError names a number that is none, or a block inside a prompt."""
        n = len(model.blocks)
        for i in self.blocks:
            if not -n <= i < n:
                raise ValueError(f"the model has no block {i}; its blocks are 0 to {n - 1}")
        numbers = sorted({i % n for i in self.blocks}) if self.blocks else range(n)
        return [(i, slot_at(model, f"blocks.{i}").module) for i in numbers]


def one_of(kind, value, valid):
    """ValueError if a value of some kind is not among the valid ones, which it lists."""
    if value not in valid:
        raise ValueError(f"there is no {kind} {value!r}; choose from {', '.join(map(str, valid))}")


def at_least_one(name, value):
    if value < 1:
        raise ValueError(f"the {name} is {value}, but must be at least 1")
    if value > LARGEST:
        raise ValueError(f"the {name} is above {LARGEST:,d}, which is more than can be")
