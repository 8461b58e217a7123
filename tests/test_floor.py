"""Excess 0 is perfect and nothing is better: the yardstick of the toy world, and the arithmetic of every score."""

import math
from collections import Counter
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from minillm.gradcheck import perturb
from minillm.nn import GPT, IGNORE, Config, CrossEntropy
from minillm.tasks.evaluate import (
    ROWS,
    Score,
    evaluate_documents,
    evaluate_text,
    evaluate_world,
    log_p_at,
    mean_excess,
    token_log_p,
)
from minillm.text.batches import pad
from minillm.text.tokenizer import END
from minillm.text.world import Document, World

WORLD = World(3)
V = len(WORLD.tokenizer)
DOMAINS = list(WORLD.domains)
every_domain = pytest.mark.parametrize("name", DOMAINS)
IMPOSSIBLE = -1e9


def small_gpt(dtype=np.float64, context=112):
    rng = np.random.default_rng(5)
    model = GPT(Config(V, context, 2, 2, 12), rng, dtype)
    perturb(model, rng)
    return model


# ---- models that are no networks

class BayesModel:
    """The exact next-word distribution of a domain, as logits: the best model there can be."""

    def logits(self, tokens):
        """tokens (B, T): <begin>, the tag, words, padding -> (B, T, V)"""
        ids = WORLD.tokenizer.ids
        logits = np.full((*tokens.shape, V), IMPOSSIBLE)
        for row, out in zip(tokens, logits):
            names = [WORLD.tokenizer.tokens[i] for i in row]
            domain, words = WORLD.domains[names[1][1:-1]], names[2:]
            out[0, [ids[f"<{name}>"] for name in WORLD.general]] = -math.log(len(WORLD.general))
            for here, prediction in zip(out[1:], domain.predict(words)):
                for word, p in prediction.items():
                    here[ids[END if word is None else word]] = math.log(p)
        return logits


class NGram:
    """p(word | the n - 1 tokens before it), counted, `smoothing` added to each count; near the start, of all there are."""

    def __init__(self, n, documents, smoothing=1.0):
        self.n, self.smoothing = n, smoothing
        self.counts = {}
        for ids in documents:
            for t in range(1, len(ids)):
                self.counts.setdefault(self.context(ids, t), Counter())[ids[t]] += 1
        self.rows = {}

    def context(self, ids, t):
        return tuple(ids[max(0, t - self.n + 1):t])

    def row(self, context):
        if context not in self.rows:
            counts = np.full(V, self.smoothing)
            for token, n in self.counts.get(context, {}).items():
                counts[token] += n
            self.rows[context] = np.log(counts)
        return self.rows[context]

    def logits(self, tokens):
        return np.array([[self.row(self.context(row, t)) for t in range(1, len(row) + 1)] for row in tokens.tolist()])


class Ignorant:
    """Every word alike."""

    def logits(self, tokens):
        return np.zeros((*tokens.shape, V))


@pytest.fixture(scope="module")
def ngram():
    """ngram(n, smoothing), trained on 3000 documents of the general domains and 300 novels, none of the test split; each once."""
    novels = [document.ids for document in WORLD.documents(WORLD.special, 300, "train")]
    documents = WORLD.mixed_ids(3000, 1, 0) + novels
    return cache(lambda n, smoothing: NGram(n, documents, smoothing))


# ---- the floor is reached by who knows all, and by nobody else

@every_domain
def test_who_knows_the_grammar_stands_exactly_on_the_floor(name):
    documents = WORLD.documents(name, 30)
    score = evaluate_documents(BayesModel(), documents)
    assert score.loss == pytest.approx(score.floor, abs=1e-9)
    assert score.excess == pytest.approx(0, abs=1e-9) and score.stderr < 1e-9
    assert score.floor == pytest.approx(-np.concatenate([document.log_p[1:] for document in documents]).mean(), rel=1e-12)
    assert score.floor > 0.1                                     # there is something that cannot be known


@every_domain
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("smoothing", [1.0, 0.01])
def test_no_ngram_is_below_the_floor(name, n, smoothing, ngram):
    score = evaluate_documents(ngram(n, smoothing), WORLD.documents(name, 60))
    assert score.excess > -3 * score.stderr
    assert score.excess > 0.1                                    # and in fact far above it: it forgets what was said
    assert score.stderr > 0


def test_ngrams_do_learn(ngram):
    """So the test above is about models that know something."""
    loss = [evaluate_documents(model, WORLD.documents("story", 60)).loss
            for model in (Ignorant(), ngram(1, 1.0), ngram(3, 0.01))]
    assert loss[0] > loss[1] + 0.5 > loss[2] + 1


@every_domain
def test_who_knows_nothing_pays_log_v(name):
    score = evaluate_documents(Ignorant(), WORLD.documents(name, 40))
    assert score.loss == pytest.approx(math.log(V), rel=1e-12)
    assert score.excess > 3 * score.stderr


@every_domain
def test_to_doubt_the_truth_costs_what_it_should(name):
    """Half the truth and half ignorance: no token costs more than log 2 above its floor, and the whole is above it."""
    class Doubting:
        def logits(self, tokens):
            return np.logaddexp(BayesModel().logits(tokens), -math.log(V)) - math.log(2)

    score = evaluate_documents(Doubting(), WORLD.documents(name, 30))
    assert 0.05 < score.excess < math.log(2)


# ---- arithmetic

class Table:
    """Whatever is asked, the same distribution."""

    def __init__(self, p, context=4):
        self.log_p = np.log(p)
        self.config = SimpleNamespace(context=context)
        self.asked = []

    def logits(self, tokens):
        self.asked.append(tokens.copy())
        return np.broadcast_to(self.log_p, (*tokens.shape, len(self.log_p)))


def test_a_score_worked_out_by_hand():
    """Two documents; the tag is given. Gaps to the truth: 1.0 on 2 tokens, 0.5 on 1 token."""
    model = Table([0.2, 0.3, 0.5])
    log_q = np.log([0.2, 0.3, 0.5])
    documents = [Document("", [0, 1, 2, 1], np.array([-9.0, log_q[2] + 0.25, log_q[1] + 0.75])),
                 Document("", [0, 1, 0], np.array([-9.0, log_q[0] + 0.5]))]
    score = evaluate_documents(model, documents)
    assert score.tokens == 3
    assert score.loss == pytest.approx(-(log_q[2] + log_q[1] + log_q[0]) / 3)
    assert score.excess == pytest.approx(1.5 / 3) and score.floor == pytest.approx(score.loss - 0.5)
    assert score.stderr == pytest.approx(math.hypot(1.0 - 0.5 * 2, 0.5 - 0.5 * 1) / 3, abs=1e-12)


def test_an_answer_is_right_if_all_of_its_words_are_and_what_is_given_does_not_count():
    """The likeliest word is 2, always. Of four answers two are all 2s; what was asked may be anything."""
    answers = [([0, 1, 0, 2, 2], 2, 0.5), ([0, 1, 2, 1], 2, 1.0), ([0, 2, 2], 1, 0.75), ([0, 2, 1, 2, 1], 3, 0.25)]
    documents = [Document("", ids, np.full(len(ids) - 1, -0.1), given, best) for ids, given, best in answers]
    score = evaluate_documents(Table([0.2, 0.3, 0.5]), documents)
    assert score.tokens == 2 + 1 + 1 + 1 and score.accuracy == 0.5 and score.best == 0.625
    assert score.loss == pytest.approx(-np.log([0.5, 0.5, 0.3, 0.5, 0.3]).mean()) and score.floor == pytest.approx(0.1)
    text = evaluate_documents(Table([0.2, 0.3, 0.5]), [document._replace(best=None) for document in documents])
    assert text.accuracy is text.best is None                    # of a text nobody asks whether it is right


def test_the_standard_error_is_that_of_the_mean_over_documents():
    """Documents of one length: s / sqrt(n), but for the n of its variance."""
    rng = np.random.default_rng(0)
    gaps = rng.normal(size=50)
    documents = [Document("", [0, 1, 0], np.array([-9.0, math.log(0.5) + gap])) for gap in gaps]
    score = evaluate_documents(Table([0.5, 0.5]), documents)
    assert score.excess == pytest.approx(gaps.mean()) and score.stderr == pytest.approx(gaps.std() / math.sqrt(50))


def test_the_standard_error_tells_how_far_another_sample_lies():
    """Excesses on disjoint samples scatter as their standard errors say."""
    model, documents = NGram(1, WORLD.mixed_ids(300, 1, 0)), WORLD.documents("chat", 400)
    scores = [evaluate_documents(model, documents[i:i + 20]) for i in range(0, 400, 20)]
    spread, stderr = np.std([score.excess for score in scores], ddof=1), np.mean([score.stderr for score in scores])
    assert 0.5 < spread / stderr < 2


def test_every_document_gets_its_own_answer_whatever_the_order():
    documents = [document.ids for name in DOMAINS for document in WORLD.documents(name, 5)]
    model = small_gpt()
    together = token_log_p(model, documents)
    assert [len(row) for row, _ in together] == [len(right) for _, right in together] == [len(ids) - 1 for ids in documents]
    for ids, (row, right) in zip(documents, together):
        [(alone, likeliest)] = token_log_p(model, [ids])
        np.testing.assert_allclose(row, alone, rtol=0, atol=1e-10)
        assert np.array_equal(right, likeliest)
        assert right.tolist() == (model.logits(np.array([ids[:-1]]))[0].argmax(axis=-1) == ids[1:]).tolist()
    backwards = token_log_p(model, documents[::-1])[::-1]
    assert all(np.allclose(x, y, rtol=0, atol=1e-10) for (x, _), (y, _) in zip(together, backwards))
    assert all(np.array_equal(x, y) for (_, x), (_, y) in zip(together, backwards))


def test_a_ruined_model_is_right_about_nothing():
    """Not even of the word at which it is no number: the largest, to argmax."""
    model = small_gpt()
    for name, word in (("wte.weight", 7), ("ln_f.bias", None)):
        model.state_dict()[name][word] = np.nan
        [(row, right)] = token_log_p(model, [[1, 7, 0, 7, 7]])
        assert not np.isfinite(row).any() and not right.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_do_not_depend_on_the_workers(dtype):
    model, documents = small_gpt(dtype), WORLD.documents("story", 3 * ROWS + 5)
    scores = [evaluate_documents(model, documents, workers) for workers in (1, 2, 5, None)]
    assert all(score == scores[0] for score in scores)


def test_the_loss_is_that_of_training():
    model, documents = small_gpt(), WORLD.documents("recipe", 10)
    tokens, targets = pad([document.ids for document in documents])
    targets[:, 0] = IGNORE                                       # the tag is given
    loss, _ = CrossEntropy().forward(model.logits(tokens), targets)
    score = evaluate_documents(model, documents)
    assert score.loss == pytest.approx(loss, rel=1e-12) and score.tokens == np.count_nonzero(targets != IGNORE)


def test_log_softmax_of_large_logits():
    logits = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]])
    np.testing.assert_allclose(log_p_at(logits, np.array([1, 2])), [-1e4, -math.log(3)], rtol=1e-12)
    assert log_p_at(logits, np.array([IGNORE, 0])).shape == (2,)


def test_the_world_is_scored_domain_by_domain():
    model, world = small_gpt(np.float32), World(3)
    scores = evaluate_world(model, world, "validation", 4)
    assert list(scores) == DOMAINS
    assert scores["count"] == evaluate_documents(model, world.documents("count", 4, "validation"))
    assert scores["count"] != evaluate_documents(model, world.documents("count", 4, "test"))
    assert list(evaluate_world(model, world, "validation", 4, domains=["words"])) == ["words"]
    assert mean_excess(scores, ["chat", "words"]) == pytest.approx((scores["chat"].excess + scores["words"].excess) / 2)


# ---- texts

@pytest.mark.parametrize("length", [2, 3, 4, 5, 6, 8, 9, 10, 33])
def test_every_token_of_a_text_but_the_first_counts_once(length):
    """Each token of the text has a cost of its own, so the sum tells which were counted."""
    p = np.arange(1, length + 1) / (length * (length + 1) / 2)
    model = Table(p, context=4)
    score = evaluate_text(model, np.random.default_rng(0).permutation(length), workers=1)
    ids = np.random.default_rng(0).permutation(length)
    assert score.tokens == length - 1
    assert score.loss == pytest.approx(-np.log(p[ids[1:]]).mean(), rel=1e-12)
    assert score == Score(score.loss, length - 1) and score.floor is score.excess is score.stderr is None
    assert max(tokens.shape[1] for tokens in model.asked) <= 4


def test_the_loss_of_a_text_is_that_of_training_on_its_windows():
    model, ids = small_gpt(context=8), np.random.default_rng(0).integers(0, V, 25)
    windows = ids[np.arange(0, 24, 8)[:, None] + np.arange(9)]
    loss, _ = CrossEntropy().forward(model.logits(windows[:, :-1]), windows[:, 1:])
    assert evaluate_text(model, ids).loss == pytest.approx(loss, rel=1e-12)
    assert evaluate_text(model, ids, workers=1) == evaluate_text(model, ids, workers=3)
