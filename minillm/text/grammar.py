"""Texts with a known probability: a domain is a program that writes a document, and the same program gives its probability.

A domain is a generator function. It yields what may come next, either one word or a distribution over words, and is sent the
word that was chosen:

    def walk(mood):
        yield "the"
        adjective = yield MOODS[mood]           # a Distribution
        yield "dog"

Its argument is hidden from the reader: a latent variable such as a mood, drawn once from a prior. `write` draws a value and
runs the program once. `predict` runs it once for each value that the hidden variable could have, and weights the values by
Bayes' rule as words come in, so it knows the exact distribution of every next word given all words before it. No model can do
better than that: its mean surprise, -log p, is the entropy of the text, the floor of any loss.
"""

import math
from bisect import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate


class Distribution:
    """A distribution over some words. The weights need not sum to 1."""

    def __init__(self, weights):
        """weights: {word: weight > 0}"""
        total = sum(weights.values())
        self.p = {word: w / total for word, w in weights.items()}
        self.words = list(self.p)
        self.cumulative = list(accumulate(self.p.values()))

    def draw(self, rng):
        return self.words[min(bisect(self.cumulative, rng.random()), len(self.words) - 1)]


class Uniform:
    """The uniform distribution over a list of words."""

    def __init__(self, words):
        self.words = words

    @property
    def p(self):
        return dict.fromkeys(self.words, 1 / len(self.words))

    def draw(self, rng):
        return self.words[int(rng.random() * len(self.words))]


def mixture(weights, distributions):
    """The distribution sum_i w_i d_i, for weights that sum to 1."""
    total = {}
    for w, d in zip(weights, distributions):
        for word, p in d.p.items():
            total[word] = total.get(word, 0.0) + w * p
    return Distribution(total)


@dataclass(frozen=True)
class Domain:
    """A kind of text.

    program     the generator function that writes it, called with a value of the hidden variable
    prior       {value of the hidden variable: probability}; {None: 1.0} if nothing is hidden
    """

    name: str
    program: Callable
    prior: dict

    def write(self, rng):
        """One document, a list of words."""
        hidden = Distribution(self.prior).draw(rng) if len(self.prior) > 1 else next(iter(self.prior))
        program = self.program(hidden)
        words = []
        try:
            choice = next(program)
            while True:
                word = choice if isinstance(choice, str) else choice.draw(rng)
                words.append(word)
                choice = program.send(word)
        except StopIteration:
            return words

    def predict(self, words) -> Iterator[dict]:
        """For each position of a document, and the one after its last word, {word: probability} given all words before it.

        The end of a document is the word None. Stops early, after an empty prediction, if a word had probability 0: then the
        document is not of this domain.

        Bayes' rule, one word at a time: with w_h = p(h | words so far) and p_h the next-word distribution of the program with
        hidden value h,  p(word) = sum_h w_h p_h(word)  and then  w_h <- w_h p_h(word) / p(word).
        """
        branches = []                                       # (w_h, the program with h, what it yielded last)
        for hidden, weight in self.prior.items():
            program = self.program(hidden)
            branches.append((weight, program, next(program, None)))
        for word in [*words, None]:
            total = {}
            for weight, _, choice in branches:
                for candidate, p in probabilities(choice).items():
                    total[candidate] = total.get(candidate, 0.0) + weight * p
            yield total
            if word is None or not total:
                return
            evidence = total.get(word, 0.0)
            branches = [(weight * probabilities(choice)[word] / evidence, program, advance(program, word))
                        for weight, program, choice in branches if word in probabilities(choice)]

    def log_probabilities(self, words):
        """log p of each word given those before it, and of the end: len(words) + 1 numbers, in nats.

        ValueError names the first word that has probability 0.
        """
        logs = []
        for i, (word, prediction) in enumerate(zip([*words, None], self.predict(words))):
            if word not in prediction:
                raise ValueError(f"a {self.name} has no {word or 'end'!r} at position {i + 1}, "
                                 f"after {' '.join(words[max(0, i - 5):i])!r}")
            logs.append(math.log(prediction[word]))
        return logs

    def accepts(self, words):
        """Could this domain have written these words?"""
        try:
            self.log_probabilities(words)
        except ValueError:
            return False
        return True


def probabilities(choice):
    """{word: probability} for what a program has yielded; None is the end of the document."""
    return {choice: 1.0} if choice is None or isinstance(choice, str) else choice.p


def advance(program, word):
    """What the program yields after this word; None at its end."""
    try:
        return program.send(word)
    except StopIteration:
        return None
