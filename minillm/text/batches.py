"""Batches: from texts to arrays of tokens and of the tokens that follow them.

Every source has `at(step) -> tokens, targets`, a pure function of its seed and the step. So the position in the data *is* the
step's number, and a run that was interrupted goes on with the very batch that would have come.
"""

import numpy as np

from ..nn import IGNORE


def pad(documents):
    """Lists of ids -> tokens, targets (B, T) with T the longest; what is added does not count."""
    T = max(len(ids) for ids in documents) - 1
    tokens = np.zeros((len(documents), T), np.int64)
    targets = np.full((len(documents), T), IGNORE)
    for row, ids in enumerate(documents):
        tokens[row, :len(ids) - 1] = ids[:-1]
        targets[row, :len(ids) - 1] = ids[1:]
    return tokens, targets


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

    def __init__(self, documents, batch, seed=0):
        """documents: lists of ids"""
        self.documents, self.batch, self.seed = documents, min(batch, len(documents)), seed
        self.total = self.batch * sum(len(ids) - 1 for ids in documents) / len(documents)

    def at(self, step):
        per_epoch = len(self.documents) // self.batch
        order = np.random.default_rng([self.seed, step // per_epoch]).permutation(len(self.documents))
        start = step % per_epoch * self.batch
        return pad([self.documents[i] for i in order[start:start + self.batch]])


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
