"""Count how many of the texts that a model generates have no mistake.

Excess is measured per token, and a text has many: 0.05 nats a token are 5 nats for a novel of a hundred tokens, and one wrong
word spoils the whole novel. Here the model generates texts, and the program of the domain checks whether it could have written
them, to the last word. If not, text/mistakes.py says which word is wrong, and why.

This judges only whether a text is possible, not whether the model generates each text as often as it should: excess measures
that. The two laws of the weather, for example, allow the same reports with different probabilities, so flawless reports do not
tell which law a model has learned.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..ground.processes import parallel_map
from ..inference.generate import generate_equal_lengths
from ..text.mistakes import mistake
from ..text.tokenizer import END

TEMPERATURES = (1.0, 0.7)      # the model's own distribution, and a sharper one
BATCH = 50                     # texts that are generated together
FEWER = 4                      # a domain that has not just been taught gets n / 4 texts


@dataclass(frozen=True)
class Flawless:
    """How many of n generated texts have no mistake.

    mistakes    [(text, its first mistake in a sentence)] of the others
    """

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
        """The 95 % confidence interval of the share (Wilson 1927). Unlike p ± 1.96 sqrt(p (1 - p) / n), it holds near 0 and 1.

        It contains every p whose distance from the observed share is at most z = 1.96 of p's own standard errors. Its ends solve
        (share - p)^2 = z^2 p (1 - p) / n.
        """
        z2 = 1.96 ** 2 / self.n
        centre, half = self.share + z2 / 2, math.sqrt(z2 * (self.share * (1 - self.share) + z2 / 4))
        return max(0.0, (centre - half) / (1 + z2)), min(1.0, (centre + half) / (1 + z2))

    def to_json(self):
        """A dictionary for JSON."""
        return {"n": self.n, "count": self.count, "share": self.share, "interval": list(self.interval)}

    def __str__(self):
        low, high = self.interval
        return f"{100 * self.share:.0f} % ({100 * low:.0f}-{100 * high:.0f})"


def flawless(model, world, domain, n=100, temperature=1.0, seed=0, workers=None):
    """Flawless of n > 0 texts of a domain, each generated from <begin> and the tag up to <end>, or the end of the context.

    The i-th text of a domain uses the same random numbers for every model and temperature, which makes these comparable. Each
    domain has its own: a draw of an unlikely word would otherwise spoil the i-th text of every domain at once.
    """
    return flawless_world(model, world, {domain: n}, (temperature,), seed, workers)[domain][temperature]


def flawless_world(model, world, sample_counts, temperatures=TEMPERATURES, seed=0, workers=None):
    """{domain: {temperature: Flawless}}.   sample_counts {domain: number of texts}; domains with 0 texts are left out"""
    def work(job):
        temperature, texts = job
        rngs = [np.random.default_rng([seed, i, stream[domain]]) for domain, i in texts]
        return write_and_judge(model, world, [domain for domain, _ in texts], rngs, temperature)

    stream = {domain: j for j, domain in enumerate(world.grammars)}
    texts = [(domain, i) for domain, n in sample_counts.items() for i in range(n)]
    jobs = [(temperature, texts[i:i + BATCH]) for temperature in temperatures for i in range(0, len(texts), BATCH)]
    results = {domain: {temperature: Flawless(number, []) for temperature in temperatures}
               for domain, number in sample_counts.items() if number}
    for (temperature, texts), judged in zip(jobs, list(parallel_map(work, jobs, workers))):
        for (domain, _), (text, sentence) in zip(texts, judged):
            if sentence:
                results[domain][temperature].mistakes.append((text, sentence))
    return results


def write_and_judge(model, world, domains, rngs, temperature=0.7):
    """[(text, its first mistake in a sentence, or None)]: one generated text for each of `domains`, each with its own rng."""
    beginnings = [world.beginning(domain) for domain in domains]
    given = len(beginnings[0])
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            texts = generate_equal_lengths(model, beginnings, model.config.context - given, rngs, temperature,
                                           stop=world.tokenizer.ids[END], vocabulary=len(world.tokenizer))
    except ValueError:
        return [("", "nothing can be written, as the logits are not numbers")] * len(domains)
    return [read(world, domain, ids[given:]) for domain, ids in zip(domains, texts)]


def read(world, domain, ids):
    """ids after <begin> and the tag -> (text, its first mistake in a sentence, or None)"""
    words = [world.tokenizer.tokens[i] for i in ids]
    ended = words[-1:] == [END]
    words = words[:-1] if ended else words
    return world.tokenizer.join(words), mistake(world.grammars[domain], words, ended)


def sample_counts(world, names, taught, n):
    """{name: number of texts to judge}: n for the domains that were taught, n / 4 for the others.

    Names without a grammar are left out: pairs of question and answer, which have an accuracy instead.
    """
    return {name: n if name in taught else math.ceil(n / FEWER) for name in names if name in world.grammars}


def pooled_flawless(results, domains, temperature):
    """Flawless of the texts of several domains together.   results: of `flawless_world`"""
    parts = [results[name][temperature] for name in domains]
    return Flawless(sum(part.n for part in parts), [mistake for part in parts for mistake in part.mistakes])


def flawless_json(results):
    """The results of `flawless_world` for JSON: {domain: {"1": {...}, "0.7": {...}}}."""
    return {name: {f"{temperature:g}": result.to_json() for temperature, result in by_temperature.items()}
            for name, by_temperature in results.items()}
