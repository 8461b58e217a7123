"""The toy world: documents of known probability, ready for a model."""

from typing import NamedTuple

import numpy as np

from .domains import GENERAL, NOVEL, VOCABULARY
from .tokenizer import BEGIN, END, PAD, WordTokenizer

SPLITS = ("train", "validation", "test")



class Document(NamedTuple):
    """A document as a model sees it: <begin>, the tag of its domain, its words, <end>."""

    domain: str
    ids: list                 # n + 1 tokens
    log_p: np.ndarray         # (n,) exact log p of ids[1:] given all before, in nats; the first, of the tag, is never counted


class World:
    """Six general domains and the novel.

    Documents are a pure function of (seed, split, domain, number): any of them can be made again, and no two splits share a
    stream of random numbers.
    """

    def __init__(self, seed=0):
        self.seed = seed
        self.streams = {}
        self.domains = {domain.name: domain for domain in (*GENERAL, NOVEL)}
        self.general = [domain.name for domain in GENERAL]
        self.special = NOVEL.name
        self.tokenizer = WordTokenizer([PAD, BEGIN, END, *(tag(name) for name in self.domains), *VOCABULARY])

    def rng(self, *key):
        return np.random.default_rng([self.seed, *key])

    def write(self, name, rng):
        """A new document of a domain as ids, without its probability (which costs more than the writing)."""
        ids = self.tokenizer.ids
        words = self.domains[name].write(rng)
        return [ids[BEGIN], ids[tag(name)], *(ids[word] for word in words), ids[END]]

    def document(self, name, rng):
        ids = self.write(name, rng)
        words = [self.tokenizer.tokens[i] for i in ids[2:-1]]
        logs = self.domains[name].log_probabilities(words)
        return Document(name, ids, np.array([-np.log(len(self.general)), *logs]))

    def documents(self, name, n, split="test"):
        """The first n documents of a domain in a split; asking for more keeps those that came before.

        Kept once written, since the same ones are asked for again and again.
        """
        stream, written = self.streams.setdefault(
            (name, split), (self.rng(SPLITS.index(split) + 1, list(self.domains).index(name)), []))
        while len(written) < n:
            written.append(self.document(name, stream))
        return written[:n]

    def mixed_ids(self, n, *key):
        """n documents of the general domains, each as likely, as ids; for a key such as the number of a training step."""
        rng = self.rng(0, *key)
        return [self.write(self.general[i], rng) for i in rng.integers(0, len(self.general), n)]


def tag(name):
    return f"<{name}>"
