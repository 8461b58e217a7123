"""Batches: from texts to arrays of tokens and of their targets, the tokens that follow them.

Every source has `at(step) -> tokens, targets`, a pure function of its seed and the step. So the position in the data *is* the
number of the step, and a run that was interrupted continues with the batch that would have come next.
"""

from typing import NamedTuple

import numpy as np

from ..nn import IGNORE


class Text(NamedTuple):
    """A sequence of ids. The first id is always given, and so are the next `given` ids: the tag of a document, or a question."""

    ids: list
    given: int = 1

    @property
    def beginning(self):
        """The ids that are given; for a plain text, where `given` is 0, the first 12."""
        return self.ids[:self.given + 1] if self.given else self.ids[:12]


def pad(sequences, given=None):
    """B lists of ids -> tokens, targets (B, T), where T + 1 is the longest length. The targets of the padding are IGNORE.

    given   for each sequence, how many of its first targets are IGNORE as well: those of a question, which is given
    """
    T = max(len(ids) for ids in sequences) - 1
    tokens = np.zeros((len(sequences), T), np.int64)
    targets = np.full((len(sequences), T), IGNORE)
    for row, (ids, first) in enumerate(zip(sequences, given or [0] * len(sequences))):
        tokens[row, :len(ids) - 1] = ids[:-1]
        targets[row, first:len(ids) - 1] = ids[first + 1:]
    return tokens, targets


def texts_of(tokens, targets):
    """The inverse of `pad`: tokens, targets (B, T) -> a list of Text."""
    texts = []
    for row, counts in zip(range(len(tokens)), targets != IGNORE):
        first, last = np.flatnonzero(counts)[[0, -1]]
        texts.append(Text([*tokens[row, :last + 1].tolist(), int(targets[row, last])], int(first)))
    return texts


NOVEL_EVERY = 240      # batches; with no novel at all, the generalist becomes so sure of plain style that novels seem impossible


class WorldBatches:
    """New documents of a world's general domains in every batch, and one novel in every 240th batch.

    total       the expected number of tokens in a batch; likewise in the classes below
    """

    def __init__(self, world, batch):
        self.world, self.batch = world, batch
        sample = [len(ids) - 1 for ids in world.mixed_ids(512, 0)]
        self.total = batch * sum(sample) / len(sample)

    def at(self, step):
        sequences = self.world.mixed_ids(self.batch, 1, step)
        if step % NOVEL_EVERY == NOVEL_EVERY // 2:
            sequences[0] = self.world.write(self.world.special, self.world.rng(0, 2, step))
        return pad(sequences)


class DocumentBatches:
    """The same few sequences in every epoch, in a new random order each time.

    If their number is not a multiple of the batch size, the last few of each order are left out.
    """

    def __init__(self, sequences, batch, seed=0, given=None):
        """sequences: lists of ids; given: as in `pad`"""
        self.sequences, self.batch, self.seed = sequences, min(batch, len(sequences)), seed
        self.given = given or [0] * len(sequences)
        self.total = self.batch * (sum(len(ids) - 1 for ids in sequences) - sum(self.given)) / len(sequences)

    def at(self, step):
        per_epoch = len(self.sequences) // self.batch
        order = np.random.default_rng([self.seed, step // per_epoch]).permutation(len(self.sequences))
        start = step % per_epoch * self.batch
        chosen = order[start:start + self.batch]
        return pad([self.sequences[i] for i in chosen], [self.given[i] for i in chosen])


class StreamBatches:
    """Windows cut from one long text, each from a random position."""

    total = None                                                    # every batch has B T tokens

    def __init__(self, ids, context, batch, seed=0):
        """ids: a vector of all tokens of the text. ValueError if it is not longer than the context."""
        if len(ids) <= context:
            raise ValueError(f"the text has {len(ids)} tokens, but a context of {context} needs at least {context + 1}")
        self.ids, self.context, self.batch, self.seed = np.asarray(ids), context, batch, seed

    def at(self, step):
        starts = np.random.default_rng([self.seed, step]).integers(0, len(self.ids) - self.context, self.batch)
        windows = self.ids[starts[:, None] + np.arange(self.context + 1)]
        return windows[:, :-1], windows[:, 1:]


class MixedBatches:
    """A batch of each of two sources in one: first the rows of the first source, then those of the second."""

    def __init__(self, first, second):
        self.sources, self.batch = (first, second), first.batch + second.batch
        self.total = None if None in (first.total, second.total) else first.total + second.total

    def at(self, step):
        batches = [source.at(step) for source in self.sources]
        T = max(tokens.shape[1] for tokens, _ in batches)

        def stacked(arrays, filler):
            return np.concatenate([np.pad(array, ((0, 0), (0, T - array.shape[1])), constant_values=filler) for array in arrays])

        tokens, targets = zip(*batches)
        return stacked(tokens, 0), stacked(targets, IGNORE)
