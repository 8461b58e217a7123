"""What a person counts: texts without a mistake. Who writes them, who reads them, and how sure the share is."""

import json

import numpy as np
import pytest

from minillm.finetune.methods import BottleneckAdapter
from minillm.nn import GPT, Config
from minillm.tasks.samples import (
    BATCH,
    TEMPERATURES,
    Flawless,
    flawless,
    flawless_json,
    flawless_world,
    pooled_flawless,
    read,
    sample_counts,
    write_and_judge,
)
from minillm.text.tokenizer import END
from minillm.text.world import World

WORLD = World(3)
TOKENS, IDS = WORLD.tokenizer.tokens, WORLD.tokenizer.ids
DOMAINS = list(WORLD.grammars)


def small_gpt(context=112):
    return GPT(Config(len(TOKENS), context, 1, 2, 12), np.random.default_rng(5))


class Author(GPT):
    """Its weights do nothing: what it says of the next token is what `say(domain, words)` says, {token: probability}."""

    def __init__(self, say, context=112):
        super().__init__(Config(len(TOKENS), context, 1, 1, 1), np.random.default_rng(0))
        self.say = say

    def forward_cached(self, tokens, kv_cache):
        """tokens (B, n) -> logits (B, n, V), of which only the last count"""
        kv_cache.length += tokens.shape[1]
        texts = kv_cache.extra[0].setdefault("texts", [[] for _ in tokens])
        logits = np.full((*tokens.shape, len(TOKENS)), -1e9)
        for text, new, out in zip(texts, tokens.tolist(), logits):
            text += [TOKENS[i] for i in new]
            said = {END: 1.0} if END in text else self.say(text[1][1:-1], text[2:])
            for token, p in said.items():
                out[-1, IDS[token]] = np.log(p)
        return logits


def truth(domain, words):
    *_, possible = WORLD.grammars[domain].predict(words)
    return {END if word is None else word: p for word, p in possible.items()}


def parrot(*documents):
    """Says one of some texts of equal length, drawn at the first word, each as likely."""
    def say(_, words):
        following = [text.split()[len(words)] for text in documents if text.split()[:len(words)] == words]
        return dict.fromkeys(following, 1.0)
    return say


# ---- the share

@pytest.mark.parametrize("count, n, low, high", [          # Newcombe 1998, table I; Brown, Cai & DasGupta 2001
    (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718), (29, 29, 0.8830, 1.0)])
def test_the_interval_is_that_of_wilson(count, n, low, high):
    result = Flawless(n, [("", "")] * (n - count))
    assert result.count == count and result.share == count / n
    assert result.interval == pytest.approx((low, high), abs=1e-4)


def test_the_interval_holds_the_truth_nineteen_times_in_twenty(rng):
    for p in (0.02, 0.3, 0.95):
        counts = rng.binomial(100, p, 3000)
        held = [low <= p <= high for low, high in (Flawless(100, [None] * (100 - count)).interval for count in counts)]
        assert 0.91 < np.mean(held) < 0.99


def test_shares_in_words_and_in_json():
    result = Flawless(100, [("a text", "a sentence")] * 84)
    assert str(result) == "16 % (10-24)"
    assert json.loads(json.dumps(result.to_json())) == {"n": 100, "count": 16, "share": 0.16, "interval": list(result.interval)}


def test_several_domains_together():
    parts = {"chat": {1.0: Flawless(4, [("a", "b")])}, "story": {1.0: Flawless(6, [("c", "d"), ("e", "f")])}}
    both = pooled_flawless(parts, ["chat", "story"], 1.0)
    assert (both.n, both.count, both.mistakes) == (10, 7, [("a", "b"), ("c", "d"), ("e", "f")])
    assert flawless_json(parts)["story"] == {"1": parts["story"][1.0].to_json()}


# ---- whoever knows the grammar makes no mistake, and whoever does not is told

@pytest.mark.parametrize("domain", DOMAINS)
def test_the_true_distribution_writes_no_mistake_at_any_temperature(domain):
    for temperature in (1.0, 0.3):
        result = flawless(Author(truth), WORLD, domain, 5, temperature, seed=2)
        assert result.n == result.count == 5, result.mistakes


def test_mistakes_are_counted_and_reported():
    right = f"count : 1 , 2 , 3 . 4 , 5 , 6 . 7 , 8 , 9 . 9 , 10 , 11 . {END}"
    result = flawless(Author(parrot(right, right.replace("5", "6"))), WORLD, "count", 60, seed=1)
    assert result.n == 60 and 15 < result.count < 45
    assert set(result.mistakes) == {("count: 1, 2, 3. 4, 6, 6. 7, 8, 9. 9, 10, 11.", "'6' must be 4 + 1 = 5")}


def test_a_text_that_does_not_end_is_a_mistake_and_is_as_long_as_the_context():
    endless = parrot("words : " + "grey , " * 200)
    result = flawless(Author(endless, context=30), WORLD, "words", 1)
    assert result.mistakes == [(f"words: grey{', grey' * 12},", "it has no end after 28 tokens")]
    result = flawless(Author(endless, context=112), WORLD, "words", 1)
    assert result.mistakes == [(f"words: grey{', grey' * 53},", "',' goes on after 16, where the list must end")]


def test_a_ruined_model_writes_nothing_that_is_right():
    model = small_gpt()
    model.wte.weight.data[:] = np.nan
    result = flawless(model, WORLD, "novel", 3)
    assert result.count == 0 and result.mistakes == [("", "nothing can be written, as the logits are not numbers")] * 3


def test_what_is_read_is_the_text_and_its_first_mistake():
    document = WORLD.documents("story", 1)[0].ids
    assert read(WORLD, "story", document[2:]) == (WORLD.tokenizer.decode(document[2:-1]), None)
    assert read(WORLD, "story", document[2:-1])[1] == f"it has no end after {len(document) - 3} tokens"
    assert read(WORLD, "story", [])[1] == "it has no end after 0 tokens"


def test_a_contradiction_begins_like_a_report():
    assert WORLD.beginning("contradiction") == WORLD.beginning("report") == [IDS["<begin>"], IDS["<report>"]]
    assert WORLD.beginning("novel") == WORLD.documents("novel", 1)[0].ids[:2]


# ---- the same for all

def test_every_text_has_its_own_random_numbers_whoever_writes_and_however_many():
    model = small_gpt()
    few, many = (flawless_world(model, WORLD, {"novel": n, "chat": n}, (1.0,), seed=4, workers=1) for n in (3, BATCH + 3))
    for domain in ("novel", "chat"):
        assert few[domain][1.0].mistakes == many[domain][1.0].mistakes[:3] and few[domain][1.0].count == 0
        assert flawless(model, WORLD, domain, 3, 1.0, 4).mistakes == few[domain][1.0].mistakes
        assert flawless(model, WORLD, domain, 3, 1.0, 5).mistakes != few[domain][1.0].mistakes
        rngs = [np.random.default_rng([4, i, list(WORLD.grammars).index(domain)]) for i in range(3)]
        alone = [write_and_judge(model, WORLD, [domain], [rng], 1.0)[0] for rng in rngs]
        assert alone == few[domain][1.0].mistakes
    assert len(set(many["novel"][1.0].mistakes)) == BATCH + 3


@pytest.mark.parametrize("adapted", [False, True])
def test_results_do_not_depend_on_the_workers(adapted, rng):
    model = small_gpt()
    if adapted:
        BottleneckAdapter(3).apply(model, rng)
    one, two = (flawless_world(model, WORLD, {"novel": 7, "words": BATCH, "count": 0}, workers=n) for n in (1, 2))
    assert one == two and one.keys() == {"novel", "words"} and one["words"].keys() == set(TEMPERATURES)


def test_how_many_of_each():
    names = [*WORLD.general, "mood", "novel"]
    assert sample_counts(WORLD, names, ["novel"], 100) == dict.fromkeys(WORLD.general, 25) | {"novel": 100}
    assert sample_counts(WORLD, names, names, 8) == dict.fromkeys([*WORLD.general, "novel"], 8)
    assert set(sample_counts(WORLD, names, ["novel"], 1).values()) == {1}
    assert set(sample_counts(WORLD, names, ["novel"], 0).values()) == {0}
    assert flawless_world(None, WORLD, sample_counts(WORLD, names, ["novel"], 0)) == {}
