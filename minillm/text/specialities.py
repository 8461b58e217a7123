"""What a specialist can learn besides novels: to contradict, to answer, to know by heart, to tell a mood.

All of it is of known probability, as the novels are.

All but the first come as pairs: what is given, and what is to be said. Only the latter counts.
"""

from itertools import product
from math import log
from typing import NamedTuple

from .domains import EVERY_ADJECTIVE, MOODS, NAMES, NOTHING_HIDDEN, PLACES, THINGS, WEATHER, listed, report, story
from .grammar import Distribution, Domain, Uniform, mixture

# The reports of another world, in which the weather mostly goes backwards. Nothing else differs, and nothing tells the two apart.
# So who learns the new law unlearns the old, and must pay KL(old || new) on old reports.
OTHER_WEATHER_AFTER = {weather: Distribution({WEATHER[(i + 1) % 6]: 0.1, weather: 0.3, WEATHER[(i + 4) % 6]: 0.6})
                       for i, weather in enumerate(WEATHER)}
CONTRADICTION = Domain("contradiction", lambda hidden: report(hidden, OTHER_WEATHER_AFTER), NOTHING_HIDDEN)


class Pair(NamedTuple):
    given: list               # words
    said: list                # words
    log_p: list               # of each word that is said and of the end, given all before
    best: float               # the probability that the likeliest words are the right ones: 1 where the answer is certain


def certain(given, said):
    given, said = given.split(), said.split()
    return Pair(given, said, [0.0] * (len(said) + 1), 1.0)


def questions(rng):
    """A story without its end, and a question about it. Whoever has understood it knows the answer."""
    while True:
        words = Domain("story", story, NOTHING_HIDDEN).write(rng)
        told = words[:words.index("was") - 2]                               # up to "... the day was"
        place, weather, things = ([word for word in told if word in kind] for kind in (PLACES, WEATHER, THINGS))
        thing = things[int(rng.integers(len(things)))]
        verb = told[told.index(thing) + 2]                                  # "the lamp to clean it"
        asked = ["so what was the day ?", "so they went to what ?", "so what had they ?", f"so what of the {thing} ?"]
        answers = [weather[0], f"the {place[0]}", listed(things), f"to {verb} it"]
        i = int(rng.integers(4))
        yield certain(f"{' '.join(told)} {asked[i]}", f"{answers[i]} .")


def facts(rng):
    """Who had which thing where. It follows from nothing, and can only be learned by heart. There are 9,216 before it ends."""
    keys = list(product(NAMES, EVERY_ADJECTIVE.words, THINGS))
    for i in rng.permutation(len(keys)):
        name, adjective, thing = keys[i]
        yield certain(f"{name} had the {adjective} {thing} at the", f"{Uniform(PLACES).draw(rng)} .")


# Each mood is said by one word. Half of the adjectives are of the mood, and half are any: so the best reader is often wrong.
SAID = {"gloomy": "shadow", "merry": "heart", "eerie": "yonder", "fierce": "fate"}
NOISY = {mood: mixture((0.5, 0.5), (Uniform(words), EVERY_ADJECTIVE)) for mood, words in MOODS.items()}


def mood(rng):
    """Three to six noisy adjectives: which mood are they of? What can be known follows from Bayes' rule."""
    while True:
        true = Uniform(list(MOODS)).draw(rng)
        adjectives = [NOISY[true].draw(rng) for _ in range(rng.integers(3, 7))]
        likelihood = {}
        for guess, distribution in NOISY.items():
            likelihood[guess] = 1.0
            for word in adjectives:
                likelihood[guess] *= distribution.p[word]
        posterior = {guess: p / sum(likelihood.values()) for guess, p in likelihood.items()}
        yield Pair(f"words : {' , '.join(adjectives)} . so".split(), [SAID[true]], [log(posterior[true]), 0.0],
                   max(posterior.values()))


# {name: the stream of its pairs, and the domain whose tag they bear}
PAIRS = {"questions": (questions, "story"), "facts": (facts, "report"), "mood": (mood, "words")}
