"""Training the output layer alone. If it is tied to the table of words, it is untied first."""

from dataclasses import dataclass
from typing import ClassVar

from ...nn import OutputTable, Parameter
from ..recipe import Recipe
from ..wrapper import Wrapper, slot_of


class UntiedTable(OutputTable):
    """The table of an untied output layer, which starts as a copy of the input table."""

    def __init__(self, table):
        self.weight = Parameter(table.copy())


class Untied(Wrapper):
    """An embedding that reads words with one table and computes logits with another.

    Both tables start with the same values, so at first nothing changes. While they are tied, a row that moves to make its word
    likelier also changes what the model reads wherever that word occurs. Untied, the input stays as it was, and a backward pass
    for the head alone need not go through the blocks.
    """

    label = "head"

    def __init__(self, inner):
        super().__init__(inner)
        self.head = UntiedTable(inner.weight.data)

    @property
    def weight(self):
        return self.inner.weight

    def added(self):
        yield "head", self.head

    def forward(self, index):
        return self.inner.forward(index)

    def backward(self, dout, cache):
        """Read: the gradient of the input table, if that trains.

        Check: tests/test_methods.py.
        """
        return self.inner.backward(dout, cache)

    def unembed(self, x, needs_dx=True):
        return self.head.unembed(x, needs_dx)

    def unembed_backward(self, dout, cache):
        """Logits: the derivation of `Embedding.unembed_backward`, for the copy. Each table has only the gradient of its own use.

        Check: tests/test_methods.py.
        """
        return self.head.unembed_backward(dout, cache)


@dataclass(frozen=True)
class Head(Recipe):
    """Only the output layer trains: if it is tied to the table of words, a copy of that, from then on by itself.

    norm        train the final norm as well
    """

    norm: bool = True

    method: ClassVar[str] = "head"
    lr: ClassVar[float] = 4e-3

    def adds(self, config):
        return config.vocab_size * config.n_embd if config.tied else 0

    def apply(self, model, rng=None):
        slot = slot_of(model, model.head)
        model.trainable = False
        model.ln_f.trainable = self.norm
        if model.config.tied:
            slot.put(Untied(slot.module))
        else:
            model.head.trainable = True
        return model
