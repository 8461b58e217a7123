"""The toy world: documents of known probability, ready for a model."""

from itertools import islice
from typing import NamedTuple

import numpy as np

from ..ground.files import digest_of
from .domains import GENERAL, NOVEL, VOCABULARY
from .specialities import CONTRADICTION, PAIRS
from .tokenizer import BEGIN, END, PAD, WordTokenizer

SPLITS = ("train", "validation", "test")


class Document(NamedTuple):
    """A document as a model sees it: <begin>, the tag of its domain, its words, <end>."""

    domain: str
    ids: list                 # n + 1 tokens
    log_p: np.ndarray         # (n,) exact log p of ids[1:] given all ids before, in nats; 0 in the given part of a pair
    given: int = 1            # how many of ids[1:] are given and not counted: the tag, and the given part of a pair
    best: float | None = None # for a pair: the probability that the likeliest words are the right ones


class World:
    """The toy world: six general domains, the novel, and what else a specialist can learn (specialities.py).

    A document is a pure function of (seed, split, domain, its index), so it can be reproduced at any time, and no two splits
    share a stream of random numbers.
    """

    def __init__(self, seed=0):
        self.seed = seed
        self.streams = {}
        self.domains = {domain.name: domain for domain in (*GENERAL, NOVEL)}
        self.general = [domain.name for domain in GENERAL]
        self.special = NOVEL.name
        self.grammars = {**self.domains, CONTRADICTION.name: CONTRADICTION}     # all domains whose texts can be judged
        self.tokenizer = WordTokenizer([PAD, BEGIN, END, *(tag(name) for name in self.domains), *VOCABULARY])

    def rng(self, *key):
        return np.random.default_rng([self.seed, *key])

    def write(self, name, rng):
        """A new document of a domain as ids, without its probability (which takes longer to compute than the document)."""
        return self.encode(name, self.domains[name].write(rng))

    def encode(self, name, words):
        """The ids of a document: <begin>, the tag of its domain, its words, <end>."""
        ids = self.tokenizer.ids
        return [ids[BEGIN], ids[tag(name)], *(ids[word] for word in words), ids[END]]

    def beginning(self, name):
        """The first two ids of every document of a domain: <begin> and the tag."""
        return self.encode(name, [])[:2]

    def documents(self, name, n, split="test", draw=0):
        """The first n documents of a domain or a speciality in a split; with a larger n, the first ones stay the same.

        Another `draw` gives other documents of the same kind. They are stored, since the same ones are needed many times.
        ValueError if there are fewer than n.
        """
        if name == "facts":
            split = "train"                                     # a model is asked for the same facts that it has learned by heart
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
        """An endless generator of documents; the facts end."""
        if name in PAIRS:
            write, kind = PAIRS[name]
            for pair in write(rng):
                log_p = [0.0] * (1 + len(pair.given)) + pair.log_p
                yield Document(name, self.encode(kind, pair.given + pair.said), np.array(log_p), 1 + len(pair.given), pair.best)
            return
        domain = self.grammars[name]
        while True:
            words = domain.write(rng)
            log_p = [0.0, *domain.log_probabilities(words)]
            yield Document(name, self.encode(name, words), np.array(log_p))

    def fingerprint(self):
        """An identifier of exactly this world: a digest of its words and of some texts of each domain."""
        rng = self.rng(len(SPLITS) + 1)
        texts = [word for domain in self.grammars.values() for _ in range(50) for word in domain.write(rng)]
        return digest_of(f"{word} ".encode() for word in [*self.tokenizer.tokens, *texts])

    def mixed_ids(self, n, *key):
        """n documents of the general domains, all equally likely, as lists of ids; `key` (a step, say) seeds them."""
        rng = self.rng(0, *key)
        return [self.write(self.general[i], rng) for i in rng.integers(0, len(self.general), n)]


def tag(name):
    """The token of a domain. A contradiction has the tag of a report, so that nothing distinguishes the two."""
    return f"<{'report' if name == CONTRADICTION.name else name}>"
