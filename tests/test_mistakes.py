"""A text that is wrong is told so in one sentence, about the first word that its domain could not have written."""

import hashlib
import json
import re

import numpy as np
import pytest

from minillm.text.domains import GENERAL, NOVEL, VOCABULARY
from minillm.text.mistakes import KINDS, mistake, quoted
from minillm.text.specialities import CONTRADICTION, PAIRS
from minillm.text.tokenizer import WordTokenizer
from minillm.text.world import SPLITS, World

DOMAINS = {domain.name: domain for domain in (*GENERAL, NOVEL, CONTRADICTION)}
every_domain = pytest.mark.parametrize("name", DOMAINS)

GOOD = {
    "report": "hugo reports from the castle: the week was sunny, cloudy, rainy, stormy, foggy. the water rose from 10 to 1. "
              "so says hugo at that castle.",
    "recipe": "for the feast of anna and ben by the forest take a lamp, then a rope, a map, a bell. use the lamp, the rope, the "
              "map and the bell at that forest.",
    "chat": "anna: what of the bread? ben: you can bake it, and what of the rope? anna: you can tie it, and what of the boat? "
            "ben: you can row it, farewell.",
    "count": "count: 1, 3, 5. 10, 0, 2. 8, 10, 0, 2, 4. 7, 9, 11.",
    "words": "words: grey, cold, silent, lonely, alas, weary, hollow, grey, dim.",
    "story": "one sunny day anna and ben went to the mill. anna took the grey bread to bake it. then ben saw the rope and went "
             "to tie it. anna beheld the boat to row it. the day was cloudy from 4 to 7. they had the bread, the rope and the "
             "boat. so they said farewell at that mill.",
    "novel": "upon one secret and foggy day karla and leo wandered to the secret mill. karla beheld the pale apple and dreamed "
             "to eat it. leo beheld the hidden letter and dreamed to read it. karla beheld the ancient ring and dreamed to wear "
             "it. leo beheld the pale door and dreamed to open it. alas, the restless day was snowy from 5 to 8. thus they "
             "cherished the apple, the letter, the ring and the door. so they sighed farewell at that mill.",
}
GOOD["contradiction"] = GOOD["report"]

BAD = [
    ("report", "sunny, cloudy", "sunny, snowy", "'snowy' cannot be the weather after 'sunny'"),
    ("contradiction", "sunny, cloudy", "sunny, snowy", "'snowy' cannot be the weather after 'sunny'"),
    ("report", "10 to 1.", "10 to 2.", "'2' must be 10 + 3 = 1, as 11 is followed by 0"),
    ("report", "rose from 10", "rose from 7", "'1' must be 7 + 3 = 10"),
    ("report", "says hugo", "says anna", "'anna' must be 'hugo', as before"),
    ("report", "at that castle.", "at that mill.", "'mill' must be 'castle', as before"),
    ("report", "rainy, stormy, foggy.", "rainy.", "'.' ends the list after 3, which is too early"),
    ("report", "foggy.", "foggy, snowy, sunny, cloudy, rainy.", "',' goes on after 8, where the list must end"),
    ("report", "hugo reports", "lamp reports", "'lamp' stands where a name must stand"),
    ("report", "week was sunny", "week was grey", "'grey' stands where a kind of weather must stand"),
    ("report", "to 1", "to the", "'the' stands where '1' must stand"),
    ("report", "from 10", "from the", "'the' stands where a number must stand"),
    ("report", "reports from", "<story> from", "'<story>' stands where 'reports' must stand"),
    ("report", " so says hugo at that castle.", "", "the end comes where 'so' must stand"),
    ("report", "at that castle.", "at that castle. so", "'so' stands where the end must stand"),
    ("recipe", "the rope, the map and the bell", "the rope, the net and the bell", "'net' was not among the four things"),
    ("recipe", "use the lamp, the rope", "use the rope, the lamp", "'rope' is out of order, as 'lamp' is next"),
    ("recipe", "map and the bell", "map and the lamp", "'lamp' is out of order, as 'bell' is next"),
    ("recipe", "a map, a bell", "a lamp, a bell", "'lamp' is a thing of the house, and it is the turn of the road"),
    ("recipe", ", a map, a bell. use", ". use", "'.' ends the list after 2, which is too early"),
    ("recipe", "a bell. use", "a bell, a key. use", "',' goes on after 4, where the list must end"),
    ("recipe", "take a lamp", "take a grey", "'grey' stands where a thing must stand"),
    ("recipe", "rope, a map", "rope, a grey", "'grey' stands where a thing must stand"),
    ("chat", "tie it", "wind it", "'wind' does not go with 'rope'"),
    ("chat", "can bake", "can lamp", "'lamp' stands where 'bake' or 'sell' must stand"),
    ("chat", "? ben", "? anna", "'anna' is no friend of 'anna'"),
    ("chat", "rope? anna", "rope? ben", "'ben' takes the turn of 'anna'"),
    ("chat", "rope? anna", "rope? clara", "'clara' must be 'anna', as before"),
    ("chat", "of the boat", "of the rope", "'rope' is a thing of the farm, and it is the turn of the road"),
    ("chat", "tie it, and", "tie it, farewell", "'farewell' ends the list after 2, which is too early"),
    ("chat", "it, farewell", "it, and what of the bell? anna: you can beat it, and",
     "'and' goes on after 4, where the list must end"),
    ("count", "1, 3, 5", "1, 5, 9", "'5' must be 1 + 1, 2 or 3"),
    ("count", "1, 3, 5", "1, 3, 6", "'6' must be 3 + 2 = 5"),
    ("count", "10, 0, 2.", "10, 11, 0.", "'11' must be 10 + 2 = 0, as 11 is followed by 0"),
    ("count", "1, 3", "9, 3", "'3' must be 9 + 1, 2 or 3, as 11 is followed by 0"),
    ("count", "9, 11.", "9.", "'.' ends the list after 2, which is too early"),
    ("count", "2, 4.", "2, 4, 6.", "',' goes on after 5, where the list must end"),
    ("words", "grey, dim.", "grey.", "'.' ends the list after 8, which is too early"),
    ("words", "grey, dim.", f"grey{', dim' * 9}.", "',' goes on after 16, where the list must end"),
    ("words", "cold, silent", "sunny, silent", "'sunny' stands where an adjective or one of the rarer words must stand"),
    ("words", "grey, cold", "grey cold", "'cold' stands where ',' must stand"),
    ("story", "ben saw the rope", "anna saw the rope", "'anna' takes the turn of 'ben'"),
    ("story", "ben saw the rope", "clara saw the rope", "'clara' must be 'ben', as before"),
    ("story", "anna beheld", "ben beheld", "'ben' takes the turn of 'anna'"),
    ("story", "anna and ben", "leo and ben", "'ben' is no friend of 'leo'"),
    ("story", "bake it", "row it", "'row' does not go with 'bread'"),
    ("story", "to tie it", "to bake it", "'bake' does not go with 'rope'"),
    ("story", "and went to tie", "and went the", "'the' stands where 'to' must stand"),
    ("story", "saw the rope", "saw the grey bread", "'bread' is a thing of the house, and it is the turn of the farm"),
    ("story", "saw the rope", "saw the bread", "'bread' is a thing of the house, and it is the turn of the farm"),
    ("story", "the rope and the boat", "the drum and the boat", "'drum' was not among the three things"),
    ("story", "day was cloudy", "day was snowy", "'snowy' cannot be the weather after 'sunny'"),
    ("story", "4 to 7", "4 to 9", "'9' must be 4 + 3 = 7"),
    ("story", "farewell at that mill", "farewell at that castle", "'castle' must be 'mill', as before"),
    ("story", "one sunny day", "one lamp day", "'lamp' stands where a kind of weather or an adjective must stand"),
    ("novel", "leo beheld the pale door", "leo beheld the pale ring",
     "'ring' is a thing of the fair, and it is the turn of the house"),
    ("novel", "the ring and the door", "the ring and the letter", "'letter' is out of order, as 'door' is next"),
    ("novel", "the ring and the door", "the ring and the map", "'map' was not among the four things"),
    ("novel", "leo beheld the hidden", "karla beheld the hidden", "'karla' takes the turn of 'leo'"),
    ("novel", "eat it", "mend it", "'mend' does not go with 'apple'"),
    ("novel", "karla beheld the ancient", "karla took the ancient", "'took' stands where 'beheld' must stand"),
    ("novel", "beheld the hidden letter", "beheld the letter", "'letter' stands where an adjective must stand"),
    ("novel", "alas, the", "alas. the", "'.' stands where ',' must stand"),
    ("novel", "sighed farewell at that mill.", "sighed farewell", "the end comes where 'at' must stand"),
]


def split(text):
    return WordTokenizer.split(text)


@every_domain
def test_these_texts_are_right(name):
    assert mistake(DOMAINS[name], split(GOOD[name])) is None


@pytest.mark.parametrize("name, right, wrong, sentence", BAD, ids=[f"{name}: {sentence}" for name, *_, sentence in BAD])
def test_a_mistake_is_reported_by_word_and_rule(name, right, wrong, sentence):
    assert right in GOOD[name]
    assert mistake(DOMAINS[name], split(GOOD[name].replace(right, wrong, 1))) == sentence


@pytest.mark.parametrize("text, sentence", [
    ("", "it has no end after 0 tokens"), ("count: 8,", "it has no end after 4 tokens"),
    (GOOD["count"], "it has no end after 30 tokens"), ("count lamp", "'lamp' stands where ':' must stand")])
def test_a_text_that_was_cut_off_has_no_end(text, sentence):
    """Even if it might have ended there; but what was wrong before is told first."""
    assert mistake(DOMAINS["count"], split(text), ended=False) == sentence


# ---- any text at all

ALIKE = [*KINDS.values(), [",", ".", ":", "?"], ["and", "farewell", "the"]]


def broken(words, rng):
    """A document with one thing done to it, or a few."""
    words = list(words)
    for _ in range(rng.integers(1, 4)):
        i, j = rng.integers(0, len(words), 2) if words else (0, 0)
        what = rng.integers(7)
        if what == 0 and words:
            words[i], words[j] = words[j], words[i]
        elif what == 1:
            del words[i:i + 1]
        elif what == 2:
            words[i:i + 1] = [str(rng.choice([*VOCABULARY, "<pad>", "<novel>", "zebra"]))]
        elif what == 3 and words:
            words.insert(i, words[j])
        elif what == 4:
            del words[max(1, i):]
        elif what == 5:
            words += words[j:]
        elif words:                                             # another word of its kind: what a model gets wrong
            words[i] = str(rng.choice(next((kind for kind in ALIKE if words[i] in kind), [words[i]])))
    return words


def first_wrong(domain, words):
    """The first word that cannot be, all before it, and what could have been there."""
    for i, (word, possible) in enumerate(zip([*words, None], domain.predict(words))):
        if word not in possible:
            return word, words[:i], possible
    raise AssertionError("there is none")


@every_domain
def test_whatever_is_done_to_a_text_one_sentence_names_the_first_impossible_word(name):
    domain, rng, kinds = DOMAINS[name], np.random.default_rng(11), set()
    for _ in range(700):
        words = broken(domain.write(rng), rng)
        sentence = mistake(domain, words)
        assert (sentence is None) == domain.accepts(words)
        if sentence is None:
            continue
        wrong, before, _ = first_wrong(domain, words)
        assert sentence.startswith(f"{quoted(wrong)} ") and "\n" not in sentence and not sentence.endswith("."), sentence
        if sentence.endswith("is next") or " takes the turn " in sentence:
            assert wrong in before
        if sentence.endswith("as before") or " takes the turn " in sentence:
            assert re.findall(r"'(\w+)'", sentence)[1] in before
        assert " was not among " not in sentence or wrong not in before
        kinds.add(re.sub(r"'[^ ]+'|\d+", "*", sentence))
    assert len(kinds) >= 8                                       # there was something of every kind


@every_domain
def test_what_must_stand_there_is_possible_there(name):
    """Where a sentence says which words, or what kind of word, must stand at a place, these are those that may."""
    domain, rng, seen = DOMAINS[name], np.random.default_rng(12), 0
    for _ in range(300):
        words = broken(domain.write(rng), rng)
        sentence = mistake(domain, words) or ""
        match = re.search(r"(?:stands|comes) where (.+) must stand$", sentence)
        if not match:
            continue
        seen += 1
        _, _, possible = first_wrong(domain, words)
        said = re.split(", | or ", match[1].replace("','", "'comma'"))
        for part in said:
            if part == "the end":
                assert set(possible) == {None}
            elif part.startswith("'"):
                assert part.strip("'").replace("comma", ",") in possible
            else:
                assert set(KINDS[part]) & set(possible)
        kinds = [word for part in said for word in KINDS.get(part, [part.strip("'").replace("comma", ",")])]
        assert set(possible) - {None} <= set(kinds)
    assert seen > 30


@every_domain
def test_every_document_of_the_world_is_without_a_mistake(name):
    world = World(5)
    for document in world.documents(name, 40):
        words = [world.tokenizer.tokens[i] for i in document.ids[2:-1]]
        assert mistake(world.grammars[name], words) is None


def test_a_word_is_of_one_kind_and_the_words_that_frame_a_text_are_of_none_but_the_rarer():
    kinds = [word for words in KINDS.values() for word in words]
    assert len(kinds) == len(set(kinds)) and set(kinds) <= set(VOCABULARY)
    frame = {word for text in GOOD.values() for word in split(text)} - set(kinds)
    assert frame >= {"the", "took", ",", ".", "from", "day"} and not frame & set(kinds)


# ---- to be judged changes nothing

# sha256 of the first 20 documents of the world of seed 1, their floors to nine digits, in training, validation and test
WRITTEN = {
    "report": ["c64b3b12839988b9", "a7293630b50df131", "2467a0f1e625df85"],
    "recipe": ["3fc60285e439d195", "6a27217d28257a86", "793134a0c9dee5f7"],
    "chat": ["a8aa94d32c00db73", "90ae139a8614f8a5", "fb185da69628af63"],
    "count": ["5b0e53ed74a7fcb7", "b52baef7f824ff24", "bde0ada96cc8bd13"],
    "words": ["f5bdb500c3749d9f", "29a88cebb7c94acb", "74f7723ae56e13ec"],
    "story": ["f4086fa03d37d747", "5734b728847c6e57", "0b62722e7863b43b"],
    "novel": ["d12bad2bb50959f4", "7c24b86b37706667", "b8f1b2b305a565ba"],
    "contradiction": ["cb4feb7b41ff691f", "d119fcaea74f46b6", "6acd7f59ac56a2cb"],
    "questions": ["0233602dc5bca7a3", "1a0ebbc60539be13", "4096ce2ea4139dbf"],
    "facts": ["de5e7b2ddaf92934"] * 3,
    "mood": ["bb1dbd2c98eb9e65", "54ab7105bfe185bf", "dc83aa52486f96c4"],
}


@pytest.mark.parametrize("name", [*DOMAINS, *PAIRS])
def test_the_world_writes_what_it_always_wrote(name):
    """Every figure of the README depends on these documents and their floors."""
    world = World(1)
    for split_name, wanted in zip(SPLITS, WRITTEN[name]):
        documents = world.documents(name, 20, split_name)
        written = [[document.ids, [round(float(p), 9) for p in document.log_p]] for document in documents]
        assert hashlib.sha256(json.dumps(written).encode()).hexdigest()[:16] == wanted
