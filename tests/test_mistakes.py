"""A text that is wrong is told so in one sentence, about the first word that its domain could not have written."""

import hashlib
import json
import re

import numpy as np
import pytest

from minillm.text.domains import GENERAL, NOVEL, VOCABULARY
from minillm.text.mistakes import KINDS, mistake, quoted
from minillm.text.specialities import CONTRADICTION
from minillm.text.tokenizer import WordTokenizer
from minillm.text.world import SPLITS, World

DOMAINS = {domain.name: domain for domain in (*GENERAL, NOVEL, CONTRADICTION)}
every_domain = pytest.mark.parametrize("name", DOMAINS)

GOOD = {
    "report": "hugo reports from the castle: the week was sunny, cloudy, rainy, stormy, foggy. the water rose from 30 to 1. "
              "so says hugo at the castle.",
    "recipe": "for the feast at the forest take a lamp, a key, a rope, a bell. use the lamp, the key, the rope and the bell at "
              "the forest.",
    "chat": "anna: what of the bread? ben: you can bake it, and what of the key? anna: you can turn it, and what of the boat? "
            "ben: you can row it, farewell.",
    "count": "count: 1, 3, 5, 7. 30, 0, 2, 4. 8, 10, 12, 14, 16, 18, 20.",
    "words": "words: grey, cold, silent, lonely, alas, weary, hollow, grey, dim.",
    "story": "one sunny day anna and ben went to the mill. anna took the grey bread to bake it. ben took the key to turn it. "
             "anna took the boat to row it. the day was cloudy from 4 to 7. they had the bread, the key and the boat. "
             "so they went home from the mill.",
    "novel": "upon one secret and foggy day karla and ella wandered to the secret mill. karla beheld the pale apple and dreamed "
             "to eat it. ella beheld the hidden ring and dreamed to wear it. karla beheld the ancient wheel and dreamed to turn "
             "it. ella beheld the pale door and dreamed to open it. alas, the restless day was snowy from 5 to 8. thus they "
             "cherished the apple, the ring, the wheel and the door. so they sighed home from the secret mill.",
}
GOOD["contradiction"] = GOOD["report"]

BAD = [
    ("report", "sunny, cloudy", "sunny, snowy", "'snowy' cannot be the weather after 'sunny'"),
    ("contradiction", "sunny, cloudy", "sunny, snowy", "'snowy' cannot be the weather after 'sunny'"),
    ("report", "30 to 1.", "30 to 2.", "'2' must be 30 + 3 = 1, as 31 is followed by 0"),
    ("report", "rose from 30", "rose from 18", "'1' must be 18 + 3 = 21"),
    ("report", "says hugo", "says anna", "'anna' must be 'hugo', as before"),
    ("report", "at the castle.", "at the mill.", "'mill' must be 'castle', as before"),
    ("report", "rainy, stormy, foggy.", "rainy.", "'.' ends the list after 3, which is too early"),
    ("report", "foggy.", "foggy, snowy, sunny, cloudy, rainy.", "',' goes on after 8, where the list must end"),
    ("report", "hugo reports", "lamp reports", "'lamp' stands where a name must stand"),
    ("report", "week was sunny", "week was grey", "'grey' stands where a kind of weather must stand"),
    ("report", "to 1", "to the", "'the' stands where '1' must stand"),
    ("report", "from 30", "from the", "'the' stands where a number must stand"),
    ("report", "reports from", "<story> from", "'<story>' stands where 'reports' must stand"),
    ("report", " so says hugo at the castle.", "", "the end comes where 'so' must stand"),
    ("report", "at the castle.", "at the castle. so", "'so' stands where the end must stand"),
    ("recipe", "the key, the rope and the bell", "the key, the ring and the bell", "'ring' was not among the four things"),
    ("recipe", "use the lamp, the key", "use the key, the lamp", "'key' is out of order, as 'lamp' is next"),
    ("recipe", "rope and the bell", "rope and the lamp", "'lamp' is out of order, as 'bell' is next"),
    ("recipe", "a rope, a bell", "a lamp, a bell", "'lamp' comes a second time"),
    ("recipe", ", a rope, a bell. use", ". use", "'.' ends the list after 2, which is too early"),
    ("recipe", "a bell. use", "a bell, a map, a net. use", "',' goes on after 5, where the list must end"),
    ("recipe", "take a lamp", "take a grey", "'grey' stands where a thing must stand"),
    ("chat", "turn it", "wind it", "'wind' does not go with 'key'"),
    ("chat", "can turn", "can lamp", "'lamp' stands where 'turn', 'eat' or 'mend' must stand"),
    ("chat", "? ben", "? anna", "'anna' comes a second time"),
    ("chat", "key? anna", "key? ben", "'ben' takes the turn of 'anna'"),
    ("chat", "key? anna", "key? clara", "'clara' must be 'anna', as before"),
    ("chat", "of the boat", "of the key", "'key' comes a second time"),
    ("chat", "turn it, and", "turn it, farewell", "'farewell' ends the list after 2, which is too early"),
    ("chat", "it, farewell", "it, and what of the map? anna: you can follow it, and what of the net? ben: you can mend it, and",
     "'and' goes on after 5, where the list must end"),
    ("count", "1, 3, 5", "1, 5, 9", "'5' must be 1 + 1, 2, 3 or 5"),
    ("count", "3, 5, 7", "3, 5, 8", "'8' must be 5 + 2 = 7"),
    ("count", "30, 0, 2", "30, 31, 0", "'31' must be 30 + 2 = 0, as 31 is followed by 0"),
    ("count", "1, 3", "29, 3", "'3' must be 29 + 1, 2, 3 or 5, as 31 is followed by 0"),
    ("count", "5, 7.", "5.", "'.' ends the list after 3, which is too early"),
    ("count", "18, 20.", "18, 20, 22", "',' goes on after 7, where the list must end"),
    ("words", "grey, dim.", "grey.", "'.' ends the list after 8, which is too early"),
    ("words", "grey, dim.", f"grey{', dim' * 9}.", "',' goes on after 16, where the list must end"),
    ("words", "cold, silent", "sunny, silent", "'sunny' stands where an adjective or one of the rarer words must stand"),
    ("words", "grey, cold", "grey cold", "'cold' stands where ',' must stand"),
    ("story", "ben took the key", "anna took the key", "'anna' takes the turn of 'ben'"),
    ("story", "ben took the key", "clara took the key", "'clara' must be 'ben', as before"),
    ("story", "anna and ben", "anna and anna", "'anna' comes a second time"),
    ("story", "bake it", "row it", "'row' does not go with 'bread'"),
    ("story", "took the key", "took the bread", "'bread' comes a second time"),
    ("story", "the key and the boat", "the drum and the boat", "'drum' was not among the three things"),
    ("story", "day was cloudy", "day was snowy", "'snowy' cannot be the weather after 'sunny'"),
    ("story", "4 to 7", "4 to 9", "'9' must be 4 + 3 = 7"),
    ("story", "home from the mill", "home from the castle", "'castle' must be 'mill', as before"),
    ("story", "one sunny day", "one lamp day", "'lamp' stands where a kind of weather or an adjective must stand"),
    ("novel", "ella beheld the pale door", "ella beheld the pale ring", "'ring' comes a second time"),
    ("novel", "the wheel and the door", "the wheel and the ring", "'ring' is out of order, as 'door' is next"),
    ("novel", "the wheel and the door", "the wheel and the map", "'map' was not among the four things"),
    ("novel", "ella beheld the hidden", "karla beheld the hidden", "'karla' takes the turn of 'ella'"),
    ("novel", "eat it", "mend it", "'mend' does not go with 'apple'"),
    ("novel", "karla beheld the ancient", "karla took the ancient", "'took' stands where 'beheld' must stand"),
    ("novel", "beheld the hidden ring", "beheld the ring", "'ring' stands where an adjective must stand"),
    ("novel", "alas, the", "alas. the", "'.' stands where ',' must stand"),
    ("novel", "sighed home from the secret mill.", "sighed home", "the end comes where 'from' must stand"),
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
    (GOOD["count"], "it has no end after 32 tokens"), ("count lamp", "'lamp' stands where ':' must stand")])
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
        if sentence.endswith(("a second time", "is next")) or " takes the turn " in sentence:
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
    "report": ["bd85cc653964efb0", "72a78a6915e57adf", "b085896d44fe1e42"],
    "recipe": ["4729a08de5dc2ab2", "62691a0bb5d95614", "7bc399fdef669192"],
    "chat": ["0ec0d1ba030c2e0b", "a0f0da857b985f5e", "7ad1d1c0ec7e14ab"],
    "count": ["8fa685fd700742ad", "3b0ec449b79d2335", "9b2fe2cf198a780a"],
    "words": ["ef1dc96e492b8b60", "55bbc8b6abb3ef6d", "dd69b611abe7ae99"],
    "story": ["c7efc1595779136d", "3142aa1afba1ddf4", "21afa9bdc16fb004"],
    "novel": ["ec50bd213bef7948", "12f1a7591b39e5f1", "d6e4967623eda411"],
    "contradiction": ["707c555968035260", "1fc16cad088ce165", "98e2458b13e8a6cb"],
    "questions": ["4abed7a57882a69a", "ee7323a7a37a2c1d", "e3e6ca7bdb3e3acb"],
    "facts": ["798a7fedd4fee918"] * 3,
    "mood": ["ec3eba94068baa26", "a2be11250417334c", "bdc3805e28ce2c46"],
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_world_writes_what_it_always_wrote(name):
    """Every figure of the README depends on these documents and their floors."""
    world = World(1)
    for split_name, wanted in zip(SPLITS, WRITTEN[name]):
        documents = world.documents(name, 20, split_name)
        written = [[document.ids, [round(float(p), 9) for p in document.log_p]] for document in documents]
        assert hashlib.sha256(json.dumps(written).encode()).hexdigest()[:16] == wanted
