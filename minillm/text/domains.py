"""The domains of the toy world: six general ones and the novel, each a short program (see grammar.py).

Each general domain teaches something that a language model must learn: to copy, to recall a list in order, to keep two speakers
apart, to know which verb goes with which thing, to add, to infer what is not said. They share their words, so that what is
learned in one helps in the others: wherever a place is recalled, it is recalled after "that". The novel needs all of these skills
in one text, in its own style. A generalist has the skills but lacks the style; a model that is trained from scratch lacks both.
"""

from .grammar import Distribution, Domain, Uniform, mixture

NAMES = "anna ben clara david ella finn greta hugo ida jonas karla leo".split()
PLACES = "harbour mill market forest river castle bridge garden tower village island meadow".split()
USUAL_VERB = {
    "lamp": "clean", "bread": "bake", "boat": "row", "letter": "read", "key": "turn", "rope": "tie", "apple": "eat",
    "coat": "wear", "book": "read", "drum": "beat", "clock": "wind", "kettle": "fill", "ladder": "climb", "map": "follow",
    "mirror": "clean", "net": "mend", "bell": "beat", "ring": "wear", "saddle": "mend", "flute": "play", "cart": "mend",
    "door": "open", "wheel": "turn", "barrel": "fill",
}
THINGS = list(USUAL_VERB)
# In every text the groups take turns: after a thing of the house comes one of the farm, then of the road, the fair, the house.
GROUPS = {
    "house": "lamp bread key clock kettle door".split(),
    "farm": "rope apple ladder saddle cart barrel".split(),
    "road": "boat letter coat map net wheel".split(),
    "fair": "book drum mirror bell ring flute".split(),
}
GROUP_OF = {thing: group for group, things in GROUPS.items() for thing in things}
VERBS = list(dict.fromkeys([*USUAL_VERB.values(), "sell"]))
WEATHER = "sunny cloudy rainy stormy foggy snowy".split()
NUMBERS = [str(n) for n in range(12)]
MOODS = {
    "gloomy": "grey cold silent lonely dim bitter weary hollow".split(),
    "merry": "bright warm golden sweet gentle lively kind fair".split(),
    "eerie": "pale crooked strange hidden ancient restless secret moonlit".split(),
    "fierce": "wild burning proud savage iron scarlet mighty roaring".split(),
}
RARE = ("alas thus beneath beyond upon behold whispered sighed wandered beheld cherished dreamed o "
        "ere yonder shadow heart fate").split()

# Knowledge that no single document shows completely: who are friends, whose turn it is after a thing, which verbs go with it,
# which weather follows which.
FRIEND_OF = {name: Uniform([NAMES[(i + step) % len(NAMES)] for step in (1, 6, 11)]) for i, name in enumerate(NAMES)}
NEXT_GROUP = dict(zip(GROUPS, [*list(GROUPS)[1:], *GROUPS]))
THING_AFTER = {thing: Uniform(GROUPS[NEXT_GROUP[group]]) for thing, group in GROUP_OF.items()}
VERB_OF = {thing: Distribution({verb: 0.8, "sell": 0.2}) for thing, verb in USUAL_VERB.items()}       # anything can be sold
WEATHER_AFTER = {weather: Distribution({WEATHER[(i + 1) % 6]: 0.6, weather: 0.3, WEATHER[(i + 4) % 6]: 0.1})
                 for i, weather in enumerate(WEATHER)}
EVERY_ADJECTIVE = Uniform([word for words in MOODS.values() for word in words])
ADJECTIVES_OF = {mood: mixture((0.85, 0.15), (Uniform(words), EVERY_ADJECTIVE)) for mood, words in MOODS.items()}
NOTHING_HIDDEN = {None: 1.0}
EVERY_MOOD = dict.fromkeys(MOODS, 1 / len(MOODS))
STEPS = dict.fromkeys((1, 2, 3), 1 / 3)


def say(text):
    """Yield words that have probability 1."""
    for word in text.split():      # noqa: UP028  (a list takes no `send`)
        yield word


def another(n, least, most, go_on=",", stop="."):
    """After n things, go on or stop? Between `least` and `most`, each has probability 0.5. Returns True to go on."""
    choice = go_on if n < least else stop if n == most else Distribution({go_on: 0.5, stop: 0.5})
    return (yield choice) == go_on


def plus(number, step):
    """The number word for number + step, modulo 12: 11 is followed by 0."""
    return NUMBERS[(int(number) + step) % len(NUMBERS)]


def listed(things):
    """the lamp , the rope and the key"""
    *first, last = [f"the {thing}" for thing in things]
    return f"{' , '.join(first)} and {last}" if first else last


def after(things):
    """The next thing: the first may be any, the others are of the group whose turn it is."""
    return THING_AFTER[things[-1]] if things else Uniform(THINGS)


def two_names():
    first = yield Uniform(NAMES)
    yield "and"
    second = yield FRIEND_OF[first]
    return first, second


def report(_, weather_after=WEATHER_AFTER):
    """Copy the name and the place; the weather is a Markov chain; the second number is the first + 3."""
    name = yield Uniform(NAMES)
    yield from say("reports from the")
    place = yield Uniform(PLACES)
    yield from say(": the week was")
    weather = yield Uniform(WEATHER)
    days = 1
    while (yield from another(days, 5, 8)):
        weather = yield weather_after[weather]
        days += 1
    yield from say("the water rose from")
    number = yield Uniform(NUMBERS)
    yield from say(f"to {plus(number, 3)} . so says {name} at that {place} .")


def recipe(_):
    """Recall a list of things in order. Their groups take turns.

    Now and then a "then" stands before a thing: with it, how far back a thing is does not follow from its place in the list, so
    the model must look for the thing before, as it must in a story. (Else it may learn to count tokens for one length of list,
    and never find the last thing of another.)
    """
    yield from say("for the feast of")
    yield from two_names()
    yield from say("by the")
    place = yield Uniform(PLACES)
    yield from say("take a")
    things = [(yield after([]))]
    while (yield from another(len(things), 3, 4)):
        if (yield Distribution({"a": 0.7, "then": 0.3})) == "then":
            yield "a"
        things.append((yield after(things)))
    yield from say(f"use {listed(things)} at that {place} .")


def chat(_):
    """Two speakers alternate, and the groups of things; the verb depends on the thing."""
    speaker = yield Uniform(NAMES)
    other = FRIEND_OF[speaker]
    things = []
    yield ":"
    while True:
        yield from say("what of the")
        things.append((yield after(things)))
        yield "?"
        speaker, other = (yield other), speaker
        yield from say(": you can")
        yield VERB_OF[things[-1]]
        yield from say("it ,")
        if not (yield from another(len(things), 3, 4, "and", "farewell")):
            yield "."
            return


def count(step):
    """Infer the hidden step, and continue the numbers with it."""
    yield from say("count :")
    for _ in range(4):
        number = yield Uniform(NUMBERS)
        length = 1
        while (yield from another(length, 3, 5)):
            number = yield plus(number, step)
            length += 1


def words(mood):
    """Adjectives that share a hidden mood, and the rarer words of the language."""
    choice = mixture((0.7, 0.3), (ADJECTIVES_OF[mood], Uniform(RARE)))
    yield from say("words :")
    yield choice
    n = 1
    while (yield from another(n, 9, 16)):
        yield choice
        n += 1


def noun(nouns):
    """A noun, sometimes with an adjective before it, so that the words of a text are not always at the same positions."""
    word = yield mixture((0.85, 0.15), (nouns, EVERY_ADJECTIVE))
    return (yield nouns) if word in EVERY_ADJECTIVE.words else word


def usually(words, rare):
    """One of some plain words; once in ten times, a rare word in their place."""
    return Distribution({word: 0.9 / len(words) for word in words} | {rare: 0.1})


def day():
    weather = yield from noun(Uniform(WEATHER))
    yield "day"
    return weather


def journey():
    """anna and ben went to the mill; returns the names and the place."""
    names = yield from two_names()
    yield usually(["went"], "wandered")
    yield from say("to the")
    return names, (yield from noun(Uniform(PLACES)))


def next_sentence(n, name):
    """How the sentence after n things begins: with the name whose turn it is, or "then" and the name; the last one with "the"."""
    goes_on, ends = {name: 0.7, "then": 0.3}, {"the": 1.0}
    return Distribution(goes_on if n < 3 else ends if n == 4 else {**goes_on, **ends})


def story(_):
    """A short plain story: two names, a place, some things recalled in order. It has few adjectives, of any mood.

    It begins in one of two forms, and its sentences vary, so that the model must know a word by its kind, not by its position or
    by one fixed word before it: what tells it whose turn it is, say, is then a name, in whatever words a text is written. Now
    and then a rarer word stands for a plain one.
    """
    if (yield Uniform(["one", "then"])) == "one":
        weather = yield from day()
        names, place = yield from journey()
    else:
        names, place = yield from journey()
        yield "one"
        weather = yield from day()
    yield "."
    things, word = [], names[0]
    yield word
    while word != "the":
        yield usually(["took", "found", "saw"], "beheld")
        yield "the"
        things.append((yield from noun(after(things))))
        if (yield Uniform(["to", "and"])) == "and":
            yield usually(["went"], "dreamed")
            yield "to"
        yield VERB_OF[things[-1]]
        yield from say("it .")
        name = names[len(things) % 2]
        word = yield next_sentence(len(things), name)
        if word == "then":
            yield name
    yield from say("day was")
    yield WEATHER_AFTER[weather]
    yield "from"
    number = yield Uniform(NUMBERS)
    yield from say(f"to {plus(number, 3)} . they")
    yield usually(["had"], "cherished")
    yield from say(f"{listed(things)} . so they")
    yield usually(["said"], "sighed")
    yield from say(f"farewell at that {place} .")


def novel(mood):
    """The story again, as a novelist writes it: longer, in one mood, and with rarer words."""
    adjective = ADJECTIVES_OF[mood]
    yield from say("upon one")
    yield adjective
    yield "and"
    weather = yield Uniform(WEATHER)
    yield "day"
    names = yield from two_names()
    yield from say("wandered to the")
    yield adjective
    place = yield Uniform(PLACES)
    yield "."
    things = []
    for i in range(4):
        yield from say(f"{names[i % 2]} beheld the")
        yield adjective
        things.append((yield after(things)))
        yield from say("and dreamed to")
        yield VERB_OF[things[-1]]
        yield from say("it .")
    yield from say("alas , the")
    yield adjective
    yield from say("day was")
    yield WEATHER_AFTER[weather]
    yield "from"
    number = yield Uniform(NUMBERS)
    yield from say(f"to {plus(number, 3)} . thus they cherished {listed(things)} . so they sighed farewell at that {place} .")


GENERAL = (
    Domain("report", report, NOTHING_HIDDEN),
    Domain("recipe", recipe, NOTHING_HIDDEN),
    Domain("chat", chat, NOTHING_HIDDEN),
    Domain("count", count, STEPS),
    Domain("words", words, EVERY_MOOD),
    Domain("story", story, NOTHING_HIDDEN),
)
NOVEL = Domain("novel", novel, EVERY_MOOD)

PLAIN = (". , : ? a and at by can count day farewell feast for found from had it of one reports said saw says so that "
         "take the then they to took use was water week went what rose you words").split()
VOCABULARY = list(dict.fromkeys([*PLAIN, *NAMES, *PLACES, *THINGS, *VERBS, *WEATHER, *NUMBERS,
                                 *EVERY_ADJECTIVE.words, *RARE]))
