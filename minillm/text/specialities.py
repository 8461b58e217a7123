"""What a specialist can learn besides novels: contradictions, answers to questions, facts by heart, and moods.

Like the novels, all of these texts have a known probability.

All but the contradictions are pairs: a given part, and an answer. Only the answer counts.
"""

from itertools import product
from math import log, prod
from typing import NamedTuple

from .domains import EVERY_ADJECTIVE, MOODS, NAMES, NOTHING_HIDDEN, PLACES, THINGS, VERBS, WEATHER, listed, report, story
from .grammar import Distribution, Domain, Uniform, mixture

# Reports of another world, where the weather mostly goes backwards. Nothing else differs, and nothing in the text marks the
# difference. So a model that learns the new law unlearns the old one, and loses KL(old || new) on old reports.
OTHER_WEATHER_AFTER = {weather: Distribution({WEATHER[(i + 1) % 6]: 0.1, weather: 0.3, WEATHER[(i + 4) % 6]: 0.6})
                       for i, weather in enumerate(WEATHER)}
CONTRADICTION = Domain("contradiction", lambda hidden: report(hidden, OTHER_WEATHER_AFTER), NOTHING_HIDDEN)


class Pair(NamedTuple):
    given: list               # words
    said: list                # words
    log_p: list               # of each word of `said` and of the end, given all words before
    best: float               # the probability that the likeliest words are the right ones: 1 if the answer is certain


def certain(given, said):
    """A Pair whose answer has probability 1, from two strings."""
    given, said = given.split(), said.split()
    return Pair(given, said, [0.0] * (len(said) + 1), 1.0)


def questions(rng):
    """Pairs of a story without its end and a question, and the answer, which follows from the story."""
    while True:
        words = Domain("story", story, NOTHING_HIDDEN).write(rng)
        start = words[:words.index("was") - 2]                              # the words before "the day was"
        place, weather, things = ([word for word in start if word in kind] for kind in (PLACES, WEATHER, THINGS))
        thing = things[int(rng.integers(len(things)))]
        verb = next(word for word in start[start.index(thing):] if word in VERBS)
        asked = ["so what was the day ?", "so they went to what ?", "so what had they ?", f"so what of the {thing} ?"]
        answers = [weather[0], f"the {place[0]}", listed(things), f"to {verb} it"]
        i = int(rng.integers(4))
        yield certain(f"{' '.join(start)} {asked[i]}", f"{answers[i]} .")


def facts(rng):
    """Pairs that say who had which thing where: random facts, which can only be learned by heart. There are 9,216 of them."""
    keys = list(product(NAMES, EVERY_ADJECTIVE.words, THINGS))
    for i in rng.permutation(len(keys)):
        name, adjective, thing = keys[i]
        yield certain(f"{name} had the {adjective} {thing} at the", f"{Uniform(PLACES).draw(rng)} .")


# One word names each mood. Half of the adjectives are of the mood, the others are of any mood: so the best reader is often wrong.
WORD_FOR = {"gloomy": "shadow", "merry": "heart", "eerie": "yonder", "fierce": "fate"}
NOISY = {mood: mixture((0.5, 0.5), (Uniform(words), EVERY_ADJECTIVE)) for mood, words in MOODS.items()}


def mood(rng):
    """Pairs of three to six noisy adjectives and the word for their mood, whose probability follows from Bayes' rule."""
    while True:
        true = Uniform(list(MOODS)).draw(rng)
        adjectives = [NOISY[true].draw(rng) for _ in range(rng.integers(3, 7))]
        likelihood = {guess: prod(noisy.p[word] for word in adjectives) for guess, noisy in NOISY.items()}
        posterior = {guess: p / sum(likelihood.values()) for guess, p in likelihood.items()}
        yield Pair(f"words : {' , '.join(adjectives)} . so".split(), [WORD_FOR[true]], [log(posterior[true]), 0.0],
                   max(posterior.values()))


# {name: (the generator of its pairs, the domain whose tag they have)}
PAIRS = {"questions": (questions, "story"), "facts": (facts, "report"), "mood": (mood, "words")}
