"""What is wrong with a text, in words: the first word that its domain could not have written, and the rule that it breaks.

The program of a domain (domains.py) knows which words may stand at a place; the first word that may not is the mistake. Why it
may not is told as a reader sees it: of what kind are the words that may stand there, and what stands before? If only verbs may
and this is another verb, it does not go with the thing just named; if only one name may, somebody is to be named again. Each rule
below is a function of
    word        the wrong one; None is the end
    possible    the words that might have stood there; None, again, is the end
    before      all words before it
and returns a sentence that begins with the word, or None where the rule is another.
"""

from .domains import EVERY_ADJECTIVE, NAMES, NUMBERS, PLACES, RARE, THINGS, VERBS, WEATHER

KINDS = {"a name": NAMES, "a place": PLACES, "a thing": THINGS, "a verb": VERBS, "a kind of weather": WEATHER,
         "a number": NUMBERS, "an adjective": EVERY_ADJECTIVE.words, "one of the rarer words": RARE}
LISTED = {*WEATHER, *THINGS, *NUMBERS, *EVERY_ADJECTIVE.words, *RARE}      # that stand in lists
UP_TO_FIVE = "no one two three four five".split()


def mistake(domain, words, ended=True):
    """The first mistake of a text in one sentence; None if the domain could have written it.

    words   without <begin>, tag and <end>
    ended   whether <end> came after them, or the text was cut off
    """
    for i, (word, possible) in enumerate(zip([*words, None], domain.predict(words))):
        if word is None and not ended:
            return f"it has no end after {len(words)} tokens"
        if word not in possible:
            return next(sentence for rule in RULES if (sentence := rule(word, list(possible), words[:i])))
    return None


def sums(word, possible, before):
    """One number follows from the one before; where the step is not yet known, one of a few does."""
    if word not in NUMBERS or not set(possible) <= set(NUMBERS):
        return None
    number = int(last(NUMBERS, before))
    steps = sorted((int(other) - number) % len(NUMBERS) for other in possible)
    wraps = f", as {NUMBERS[-1]} is followed by 0" if number + steps[-1] >= len(NUMBERS) else ""
    must_be = f"{number} + {either(steps)}" + (f" = {possible[0]}" if len(possible) == 1 else "")
    return f"'{word}' must be {must_be}{wraps}"


def weather(word, possible, before):
    """The weather goes on as it may after the last."""
    if word not in WEATHER or not set(possible) <= set(WEATHER):
        return None
    return f"'{word}' cannot be the weather after '{last(WEATHER, before)}'"


def verb(word, possible, before):
    """A thing has its verbs."""
    if word not in VERBS or not set(possible) <= set(VERBS):
        return None
    return f"'{word}' does not go with '{last(THINGS, before)}'"


def again(word, possible, before):
    """Of all names, or of all things, only those may stand there that have not been named."""
    for kind in (NAMES, THINGS):
        if word in kind and len(set(possible) & set(kind)) > 1:
            return f"'{word}' comes a second time"
    return None


def recalled(word, possible, before):
    """Who, where or what was named before must be named again, each at its turn."""
    for kind in (NAMES, PLACES, THINGS):
        wanted = [other for other in possible if other in kind]
        if word not in kind or len(wanted) != 1:
            continue
        if kind is THINGS:
            return (f"'{word}' is out of order, as '{wanted[0]}' is next" if word in before else
                    f"'{word}' was not among the {UP_TO_FIVE[len(set(before) & set(THINGS))]} things")
        return f"'{word}' takes the turn of '{wanted[0]}'" if word in before else f"'{word}' must be '{wanted[0]}', as before"
    return None


def length(word, possible, before):
    """A list has a least and a most length, and so has a chat. (Of a single thing one cannot tell that it begins a list.)"""
    if before[-2:] == ["it", ","]:
        go_on, stop, n = "and", "farewell", len(set(before) & set(THINGS))
    else:
        go_on, stop, n = ",", ".", list_length(before)
    if n > 1 and (word, possible) == (stop, [go_on]):
        return f"'{word}' ends the list after {n}, which is too early"
    if n > 1 and (word, possible) == (go_on, [stop]):
        return f"'{word}' goes on after {n}, where the list must end"
    return None


def place(word, possible, before):
    """What is always true."""
    kinds = [kind for kind, words in KINDS.items() if set(possible) & set(words)]
    wanted = either(kinds if len(possible) > 3 else map(quoted, possible))
    return f"{quoted(word)} {'comes' if word is None else 'stands'} where {wanted} must stand"


RULES = (sums, weather, verb, again, recalled, length, place)


# What the rules share.

def last(kind, before):
    """The last word of a kind."""
    return next(word for word in reversed(before) if word in kind)


def list_length(before):
    """How many things there are in the list at whose end we stand: 2 of   take a lamp , a key"""
    n, rest = 0, [word for word in before if word not in ("a", "the")]
    while rest and rest.pop() in LISTED:
        n += 1
        if not rest or rest.pop() != ",":
            break
    return n


def quoted(word):
    return "the end" if word is None else f"'{word}'"


def either(choices):
    """1, 2 or 3"""
    *first, final = map(str, choices)
    return f"{', '.join(first)} or {final}" if first else final
