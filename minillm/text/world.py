"""The toy world: documents of known probability, ready for a model."""

from itertools import islice
from typing import NamedTuple

import numpy as np

from .domains import GENERAL, NOVEL, VOCABULARY
from .specialities import CONTRADICTION, PAIRS
from .tokenizer import BEGIN, END, PAD, WordTokenizer

SPLITS = ("train", "validation", "test")


class Document(NamedTuple):
    """A document as a model sees it: <begin>, the tag of its domain, its words, <end>."""

    domain: str
    ids: list                 # n + 1 tokens
    log_p: np.ndarray         # (n,) exact log p of ids[1:] given all before, in nats; 0 where it is given
    given: int = 1            # so many of the first of them are given and never counted: the tag, and what a pair gives
    best: float | None = None # of a pair: the probability that the likeliest words are the right ones


class World:
    """Six general domains and the novel; and what else a specialist can learn (specialities.py).

    Documents are a pure function of (seed, split, domain, number): any of them can be made again, and no two splits share a
    stream of random numbers.
    """

    def __init__(self, seed=0):
        self.seed = seed
        self.streams = {}
        self.domains = {domain.name: domain for domain in (*GENERAL, NOVEL)}
        self.general = [domain.name for domain in GENERAL]
        self.special = NOVEL.name
        self.grammars = {**self.domains, CONTRADICTION.name: CONTRADICTION}     # of all whose texts can be read and judged
        self.tokenizer = WordTokenizer([PAD, BEGIN, END, *(tag(name) for name in self.domains), *VOCABULARY])

    def rng(self, *key):
        return np.random.default_rng([self.seed, *key])

    def write(self, name, rng):
        """A new document of a domain as ids, without its probability (which costs more than the writing)."""
        return self.encode(name, self.domains[name].write(rng))

    def encode(self, name, words):
        ids = self.tokenizer.ids
        return [ids[BEGIN], ids[tag(name)], *(ids[word] for word in words), ids[END]]

    def beginning(self, name):
        """<begin> and the tag, as ids: how every document of a domain begins."""
        return self.encode(name, [])[:2]

    def documents(self, name, n, split="test", draw=0):
        """The first n documents of a domain, or of a speciality, in a split; asking for more keeps those that came before.

        Another `draw` gives others of the same kind. They are kept once written, since the same are asked for again and again.
        ValueError if there are not so many.
        """
        if name == "facts":
            split = "train"                                     # what was to be learned by heart is also what is asked
        key = (name, split, draw)
        if key not in self.streams:
            number = [*self.domains, CONTRADICTION.name, *PAIRS].index(name)
            self.streams[key] = self.stream(name, self.rng(SPLITS.index(split) + 1, number, *[draw] * bool(draw))), []
        stream, written = self.streams[key]
        written += islice(stream, max(0, n - len(written)))
        if len(written) < n:
            raise ValueError(f"there are only {len(written)} {name}, not {n}")
        return written[:n]

    def stream(self, name, rng):
        """One document after the other."""
        if name in PAIRS:
            write, kind = PAIRS[name]
            for pair in write(rng):
                log_p = [0.0] * (1 + len(pair.given)) + pair.log_p
                yield Document(name, self.encode(kind, pair.given + pair.said), np.array(log_p), 1 + len(pair.given), pair.best)
            return
        domain = self.grammars[name]
        while True:
            words = domain.write(rng)
            log_p = [-np.log(len(self.general)), *domain.log_probabilities(words)]
            yield Document(name, self.encode(name, words), np.array(log_p))

    def mixed_ids(self, n, *key):
        """n documents of the general domains, each as likely, as ids; for a key such as the number of a training step."""
        rng = self.rng(0, *key)
        return [self.write(self.general[i], rng) for i in rng.integers(0, len(self.general), n)]


def tag(name):
    """A contradiction looks like any report."""
    return f"<{'report' if name == CONTRADICTION.name else name}>"
