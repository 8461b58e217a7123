"""Explain what is wrong with a text: the first word that its domain could not have written, and the rule that it breaks.

The program of a domain (domains.py) knows which words are possible at each position; the first word that is not possible is the
mistake. The reason is given from a reader's point of view: of what kind are the possible words, and what comes before? If all of
them are verbs and this is another verb, it does not go with the last thing; if only one name is possible, a name must be
repeated. Each rule below is a function of
    word        the wrong word; None is the end
    possible    the words that would have been possible; None, again, is the end
    before      all words before it
and returns a sentence that begins with the word, or None if another rule applies.
"""

from .domains import EVERY_ADJECTIVE, GROUP_OF, NAMES, NUMBERS, PLACES, RARE, THINGS, VERBS, WEATHER

KINDS = {"a name": NAMES, "a place": PLACES, "a thing": THINGS, "a verb": VERBS, "a kind of weather": WEATHER,
         "a number": NUMBERS, "an adjective": EVERY_ADJECTIVE.words, "one of the rarer words": RARE}
LISTED = {*WEATHER, *THINGS, *NUMBERS, *EVERY_ADJECTIVE.words, *RARE}      # the words that occur in lists
IN_WORDS = {3: "three", 4: "four"}


def mistake(domain, words, ended=True):
    """The first mistake of a text in one sentence; None if the domain could have written it.

    words   without <begin>, tag and <end>
    ended   True if <end> came after them, False if the text was cut off
    """
    for i, (word, possible) in enumerate(zip([*words, None], domain.predict(words))):
        if word is None and not ended:
            return f"it has no end after {len(words)} tokens"
        if word not in possible:
            return next(sentence for rule in RULES if (sentence := rule(word, list(possible), words[:i])))
    return None


def sums(word, possible, before):
    """A number must be the last number plus a step; if the step is not known yet, plus one of a few steps."""
    if not among(NUMBERS, word, possible):
        return None
    number = int(last(NUMBERS, before))
    steps = sorted((int(other) - number) % len(NUMBERS) for other in possible)
    wraps = f", as {NUMBERS[-1]} is followed by 0" if number + steps[-1] >= len(NUMBERS) else ""
    must_be = f"{number} + {either(steps)}" + (f" = {possible[0]}" if len(possible) == 1 else "")
    return f"'{word}' must be {must_be}{wraps}"


def weather(word, possible, before):
    """The weather must be one that can follow the last weather."""
    if not among(WEATHER, word, possible):
        return None
    return f"'{word}' cannot be the weather after '{last(WEATHER, before)}'"


def verb(word, possible, before):
    """A verb must be one that goes with the last thing."""
    if not among(VERBS, word, possible):
        return None
    return f"'{word}' does not go with '{last(THINGS, before)}'"


def recalled(word, possible, before):
    """Names, places and things must be repeated in the right order."""
    for kind in (NAMES, PLACES, THINGS):
        expected = [other for other in possible if other in kind]
        if word not in kind or len(expected) != 1:
            continue
        if kind is THINGS:
            return (f"'{word}' is out of order, as '{expected[0]}' is next" if word in before else
                    f"'{word}' was not among the {IN_WORDS[len(set(before) & set(THINGS))]} things")
        return f"'{word}' takes the turn of '{expected[0]}'" if word in before else f"'{word}' must be '{expected[0]}', as before"
    return None


def turn(word, possible, before):
    """A thing must be of the group whose turn it is."""
    groups = {GROUP_OF[other] for other in possible if other in GROUP_OF}
    if word not in THINGS or len(groups) != 1:
        return None
    [group] = groups
    return f"'{word}' is a thing of the {GROUP_OF[word]}, and it is the turn of the {group}"


def friend(word, possible, before):
    """The second name must be that of a friend."""
    if not among(NAMES, word, possible):
        return None
    return f"'{word}' is no friend of '{last(NAMES, before)}'"


def length(word, possible, before):
    """A list or a chat must not be too short or too long. (A single thing may or may not begin a list, so it is not judged.)"""
    if before[-2:] == ["it", ","]:
        go_on, stop, n = "and", "farewell", len(set(before) & set(THINGS))
    else:
        go_on, stop, n = ",", ".", list_length(before)
    if n > 1 and (word, possible) == (stop, [go_on]):
        return f"'{word}' ends the list after {n}, which is too early"
    if n > 1 and (word, possible) == (go_on, [stop]):
        return f"'{word}' goes on after {n}, where the list must end"
    return None


def unexpected(word, possible, before):
    """If no other rule applies: the word is not one of those that are possible. Never None."""
    kinds = [kind for kind, words in KINDS.items() if set(possible) & set(words)]
    expected = either(kinds if len(possible) > 4 else map(quoted, possible))
    return f"{quoted(word)} {'comes' if word is None else 'stands'} where {expected} must stand"


RULES = (sums, weather, verb, recalled, turn, friend, length, unexpected)


# Helpers of the rules.

def among(kind, word, possible):
    """Is the word of a kind, and all that would have been possible, too?"""
    return word in kind and set(possible) <= set(kind)


def last(kind, before):
    """The last word of `before` that is in `kind`, a list of words."""
    return next(word for word in reversed(before) if word in kind)


def list_length(before):
    """The number of things in the list at the end of `before`: 2 in   take a lamp , then a key"""
    n, rest = 0, [word for word in before if word not in ("a", "the", "then")]
    while rest and rest.pop() in LISTED:
        n += 1
        if not rest or rest.pop() != ",":
            break
    return n


def quoted(word):
    return "the end" if word is None else f"'{word}'"


def either(choices):
    """The choices in words: 1, 2 or 3"""
    *first, final = map(str, choices)
    return f"{', '.join(first)} or {final}" if first else final
