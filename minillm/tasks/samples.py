"""What a person counts: how many of the texts that a model writes are without a mistake.

Excess is counted by the token, and a text has many: 0.05 nats a token are 5 nats a novel of a hundred tokens, and a single wrong
word spoils it. Here the model writes, and the program of the domain reads: could it have written that, to the last word? If not,
text/mistakes.py says which word is wrong, and why.

Only the form is judged. That every text is possible does not mean that a model writes each as often as it should: this is what
excess tells. And a contradiction allows the same reports as the old law of weather, only others more often.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..ground.processes import parallel_map
from ..inference.generate import write
from ..text.mistakes import mistake
from ..text.tokenizer import END

TEMPERATURES = (1.0, 0.7)      # as the model would have it, and with the likely made likelier
BATCH = 50                     # texts that are written together
RARELY = 4                     # of what a model has not just been taught, a fourth as many texts will do


@dataclass(frozen=True)
class Flawless:
    """n texts that a model has written, and of those with a mistake [(text, the first mistake in a sentence)]."""

    n: int
    mistakes: list

    @property
    def count(self):
        """Texts without a mistake."""
        return self.n - len(self.mistakes)

    @property
    def share(self):
        return self.count / self.n

    @property
    def interval(self):
        """Of the share, 95 % (Wilson 1927): unlike p ± 1.96 sqrt(p (1 - p) / n), right near 0 and 1, too.

        It holds those p from which the share that was found lies at most z = 1.96 of p's own standard errors away:
        (share - p)^2 = z^2 p (1 - p) / n, solved for p.
        """
        z2 = 1.96 ** 2 / self.n
        centre, half = self.share + z2 / 2, math.sqrt(z2 * (self.share * (1 - self.share) + z2 / 4))
        return max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))

    def to_json(self):
        """For JSON."""
        return {"n": self.n, "count": self.count, "share": self.share, "interval": list(self.interval)}

    def __str__(self):
        low, high = self.interval
        return f"{100 * self.share:.0f} % ({100 * low:.0f}-{100 * high:.0f})"


def flawless(model, world, domain, n=100, temperature=1.0, seed=0, workers=None):
    """Flawless of n texts of a domain, n > 0: each is written from <begin> and the tag to its end, or the end of the context.

    The i-th text has the same random numbers for every model, domain and temperature.
    """
    return flawless_world(model, world, {domain: n}, (temperature,), seed, workers)[domain][temperature]


def flawless_world(model, world, sample_counts, temperatures=TEMPERATURES, seed=0, workers=None):
    """{domain: {temperature: Flawless}}, of as many texts as `sample_counts` says for each domain; nothing where that is 0."""
    def work(job):
        temperature, texts = job
        rngs = [np.random.default_rng([seed, i]) for _, i in texts]
        return write_and_judge(model, world, [domain for domain, _ in texts], rngs, temperature)

    texts = [(domain, i) for domain, number in sample_counts.items() for i in range(number)]
    jobs = [(temperature, texts[i:i + BATCH]) for temperature in temperatures for i in range(0, len(texts), BATCH)]
    found = {domain: {temperature: Flawless(number, []) for temperature in temperatures}
             for domain, number in sample_counts.items() if number}
    for (temperature, texts), written in zip(jobs, list(parallel_map(work, jobs, workers))):
        for (domain, _), (text, sentence) in zip(texts, written):
            if sentence:
                found[domain][temperature].mistakes.append((text, sentence))
    return found


def write_and_judge(model, world, domains, rngs, temperature=0.7):
    """[(text, its first mistake in a sentence, or None)]: a text of each of some domains, each with its own random numbers."""
    beginnings = [world.beginning(domain) for domain in domains]
    given = len(beginnings[0])
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            texts = write(model, beginnings, model.config.context - given, rngs, temperature, stop=world.tokenizer.ids[END])
    except ValueError:
        return [("", "nothing can be written, as the logits are not numbers")] * len(domains)
    return [read(world, domain, ids[given:]) for domain, ids in zip(domains, texts)]


def read(world, domain, ids):
    """ids after <begin> and the tag -> (text, its first mistake or None)"""
    words = [world.tokenizer.tokens[i] for i in ids]
    ended = words[-1:] == [END]
    words = words[:-1] if ended else words
    return world.tokenizer.join(words), mistake(world.grammars[domain], words, ended)


def sample_counts(world, names, taught, n):
    """{name: how many texts to judge}: n of what was taught, fewer of the rest, none of what has no grammar.

    That is of pairs of question and answer: how many of these are right, their accuracy tells.
    """
    return {name: n if name in taught else math.ceil(n / RARELY) for name in names if name in world.grammars}


def pooled_flawless(found, domains, temperature):
    """Flawless of the texts of several domains."""
    parts = [found[name][temperature] for name in domains]
    return Flawless(sum(part.n for part in parts), [mistake for part in parts for mistake in part.mistakes])


def flawless_json(found):
    """{domain: {"1": {...}, "0.7": {...}}}, for JSON."""
    return {name: {f"{temperature:g}": one.to_json() for temperature, one in of.items()} for name, of in found.items()}
