"""A recipe: what trains when a pretrained model becomes a specialist, and what is inserted for that.

It is applied from outside: no file of the transformer knows about fine-tuning. There are two exceptions: attention can also give
log z, for prefix tuning, and the MLP names its last linear map, for (IA)^3.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..train.blueprint import n_parameters
from ..train.costs import must_fit
from .wrapper import slot_of

LARGEST = 10_000_000      # no size that can be chosen is larger


@dataclass(frozen=True)
class Recipe:
    """The fields of a recipe are its options; as a text, `lora:rank=8,targets=q+v` (methods/__init__.py).

    method          its name
    lr              the learning rate of AdamW that worked best on the demo's model with the demo's novels (`minillm compare`)
    stands_alone    a file of the result needs no base beside it
    """

    method: ClassVar[str]
    lr: ClassVar[float] = 1e-3
    stands_alone: ClassVar[bool] = False

    def apply(self, model, rng=None):
        """Prepare a model for training, in place, and return it. If that is impossible: ValueError, and the model is unchanged.

        rng         for the random numbers that inserted parameters start with; by default a new one of seed 0, the same each time
        """
        raise NotImplementedError

    def adds(self, config):
        """How many numbers it inserts into a GPT of this shape, known without building anything.

        For options that `apply` refuses, at most the count of the largest valid ones. So if those fit into memory, the refusal of
        `apply` is the error that is seen, and not one about memory.
        """
        return 0

    def lr_multipliers(self, model, steps):
        """step -> {parameter: factor on the learning rate}, or None if all factors are 1 (see lr_multipliers.py)."""


@dataclass(frozen=True)
class Insertion(Recipe):
    """A recipe that inserts new modules. These train; of the body, only what `also_trains` names.

    blocks      numbers of the blocks that get them, counted from the end if negative; none means all. It does not limit what
                `also_trains` names: of adapters, the norms of every block
    """

    blocks: tuple[int, ...] = field(default=(), kw_only=True)      # so that LoRA(8) is of rank 8

    def build(self, model, rng):
        """{module of the body: the Wrapper that takes its place}"""
        raise NotImplementedError

    def also_trains(self, model):
        """Modules of the body that train as well."""
        return []

    def apply(self, model, rng=None):
        adds = self.adds(model.config)
        must_fit(4 * (n_parameters(model.config) + 4 * adds),                                  # weights, gradients, two moments
                 f"to train the {adds:,d} numbers that the method {self.method} would insert", "choose a smaller size")
        wrappers = self.build(model, rng or np.random.default_rng(0))
        slots = [slot_of(model, module) for module in wrappers]
        model.trainable = False
        for module in self.also_trains(model):
            module.trainable = True
        for slot, wrapper in zip(slots, wrappers.values()):
            slot.put(wrapper)
        return model

    def n_chosen(self, config):
        """How many blocks get new modules."""
        return len({i % config.n_layer for i in self.blocks}) if self.blocks else config.n_layer

    def chosen(self, model):
        """(number, block) of each block that gets new modules.

        ValueError for a number that is not that of a block, and for a block that has a prompt around it.
        """
        n = len(model.blocks)
        for i in self.blocks:
            if not -n <= i < n:
                raise ValueError(f"the model has no block {i}; its blocks are 0 to {n - 1}")
        numbers = sorted({i % n for i in self.blocks}) if self.blocks else range(n)
        return [(i, slot_of(model, model.blocks[i]).module) for i in numbers]


def one_of(kind, value, valid):
    """ValueError, with a list of the valid values, if a value is not among them."""
    if value not in valid:
        raise ValueError(f"there is no {kind} {value!r}; choose from {', '.join(map(str, valid))}")


def at_least_one(name, value):
    if value < 1:
        raise ValueError(f"the {name} is {value}, but must be at least 1")
    if value > LARGEST:
        raise ValueError(f"the {name} is above {LARGEST:,d}, the largest that is possible")
