"""The output layer alone. Here it is the table of words itself, so it must be untied from it first."""

from dataclasses import dataclass
from typing import ClassVar

from ...nn import Embedding, Parameter
from ..recipe import Recipe
from ..wrapper import Wrapper, slot_at


class OutputTable(Embedding):
    """A table of its own for the way out; a copy, at first."""

    def __init__(self, table):
        self.weight = Parameter(table.copy())


class Untied(Wrapper):
    """Reads words with one table and rates them with another.

    The two start as one, so at first nothing changes. Tied, a row that moves to make its word likelier also changes what the
    model reads wherever that word stands. Untied, the way in stays as it was, and training the head ends where the body begins.
    """

    label = "head"

    def __init__(self, inner):
        super().__init__(inner)
        self.head = OutputTable(inner.weight.data)

    @property
    def weight(self):
        return self.inner.weight

    def added(self):
        yield "head", self.head

    def forward(self, index):
        return self.inner.forward(index)

    def backward(self, dout, cache):
        """The way in: the gradient of the table of words, if that trains.

        Check: tests/test_methods.py.
        """
        return self.inner.backward(dout, cache)

    def unembed(self, x, needs_dx=True):
        return self.head.unembed(x, needs_dx)

    def unembed_backward(self, dout, cache):
        """The way out: the derivation of `Embedding.unembed_backward`, for the copy. The sum over both ways is no more.

        Check: tests/test_methods.py.
        """
        return self.head.unembed_backward(dout, cache)


@dataclass(frozen=True)
class Head(Recipe):
    """Only the output layer moves, a copy of the table of words that is no longer tied to it.

    norm        train the final norm as well
    """

    norm: bool = True

    method: ClassVar[str] = "head"
    lr: ClassVar[float] = 4e-3

    def adds(self, config):
        return config.vocab_size * config.n_embd

    def apply(self, model, rng=None):
        slot = slot_at(model, "wte")
        model.trainable = False
        model.ln_f.trainable = self.norm
        slot.put(Untied(slot.module))
