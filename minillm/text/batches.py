"""Batches: from texts to arrays of tokens and of the tokens that follow them.

Every source has `at(step) -> tokens, targets`, a pure function of its seed and the step. So the position in the data *is* the
step's number, and a run that was interrupted goes on with the very batch that would have come.
"""

from typing import NamedTuple

import numpy as np

from ..nn import IGNORE


class Text(NamedTuple):
    """ids, of which the first is given in any case, and then `given` more: the tag of a document, or a whole question."""

    ids: list
    given: int = 1

    @property
    def beginning(self):
        """What is given; of a plain text, in which nothing is, a few characters."""
        return self.ids[:self.given + 1] if self.given else self.ids[:12]


def pad(documents, given=None):
    """Lists of ids -> tokens, targets (B, T) with T the longest; what is added does not count.

    given   for each document, how many of its targets do not count either, because they are given: a question, not its answer
    """
    T = max(len(ids) for ids in documents) - 1
    tokens = np.zeros((len(documents), T), np.int64)
    targets = np.full((len(documents), T), IGNORE)
    for row, (ids, first) in enumerate(zip(documents, given or [0] * len(documents))):
        tokens[row, :len(ids) - 1] = ids[:-1]
        targets[row, first:len(ids) - 1] = ids[first + 1:]
    return tokens, targets


def texts_of(tokens, targets):
    """The inverse of `pad`: tokens, targets (B, T) -> a list of Text."""
    found = []
    for row, counts in zip(range(len(tokens)), targets != IGNORE):
        first, last = np.flatnonzero(counts)[[0, -1]]
        found.append(Text([*tokens[row, :last + 1].tolist(), int(targets[row, last])], int(first)))
    return found


NOVEL_EVERY = 160      # batches; with none at all, the generalist is so sure of its own style that it finds a novel impossible


class WorldBatches:
    """Ever new documents of a world's general domains, and in every 160th batch a single novel."""

    def __init__(self, world, batch):
        self.world, self.batch = world, batch
        sample = [len(ids) - 1 for ids in world.mixed_ids(512, 0)]
        self.total = batch * sum(sample) / len(sample)              # the expected count of tokens in a batch

    def at(self, step):
        documents = self.world.mixed_ids(self.batch, 1, step)
        if step % NOVEL_EVERY == NOVEL_EVERY // 2:
            documents[0] = self.world.write(self.world.special, self.world.rng(0, 2, step))
        return pad(documents)


class DocumentBatches:
    """A few documents, again and again: shuffled anew each time through.

    Where the batch does not divide their number, the last few of an order are left out until the next.
    """

    def __init__(self, documents, batch, seed=0, given=None):
        """documents: lists of ids; given: as of `pad`"""
        self.documents, self.batch, self.seed = documents, min(batch, len(documents)), seed
        self.given = given or [0] * len(documents)
        self.total = self.batch * (sum(len(ids) - 1 for ids in documents) - sum(self.given)) / len(documents)

    def at(self, step):
        per_epoch = len(self.documents) // self.batch
        order = np.random.default_rng([self.seed, step // per_epoch]).permutation(len(self.documents))
        start = step % per_epoch * self.batch
        chosen = order[start:start + self.batch]
        return pad([self.documents[i] for i in chosen], [self.given[i] for i in chosen])


class StreamBatches:
    """Windows cut at random places from one long text."""

    total = None                                                    # all batches have B T tokens

    def __init__(self, ids, context, batch, seed=0):
        """ids: a vector. ValueError if it is not longer than the context."""
        if len(ids) <= context:
            raise ValueError(f"the text has {len(ids)} tokens, but a context of {context} needs at least {context + 1}")
        self.ids, self.context, self.batch, self.seed = np.asarray(ids), context, batch, seed

    def at(self, step):
        starts = np.random.default_rng([self.seed, step]).integers(0, len(self.ids) - self.context, self.batch)
        windows = self.ids[starts[:, None] + np.arange(self.context + 1)]
        return windows[:, :-1], windows[:, 1:]


class MixedBatches:
    """Of two sources a batch each, in one: first the rows of the one, then those of the other."""

    def __init__(self, first, second):
        self.sources, self.batch = (first, second), first.batch + second.batch
        self.total = None if None in (first.total, second.total) else first.total + second.total

    def at(self, step):
        found = [source.at(step) for source in self.sources]
        T = max(tokens.shape[1] for tokens, _ in found)

        def stacked(arrays, filler):
            return np.concatenate([np.pad(array, ((0, 0), (0, T - array.shape[1])), constant_values=filler) for array in arrays])

        tokens, targets = zip(*found)
        return stacked(tokens, 0), stacked(targets, IGNORE)
