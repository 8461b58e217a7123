"""The toy world knows the exact probability of every word it writes. Is that probability right?"""

import math
from functools import cache

import numpy as np
import pytest

from minillm.text.domains import GENERAL, GROUP_OF, GROUPS, NOVEL, THINGS, VOCABULARY
from minillm.text.grammar import Distribution, Uniform, mixture
from minillm.text.world import SPLITS, World

DOMAINS = {domain.name: domain for domain in (*GENERAL, NOVEL)}
N = 200
every_domain = pytest.mark.parametrize("name", DOMAINS)


@cache
def written(name):
    """N documents of a domain, lists of words."""
    rng = np.random.default_rng(77)
    return [DOMAINS[name].write(rng) for _ in range(N)]


@cache
def predicted(name):
    """For each of these documents the predictions at all of its places, the end included."""
    return [list(DOMAINS[name].predict(words)) for words in written(name)]


def possible_words(name):
    """Every word that was possible at some place."""
    return {word for document in predicted(name) for prediction in document for word in prediction} - {None}


# ---- each prediction is a distribution, and the right one

@every_domain
def test_predictions_sum_to_one_at_every_place(name):
    for words, predictions in zip(written(name), predicted(name)):
        assert len(predictions) == len(words) + 1      # one for the end
        np.testing.assert_allclose([sum(p.values()) for p in predictions], 1, rtol=1e-9)


@every_domain
def test_what_was_written_has_a_finite_probability(name):
    for words in written(name):
        logs = DOMAINS[name].log_probabilities(words)
        assert len(logs) == len(words) + 1
        assert all(math.isfinite(log) and log < 1e-9 for log in logs)


def log_p_given(hidden, domain, words):
    """log p of each prefix of a document and of the whole with its end, for one value of what is hidden: a plain replay."""
    program = domain.program(hidden)
    total, totals = 0.0, []
    choice = next(program)
    for i, word in enumerate(words):
        if choice is None:                      # the program has ended before the document
            p = 0.0
        elif isinstance(choice, str):
            p = 1.0 if choice == word else 0.0
        else:
            p = choice.p.get(word, 0.0)
        if p == 0:
            return totals + [-math.inf] * (len(words) + 1 - i)
        total += math.log(p)
        totals.append(total)
        try:
            choice = program.send(word)
        except StopIteration:
            choice = None
    return [*totals, total if choice is None else -math.inf]


def joint_log_p(domain, words):
    """log p of each prefix: log sum_h prior(h) p(prefix | h)."""
    terms = np.array([np.log(prior) + np.array(log_p_given(hidden, domain, words)) for hidden, prior in domain.prior.items()])
    return np.logaddexp.reduce(terms, axis=0)


@every_domain
def test_probability_of_a_document_is_that_of_a_plain_replay(name):
    for words in written(name)[:50]:
        assert sum(DOMAINS[name].log_probabilities(words)) == pytest.approx(joint_log_p(DOMAINS[name], words)[-1], abs=1e-9)


@every_domain
def test_probability_of_a_word_is_the_ratio_of_prefixes(name):
    for words in written(name)[:50]:
        joint = joint_log_p(DOMAINS[name], words)
        np.testing.assert_allclose(DOMAINS[name].log_probabilities(words), np.diff(joint, prepend=0.0), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["count", "words", "novel"])
def test_something_is_hidden(name):
    """The filter has work to do: documents are less probable under some hidden values than under others."""
    domain = DOMAINS[name]
    totals = [log_p_given(hidden, domain, written(name)[0])[-1] for hidden in domain.prior]
    assert len(totals) > 1 and max(totals) > min(totals) + 1


# ---- what is written is what is predicted

@every_domain
def test_surprise_is_the_predicted_entropy(name):
    """-log p(word) minus the entropy of the prediction has mean 0: compared over documents, within 4 standard errors."""
    differences = []
    for words, predictions in zip(written(name), predicted(name)):
        surprise = -sum(math.log(p[word]) for word, p in zip([*words, None], predictions))
        entropy = -sum(q * math.log(q) for p in predictions for q in p.values())
        differences.append(surprise - entropy)
    standard_error = np.std(differences, ddof=1) / math.sqrt(N)
    assert abs(np.mean(differences)) < 4 * standard_error + 1e-9


@every_domain
def test_every_word_is_as_frequent_as_predicted(name):
    """Count of a word minus the sum of its predicted probabilities has mean 0 and variance sum p (1 - p)."""
    surplus, variance = {}, {}
    for words, predictions in zip(written(name), predicted(name)):
        for taken, prediction in zip(words, predictions):
            for word, p in prediction.items():
                surplus[word] = surplus.get(word, 0.0) + (word == taken) - p
                variance[word] = variance.get(word, 0.0) + p * (1 - p)
    for word in surplus:
        assert abs(surplus[word]) < 5 * math.sqrt(max(variance[word], 0)) + 1e-6, word


@pytest.mark.parametrize("make", [lambda: Distribution({"a": 1, "b": 2, "c": 5}), lambda: Uniform(list("abcde")),
                                  lambda: mixture((0.3, 0.7), (Uniform(["a"]), Distribution({"a": 1, "b": 1})))])
def test_draws_follow_the_probabilities(make, rng):
    distribution, n = make(), 4000
    assert sum(distribution.p.values()) == pytest.approx(1)
    drawn = [distribution.draw(rng) for _ in range(n)]
    assert set(drawn) == set(distribution.p)
    for word, p in distribution.p.items():
        assert abs(drawn.count(word) / n - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_a_mixture_weighs_its_parts():
    p = mixture((0.3, 0.7), (Uniform(["a"]), Distribution({"a": 1, "b": 3}))).p
    assert p == pytest.approx({"a": 0.3 + 0.7 / 4, "b": 0.7 * 3 / 4})


# ---- a text that the domain cannot write

@every_domain
def test_a_strange_word_is_refused_and_named(name):
    for i, words in enumerate(written(name)[:20]):
        place = 7 * i % len(words)
        broken = [*words[:place], "zebra", *words[place + 1:]]
        assert DOMAINS[name].accepts(words) and not DOMAINS[name].accepts(broken)
        with pytest.raises(ValueError, match=f"a {name} has no 'zebra' at position {place + 1},"):
            DOMAINS[name].log_probabilities(broken)


def test_predictions_stop_after_what_is_impossible():
    predictions = list(DOMAINS["report"].predict(["zebra", "zebra", "zebra"]))
    assert len(predictions) == 2 and predictions[0] and not predictions[1]


@every_domain
def test_a_text_that_ends_too_early_is_refused(name):
    with pytest.raises(ValueError, match="has no 'end'"):
        DOMAINS[name].log_probabilities(written(name)[0][:3])


@every_domain
def test_a_text_that_goes_on_after_its_end_is_refused(name):
    words = written(name)[0]
    with pytest.raises(ValueError, match=f"has no 'lamp' at position {len(words) + 1},"):
        DOMAINS[name].log_probabilities([*words, "lamp"])


@every_domain
def test_a_text_of_another_domain_is_refused(name):
    assert not any(DOMAINS[name].accepts(written(other)[0]) for other in DOMAINS if other != name)


GOOD = {
    "report": "hugo reports from the castle : the week was sunny , cloudy , rainy , stormy , foggy . "
              "the water rose from 10 to 1 . so says hugo at that castle .",
    "recipe": "for the feast of anna and ben by the forest take a lamp , a rope , a map , a bell . "
              "use the lamp , the rope , the map and the bell at that forest .",
    "chat": "anna : what of the bread ? ben : you can bake it , and what of the rope ? anna : you can tie it , "
            "and what of the boat ? ben : you can row it , farewell .",
    "count": "count : 1 , 3 , 5 . 10 , 0 , 2 . 8 , 10 , 0 , 2 , 4 . 7 , 9 , 11 .",
    "words": "words : grey , cold , silent , lonely , alas , weary , hollow , grey , dim .",
    "story": "one sunny day anna and ben went to the mill . anna took the bread to bake it . then ben saw the rope and went to "
             "tie it . anna found the boat to row it . the day was cloudy from 4 to 7 . they had the bread , the rope and the "
             "boat . so they said farewell at that mill .",
}


@pytest.mark.parametrize("name", GOOD)
def test_these_texts_are_right(name):
    assert DOMAINS[name].accepts(GOOD[name].split())


@pytest.mark.parametrize("name, right, wrong", [
    ("report", "so says hugo", "so says anna"),
    ("report", "from 10 to 1", "from 10 to 2"),
    ("report", "at that castle .", "at that harbour ."),
    ("report", "sunny , cloudy", "sunny , rainy"),
    ("recipe", "bell at that forest", "bell at that harbour"),
    ("recipe", "use the lamp , the rope", "use the rope , the lamp"),
    ("recipe", "a lamp , a rope", "a lamp , a key"),
    ("chat", "? anna", "? clara"),
    ("chat", "can row it", "can bake it"),
    ("chat", ", farewell .", ", farewell"),
    ("count", "10 , 0 , 2 .", "10 , 1 , 4 ."),
    ("count", "7 , 9 , 11 .", "7 , 9 ."),
    ("words", "grey , cold", "grey cold"),
    ("story", "ben saw the rope", "anna saw the rope"),
    ("story", "had the bread , the rope", "had the rope , the bread"),
    ("story", "at that mill", "at that harbour"),
    ("story", "from 4 to 7", "from 4 to 6"),
])
def test_one_slip_is_refused(name, right, wrong):
    assert right in GOOD[name]
    assert not DOMAINS[name].accepts(GOOD[name].replace(right, wrong, 1).split())


# ---- the vocabulary

def test_every_word_that_a_domain_can_write_is_in_the_vocabulary_and_the_other_way_round():
    assert set().union(*(possible_words(name) for name in DOMAINS)) == set(VOCABULARY)


def test_no_word_stands_twice_in_the_vocabulary():
    assert len(VOCABULARY) == len(set(VOCABULARY))


def test_every_word_of_the_novel_is_taught_by_a_general_domain():
    assert possible_words("novel") <= set().union(*(possible_words(domain.name) for domain in GENERAL))


# ---- the splits

def ids(documents):
    return [document.ids for document in documents]


def test_no_training_document_is_in_validation_or_test():
    """Streams of their own, so only chance writes one twice: two chats are equal about once in 350,000 pairs."""
    world = World(3)
    train = {tuple(document) for document in world.mixed_ids(3000, 1, 0)}
    train |= {tuple(document.ids) for name in world.domains for document in world.documents(name, 50, "train")}
    held_out = {tuple(document.ids) for name in world.domains for split in ("validation", "test")
                for document in world.documents(name, 100, split)}
    assert not train & held_out


@every_domain
def test_splits_differ_from_one_another(name):
    world = World()
    of_split = [{tuple(document) for document in ids(world.documents(name, 20, split))} for split in SPLITS]
    assert not (of_split[0] & of_split[1] or of_split[0] & of_split[2] or of_split[1] & of_split[2])


@every_domain
def test_same_seed_same_documents(name):
    assert ids(World(3).documents(name, 5)) == ids(World(3).documents(name, 5))
    assert World(3).mixed_ids(5, 1, 7) == World(3).mixed_ids(5, 1, 7)


@every_domain
def test_another_seed_gives_other_documents(name):
    assert not {tuple(d) for d in ids(World(3).documents(name, 20))} & {tuple(d) for d in ids(World(4).documents(name, 20))}


def test_another_step_gives_other_documents():
    assert not {tuple(d) for d in World().mixed_ids(50, 1, 7)} & {tuple(d) for d in World().mixed_ids(50, 1, 8)}


@every_domain
def test_asking_for_more_documents_keeps_the_first(name):
    assert ids(World().documents(name, 12))[:5] == ids(World().documents(name, 5))


@every_domain
def test_a_document_carries_its_domain_and_a_probability_for_every_token(name):
    world = World()
    document = world.documents(name, 1)[0]
    tokens = [world.tokenizer.tokens[i] for i in document.ids]
    assert tokens[:2] == ["<begin>", f"<{name}>"] and tokens[-1] == "<end>"
    assert document.log_p.shape == (len(tokens) - 1,)
    assert document.log_p[0] == 0                                       # the tag is given
    assert document.log_p[1:].tolist() == DOMAINS[name].log_probabilities(tokens[2:-1])


def test_every_thing_has_one_group_and_all_groups_are_of_one_size():
    assert sorted(GROUP_OF) == sorted(THINGS) and sum(map(len, GROUPS.values())) == len(THINGS)
    assert len({len(things) for things in GROUPS.values()}) == 1


def test_the_mix_is_of_all_general_domains_alike():
    world, n = World(), 3000
    tags = [document[1] for document in world.mixed_ids(n, 5)]
    assert set(tags) == {world.tokenizer.ids[f"<{domain.name}>"] for domain in GENERAL}
    p = 1 / len(GENERAL)
    assert all(abs(tags.count(tag) / n - p) < 4 * math.sqrt(p * (1 - p) / n) for tag in set(tags))
