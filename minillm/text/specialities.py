"""What a specialist can learn besides novels: to contradict, to know facts, to answer, to tell a mood. All of known probability.

All but the first are pairs: what is given, and what is to be said. Only the latter counts.
"""

from itertools import product
from math import log

from .domains import ADJECTIVES_OF, EVERY_ADJECTIVE, MOODS, NAMES, NOTHING_HIDDEN, PLACES, THINGS, WEATHER, listed, report, story
from .grammar import Distribution, Domain, Uniform, mixture

# Contradiction: the reports of another world, in which the weather mostly goes backwards. Nothing else differs, and nothing tells
# the two apart. So who learns the new law unlearns the old one, and must pay KL(old || new) on old reports.
OTHER_WEATHER_AFTER = {weather: Distribution({WEATHER[(i + 1) % 6]: 0.1, weather: 0.3, WEATHER[(i + 4) % 6]: 0.6})
                       for i, weather in enumerate(WEATHER)}
CONTRADICTION = Domain("contradiction", lambda _: report(_, OTHER_WEATHER_AFTER), NOTHING_HIDDEN)


class Pair:
    """One kind of pair. `write(rng)` gives the words given, the words to be said, and of each of these and the end its log p.

    kind        the domain whose tag such a text bears
    accuracy    how often the best guess is right, if that is not always
    """

    kind = "words"

    def write(self, rng):
        raise NotImplementedError


class Questions(Pair):
    """A story, broken off, and a question about it. Whoever can read knows the answer for sure."""

    kind = "story"

    def write(self, rng):
        words = Domain("story", story, NOTHING_HIDDEN).write(rng)
        end = words.index("they", words.index("it")) if "they" in words else len(words)
        told = words[:last_index(words[:end], "the")]
        places = [word for word in told if word in PLACES]
        days = [word for word in told if word in WEATHER]
        things = [told[i + 1] if told[i + 1] in THINGS else told[i + 2] for i, word in enumerate(told[:-2])
                  if word == "the" and told[i - 1] == "took"]
        names = list(dict.fromkeys(word for word in told if word in NAMES))
        asked = rng.integers(4)
        question, answer = [("went to what ?", f"the {places[0]} ."), ("what day ?", f"{days[0]} ."),
                            ("they had what ?", f"{listed(things)} ."),
                            (f"what took {names[1]} ?", f"{listed_any(things[1::2])} .")][asked]
        answer = answer.split()
        return [*told, *question.split()], answer, [0.0] * (len(answer) + 1)


class Facts(Pair):
    """Who had what where: n facts drawn by lot, which follow from nothing and can only be learned by heart."""

    kind = "report"


class Mood(Pair):
    """A few adjectives, of one mood as to half of them, and any at all as to the other half: which mood?

    It is said by one word for each mood. The adjectives only make it likely, so no reader is always right; how often the best
    can be, follows from Bayes' rule.
    """
