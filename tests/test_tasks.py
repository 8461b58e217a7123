"""What a specialist can learn: every probability is exact, every answer is right, and one's own pairs are read with care."""

import json
import math
import re
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest

from minillm.inference.generate import generate
from minillm.nn import GPT, IGNORE, Config, CrossEntropy
from minillm.tasks import TASK_OF_KIND, task_from_json
from minillm.tasks.evaluate import evaluate_documents, token_log_p
from minillm.tasks.pairs import PairTask
from minillm.tasks.special import SPECIALITIES, SpecialTask
from minillm.tasks.text import TextTask
from minillm.tasks.world import CONTEXT, WorldTask
from minillm.text.batches import DocumentBatches, MixedBatches, StreamBatches, WorldBatches, pad
from minillm.text.domains import EVERY_ADJECTIVE, MOODS, NAMES, PLACES, THINGS, WEATHER, WEATHER_AFTER
from minillm.text.specialities import CONTRADICTION, OTHER_WEATHER_AFTER, PAIRS, WORD_FOR
from minillm.text.tokenizer import BEGIN, END, CharTokenizer
from minillm.text.world import SPLITS, World
from minillm.train.optimizers import AdamW
from minillm.train.trainer import Trainer

WORLD = World(3)
TOKENIZER = WORLD.tokenizer
every_speciality = pytest.mark.parametrize("name", SPECIALITIES)
every_pair = pytest.mark.parametrize("name", PAIRS)


def texts(name, n, split="test", draw=0, world=WORLD):
    """Documents as texts: "<begin> <story> then hugo ..." """
    return [" ".join(TOKENIZER.tokens[i] for i in document.ids) for document in world.documents(name, n, split, draw)]


def task_of(kind, folder):
    """A small instance of each kind. A new kind belongs here."""
    text, pairs = folder / "text.txt", folder / "pairs.jsonl"
    text.write_text("the mill turns under a grey sky .\n" * 12)
    pairs.write_text("\n".join(json.dumps({"prompt": f"{name} had the {thing} at the", "completion": f"{PLACES[0]} ."})
                               for name, thing in zip(NAMES[:8], THINGS[:8])))
    makers = dict.fromkeys(SPECIALITIES, lambda: SpecialTask(kind, 3, n_documents=6, draw=1, workers=1))
    makers |= {"world": lambda: WorldTask(3, workers=1), "text": lambda: TextTask(text, workers=1),
               "pairs": lambda: PairTask(pairs, TOKENIZER, workers=1, context=CONTEXT)}
    assert kind in makers, "write an instance of this kind into the table above"
    return makers[kind]()


@pytest.mark.parametrize("kind", TASK_OF_KIND)
def test_every_task_is_the_same_when_it_is_loaded(kind, tmp_path):
    """With the tokenizer of its model, which may be another than the task would make of its own text."""
    task = task_of(kind, tmp_path)
    assert type(task) is TASK_OF_KIND[kind]
    if type(task.tokenizer) is CharTokenizer:
        tokenizer = CharTokenizer(["\t", *reversed(task.tokenizer.tokens)])
        task = type(task)(task.path, tokenizer, workers=1)
    written = task.to_json(tmp_path)
    read = task_from_json(json.loads(json.dumps(written)), task.tokenizer, 1, tmp_path)
    assert type(read) is type(task) and written["kind"] == kind and read.to_json(tmp_path) == written
    assert read.name == task.name and read.learned == task.learned and read.tokenizer.tokens == task.tokenizer.tokens
    for one, other in zip(read.batches(2, CONTEXT).at(0), task.batches(2, CONTEXT).at(0)):
        assert np.array_equal(one, other)
    assert read.old_sequences(2) == task.old_sequences(2) and read.probe(CONTEXT) == task.probe(CONTEXT)
    model = GPT(Config(len(task.tokenizer), CONTEXT, 1, 1, 4), np.random.default_rng(0))
    assert read.score(model, n=2) == task.score(model, n=2)


def given_and_said(name, n):
    """The two parts of pairs, as texts without <begin>, tag and <end>."""
    for document in WORLD.documents(name, n):
        words = [TOKENIZER.tokens[i] for i in document.ids]
        yield " ".join(words[2:document.given + 1]), " ".join(words[document.given + 1:-1]), document


# ---- documents

@every_speciality
def test_documents_follow_from_seed_split_draw_and_number(name):
    one, again = texts(name, 12, draw=2), texts(name, 12, draw=2, world=World(3))
    assert one == again and len(set(one)) == 12
    assert texts(name, 12, draw=2, world=World(4)) != one and texts(name, 12, draw=1) != one and texts(name, 12) != one
    assert texts(name, 4, world=World(3)) == texts(name, 12, world=World(3))[:4]           # whoever asked for more before


@every_speciality
def test_asking_for_more_documents_keeps_those_that_came_before(name):
    world = World(5)
    few, more, few_again = (texts(name, n, world=world) for n in (3, 9, 3))
    assert few == more[:3] == few_again and texts(name, 9, world=World(5)) == more


@pytest.mark.parametrize("name", [name for name in SPECIALITIES if name != "facts"])
def test_no_document_of_one_split_is_in_another(name):
    """But of moods, where three words can be a whole text, and of contradictions, one may come again by chance."""
    splits = [texts(name, 300, split) for split in SPLITS]
    again = [len(set(split)) - 300 for split in splits] + [len({*x} & {*y}) for x, y in combinations(splits, 2)]
    assert max(map(abs, again)) <= {"novel": 0, "questions": 0}.get(name, 3)


def test_facts_are_asked_for_as_they_were_taught():
    assert texts("facts", 30, "test") == texts("facts", 30, "validation") == texts("facts", 30, "train")
    task = SpecialTask("facts", 3, n_documents=20, draw=1)
    taught = [document.ids for document in task.documents("train", 20)]
    assert [document.ids for document in task.documents("test", 200)] == taught           # these and no others
    assert [document.ids for document in task.documents("test", 5)] == taught[:5]
    assert taught != [document.ids for document in SpecialTask("facts", 3, 20).documents("test", 20)]


@every_speciality
def test_documents_fit_into_the_context_and_carry_a_probability_for_each_token(name):
    for document in WORLD.documents(name, 300):
        assert document.domain == name and len(document.ids) - 1 == len(document.log_p) <= CONTEXT
        assert document.ids[0] == TOKENIZER.ids[BEGIN] and document.ids[-1] == TOKENIZER.ids[END]
        assert (document.log_p < 1e-12).all() and np.isfinite(document.log_p).all()
        assert 1 <= document.given < len(document.log_p)
        assert TOKENIZER.encode(TOKENIZER.decode(document.ids)) == document.ids


@every_pair
def test_what_is_given_ends_where_the_answer_begins(name):
    end = {"questions": "?", "facts": "at the", "mood": ". so"}.get(name, "")
    for given, said, document in given_and_said(name, 50):
        assert given.endswith(end) and said and document.best is not None
        assert (document.log_p[:document.given] == 0).all()


def test_contradictions_are_reports_that_nothing_tells_from_others():
    for text in texts("contradiction", 100):
        words = text.split()
        assert words[:2] == [BEGIN, "<report>"]
        assert WORLD.domains["report"].accepts(words[2:-1])


def test_the_vocabulary_is_that_of_the_base():
    """A base that was pretrained before anybody thought of a speciality can read it: not one word is new."""
    words = {word for name in ("contradiction", *PAIRS) for text in texts(name, 500) for word in text.split()}
    taught = {word for name in WORLD.general for text in texts(name, 500, "train") for word in text.split()}
    assert words <= set(TOKENIZER.tokens) and words <= taught


# ---- another law for the weather

class Knowing:
    """The best possible reader of the general domains, who has taken all reports to follow `reports`."""

    def __init__(self, reports):
        self.reports = reports

    def logits(self, tokens):
        logits = np.full((*tokens.shape, len(TOKENIZER)), -1e9)
        for row, out in zip(tokens, logits):
            names = [TOKENIZER.tokens[i] for i in row]
            domain = self.reports if names[1] == "<report>" else WORLD.domains[names[1][1:-1]]
            for here, prediction in zip(out[1:], domain.predict(names[2:])):
                for word, p in prediction.items():
                    here[TOKENIZER.ids[END if word is None else word]] = math.log(p)
        return logits


def test_who_knows_the_new_law_stands_on_its_floor_and_pays_its_price_on_old_reports():
    task = SpecialTask("contradiction", 3)
    task.world = WORLD
    scores = task.score(Knowing(CONTRADICTION), n=40)
    assert scores["contradiction"].excess == pytest.approx(0, abs=1e-9) and scores["contradiction"].floor > 0.1
    assert scores["report"].excess == pytest.approx(task.kl_old_new(n=40), rel=1e-9)
    others = [scores[name].excess for name in WORLD.general if name != "report"]
    assert others == pytest.approx([0] * 5, abs=1e-9) and scores.keys() == {*WORLD.general, "contradiction"}


def test_who_knows_the_old_law_pays_on_contradictions():
    score = evaluate_documents(Knowing(WORLD.domains["report"]), WORLD.documents("contradiction", 40))
    assert score.excess > 3 * score.stderr and score.excess == pytest.approx(0.119, abs=3 * score.stderr)


def divergence_a_token(true, other):
    """KL(true || other) of a report, in nats a token, from the two laws: for each change of the weather that of its row.

    The week begins with any weather alike, has five days, and then up to three more, each if a coin says so. A report has 25
    tokens, its end among them, and two for each day: the weather, and a mark.
    """
    p = np.full(6, 1 / 6)
    rows = np.array([sum(q * math.log(q / other[weather].p[after]) for after, q in true[weather].p.items())
                     for weather in WEATHER])
    P = np.array([[true[weather].p.get(after, 0.0) for after in WEATHER] for weather in WEATHER])
    more = [1, 1, 1, 1, 1 / 2, 1 / 4, 1 / 8]                     # the chance of a day after the first, second, ...
    total = 0.0
    for chance in more:
        total += chance * (p @ rows)
        p = p @ P
    return total / (25 + 2 * (1 + sum(more)))


@pytest.mark.parametrize("kind, true, other", [
    ("report", WEATHER_AFTER, OTHER_WEATHER_AFTER), ("contradiction", OTHER_WEATHER_AFTER, WEATHER_AFTER)])
def test_the_price_of_the_other_law_is_the_divergence_of_its_rows(kind, true, other):
    domains = {"report": WORLD.domains["report"], "contradiction": CONTRADICTION}
    wrong = domains["contradiction" if kind == "report" else "report"]
    documents = WORLD.documents(kind, 1500, "train")
    gaps = [document.log_p[1:].sum() - sum(wrong.log_probabilities([TOKENIZER.tokens[i] for i in document.ids[2:-1]]))
            for document in documents]
    tokens = np.array([len(document.log_p) - 1 for document in documents])
    expected = divergence_a_token(true, other)
    stderr = np.std(gaps - expected * tokens) / math.sqrt(len(gaps)) / tokens.mean()
    assert np.sum(gaps) / tokens.sum() == pytest.approx(expected, abs=4 * stderr)
    assert expected == pytest.approx(4.875 * 0.5 * math.log(6) / 36.75) and stderr < 0.03 * expected
    if kind == "report":
        task = SpecialTask("contradiction", 3)
        assert task.kl_old_new("train", 1500) == pytest.approx(np.sum(gaps) / tokens.sum(), rel=1e-12)


# ---- questions

PERSON = "|".join(NAMES)
JOURNEY = rf"(?P<a>{PERSON}) and (?P<b>{PERSON}) (?:went|wandered) to the (?:\w+ )?(?P<place>\w+)"
BEGINNINGS = [rf"one (?:\w+ )?(?P<weather>{'|'.join(WEATHER)}) day {JOURNEY}",
              rf"then {JOURNEY} one (?:\w+ )?(?P<weather>{'|'.join(WEATHER)}) day"]
TAKES = re.compile(rf"({PERSON}) (?:took|found|saw|beheld) the (?:\w+ )?(\w+) (?:to|and went to|and dreamed to) (\w+) it \.")


def answer_to(story, question):
    """What somebody answers who has read the story."""
    begun, *_ = [match for beginning in BEGINNINGS if (match := re.match(beginning, story))]
    taken = TAKES.findall(story)
    assert begun["place"] in PLACES and 3 <= len(taken) <= 4 and all(thing in THINGS for _, thing, _ in taken)
    assert [who for who, _, _ in taken] == ([begun["a"], begun["b"]] * 2)[:len(taken)]
    if question == "so what was the day ?":
        return begun["weather"]
    if question == "so they went to what ?":
        return f"the {begun['place']}"
    if question == "so what had they ?":
        *before, last = [f"the {thing}" for _, thing, _ in taken]
        return " , ".join(before) + f" and {last}"
    asked = re.fullmatch(r"so what of the (\w+) \?", question)[1]
    [verb] = [verb for _, thing, verb in taken if thing == asked]
    return f"to {verb} it"


def test_every_answer_is_right():
    kinds, places = Counter(), Counter()
    for given, said, document in given_and_said("questions", 400):
        story, question = re.fullmatch(r"(.* it \.) (so .* \?)", given).groups()
        assert said == f"{answer_to(story, question)} .", given
        assert document.best == 1 and (document.log_p == 0).all()
        kinds[" ".join(question.split()[1:3])] += 1
        if question.startswith("so what of"):
            things = [thing for _, thing, _ in TAKES.findall(story)]
            places[things.index(question.split()[-2]) / (len(things) - 1)] += 1
    assert kinds.keys() == {"what was", "they went", "what had", "what of"} and min(kinds.values()) > 70
    assert min(places[0], places[1]) > 20 and len(places) == 5   # the first is asked for, the last, and those between


def test_the_story_is_told_up_to_where_its_end_would_give_the_answer_away():
    for given, _, _ in given_and_said("questions", 100):
        assert "the day was" not in given.rpartition(" so ")[0] and "they had" not in given
        assert sum(word in WEATHER for word in given.split()) == sum(word in PLACES for word in given.split()) == 1


# ---- facts

def test_no_two_facts_contradict_each_other_and_they_come_to_an_end():
    triples = list(given_and_said("facts", 9216))
    keys = [re.fullmatch(r"(\w+) had the (\w+) (\w+) at the", given).groups() for given, _, _ in triples]
    assert set(keys) == set(product(NAMES, EVERY_ADJECTIVE.words, THINGS)) and len(keys) == 9216
    places = Counter(said for _, said, _ in triples)
    assert places.keys() == {f"{place} ." for place in PLACES}
    assert all(abs(n - 768) < 4.5 * math.sqrt(768) for n in places.values())       # so nothing can be guessed
    with pytest.raises(ValueError, match="there are only 9216 facts, not 9217"):
        WORLD.documents("facts", 9217)
    assert len(WORLD.documents("facts", 9216)) == 9216           # and to have asked for too many has spoiled nothing
    with pytest.raises(ValueError, match="only 9216 facts"):
        SpecialTask("facts", 3, 10_000).batches(16, CONTEXT)


# ---- moods

def likelihood(adjectives, mood):
    """Half of a mood's words are of the mood, and half are any."""
    return math.prod(0.5 * (word in MOODS[mood]) / 8 + 0.5 / 32 for word in adjectives)


def test_what_can_be_known_of_a_mood_is_what_bayes_says():
    lengths, moods = Counter(), Counter()
    for given, said, document in given_and_said("mood", 2000):
        adjectives = re.fullmatch(r"words : (.*) \. so", given)[1].split(" , ")
        weights = {WORD_FOR[mood]: likelihood(adjectives, mood) for mood in MOODS}
        total = sum(weights.values())
        assert document.log_p[document.given:] == pytest.approx([math.log(weights[said] / total), 0], abs=1e-9)
        assert document.best == pytest.approx(max(weights.values()) / total)
        lengths[len(adjectives)] += 1
        moods[said] += 1
    assert lengths.keys() == {3, 4, 5, 6} and moods.keys() == set(WORD_FOR.values())
    assert all(abs(n - 500) < 90 for n in (*lengths.values(), *moods.values()))


@pytest.mark.parametrize("n", [3, 4])
def test_the_best_reader_is_right_as_often_as_is_said(n):
    """Over all texts of so many adjectives, the mean of p(likeliest mood | text) is that of max_m p(text, m): summed over all."""
    p = np.array([[likelihood([word], mood) for word in EVERY_ADJECTIVE.words] for mood in MOODS])
    joint = p
    for _ in range(n - 1):
        joint = (joint[:, :, None] * p[:, None, :]).reshape(4, -1)
    exact = joint.max(axis=0).sum() / 4
    best, right = [], []
    for given, said, document in given_and_said("mood", 4000):
        adjectives = given.split()[2:-2:2]
        if len(adjectives) == n:
            best.append(document.best)
            right.append(WORD_FOR[max(MOODS, key=lambda mood: likelihood(adjectives, mood))] == said)
    stderr = math.sqrt(exact * (1 - exact) / len(best))
    assert len(best) > 800 and 0.5 < exact < 0.9
    assert np.mean(right) == pytest.approx(exact, abs=4 * stderr) and np.mean(best) == pytest.approx(exact, abs=4 * stderr)


def test_whoever_guesses_by_bayes_has_no_excess_and_the_best_accuracy():
    class Reader:
        def logits(self, tokens):
            logits = np.full((*tokens.shape, len(TOKENIZER)), -1e9)
            for row, out in zip(tokens, logits):
                words = [TOKENIZER.tokens[i] for i in row]
                if "so" in words:
                    at = words.index("so")
                    for mood in MOODS:
                        out[at, TOKENIZER.ids[WORD_FOR[mood]]] = math.log(likelihood(words[4:at - 1:2], mood))
                    out[at + 1:, TOKENIZER.ids[END]] = 0
            return logits

    score = evaluate_documents(Reader(), WORLD.documents("mood", 1000))
    assert score.excess == pytest.approx(0, abs=1e-9) and score.tokens == 2000
    assert score.accuracy == pytest.approx(score.best, abs=0.05) and 0.6 < score.best < 0.95


# ---- what is given does not count

def test_pad_leaves_out_what_is_given():
    tokens, targets = pad([[1, 2, 3, 4, 5], [6, 7, 8]], [2, 1])
    assert tokens.tolist() == [[1, 2, 3, 4], [6, 7, 0, 0]]
    assert targets.tolist() == [[IGNORE, IGNORE, 4, 5], [IGNORE, 8, IGNORE, IGNORE]]
    assert pad([[1, 2, 3]])[1].tolist() == [[2, 3]]


def test_what_is_given_gets_no_gradient_and_whatever_is_said_of_it_is_no_loss(rng):
    documents = WORLD.documents("questions", 3) + WORLD.documents("mood", 2)
    tokens, targets = pad([document.ids for document in documents], [document.given for document in documents])
    loss_of, logits = CrossEntropy(), rng.normal(size=(*tokens.shape, 199))
    loss, cache = loss_of.forward(logits, targets, 10)
    dlogits = loss_of.backward(1.0, cache)
    counts = np.zeros(tokens.shape, bool)
    for row, document in zip(counts, documents):
        row[document.given:len(document.ids) - 1] = True
    assert (dlogits[~counts] == 0).all() and (np.abs(dlogits[counts]).max(axis=-1) > 0).all()
    other = np.where(counts[..., None], logits, rng.normal(size=logits.shape))
    assert loss_of.forward(other, targets, 10)[0] == loss
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    said = [log_p[row, t, document.ids[t + 1]] for row, document in enumerate(documents)
            for t in range(document.given, len(document.ids) - 1)]
    assert loss == pytest.approx(-sum(said) / 10)


def test_of_pairs_the_total_is_the_mean_count_of_what_is_said():
    task = SpecialTask("questions", 3, 12)
    source = task.batches(4, CONTEXT, seed=1)
    counts = [np.count_nonzero(source.at(step)[1] != IGNORE) for step in range(6)]
    said = [len(document.ids) - 1 - document.given for document in task.documents("train", 12)]
    assert sum(counts) == 2 * sum(said) and source.total == pytest.approx(sum(counts) / 6) and len(set(counts)) > 1
    whole = DocumentBatches([[1, 2, 3, 4], [1, 2]], 2)
    assert whole.total == 4 and DocumentBatches([[1, 2, 3, 4], [1, 2]], 2, given=[2, 0]).total == 2


@every_pair
def test_batches_of_pairs_count_what_is_said_and_nothing_else(name):
    documents = {tuple(document.ids): document for document in SpecialTask(name, 3, 10, draw=1).documents("train", 10)}
    tokens, targets = SpecialTask(name, 3, 10, draw=1).batches(10, CONTEXT, seed=4).at(0)
    seen = set()
    for row, aims in zip(tokens.tolist(), targets.tolist()):
        [ids] = [ids for ids in documents if list(ids[:-1]) == row[:len(ids) - 1]]
        given = documents[ids].given
        assert aims[:given] == [IGNORE] * given and aims[given:len(ids) - 1] == list(ids[given + 1:])
        seen.add(ids)
    assert seen == documents.keys()


@pytest.mark.parametrize("name", ["novel", "contradiction"])
def test_of_plain_documents_the_tag_counts_in_training_as_it_did_in_pretraining(name):
    task = SpecialTask(name, 3, 4)
    tokens, targets = task.batches(4, CONTEXT).at(0)
    assert (targets[:, 0] != IGNORE).all()
    assert np.count_nonzero(targets != IGNORE) == sum(len(document.ids) - 1 for document in task.documents("train", 4))


# ---- two sources in one batch

@pytest.mark.parametrize("swapped", [False, True])
def test_a_mixed_batch_has_the_rows_of_the_one_and_then_those_of_the_other(swapped):
    short, long = DocumentBatches([[1, 2, 3], [4, 5, 6]], 2, given=[1, 1]), DocumentBatches([[7, 8, 9, 10, 11]] * 3, 3, seed=1)
    first, second = (long, short) if swapped else (short, long)
    mixed = MixedBatches(first, second)
    tokens, targets = mixed.at(4)
    assert mixed.batch == 5 and mixed.total == first.total + second.total == 2 + 12 and tokens.shape == targets.shape == (5, 4)
    for part, source in ((slice(0, first.batch), first), (slice(first.batch, 5), second)):
        own, aims = source.at(4)
        assert np.array_equal(tokens[part, :own.shape[1]], own) and np.array_equal(targets[part, :own.shape[1]], aims)
        assert (tokens[part, own.shape[1]:] == 0).all() and (targets[part, own.shape[1]:] == IGNORE).all()
    assert np.count_nonzero(targets != IGNORE) == mixed.total
    assert all(np.array_equal(x, y) for x, y in zip(mixed.at(4), (tokens, targets)))      # a pure function of the step


def test_where_one_of_two_sources_has_no_total_the_mixture_has_none():
    stream, documents = StreamBatches(np.arange(9), 3, 2), DocumentBatches([[1, 2]], 1)
    assert MixedBatches(stream, documents).total is MixedBatches(documents, stream).total is None
    assert isinstance(MixedBatches(documents, WorldBatches(WORLD, 2)).total, float)


# ---- right from the first word to the end

def trained(batches, steps, lr=0.02, tokenizer=TOKENIZER, context=CONTEXT):
    model = GPT(Config(len(tokenizer), context, 1, 2, 24), np.random.default_rng(0))
    trainer = Trainer(model, AdamW(lr), total=batches.total, workers=1)
    for step in range(steps):
        trainer.step(*batches.at(step))
    return model


@pytest.mark.parametrize("name, documents, steps", [("facts", 12, 40), ("mood", 60, 60)])
def test_an_answer_counts_as_right_exactly_if_greedy_writing_gives_it(name, documents, steps, rng):
    task = SpecialTask(name, 3, documents, workers=1)
    model = trained(task.batches(12, CONTEXT, 1), steps)
    asked = task.documents("train", documents) + task.world.documents(name, documents + 8)[-8:]
    right = [generate(model, document.ids[:document.given + 1], 20, rng, temperature=0, stop=TOKENIZER.ids[END]) == document.ids
             for document in asked]
    assert 0.2 < np.mean(right) < 0.95                           # it has learned something, and not all
    score = evaluate_documents(model, asked, 1)
    assert score.accuracy == np.mean(right)
    assert [evaluate_documents(model, [document], 1).accuracy for document in asked] == right
    assert score.best == pytest.approx(np.mean([document.best for document in asked]))


def test_an_untrained_model_has_nothing_right_and_texts_have_no_accuracy():
    model = GPT(Config(len(TOKENIZER), CONTEXT, 1, 2, 8), np.random.default_rng(0))
    scores = SpecialTask("questions", 3, workers=1).score(model, n=8)
    assert scores["questions"].accuracy == 0 and scores["questions"].best == 1 and scores["questions"].floor == 0
    assert scores["questions"].excess == pytest.approx(math.log(199), abs=0.1)
    assert all(scores[name].accuracy is scores[name].best is None for name in WORLD.general)


# ---- tasks

def test_there_is_no_other_task():
    with pytest.raises(ValueError, match="there is no task 'poems'; tasks are novel, contradiction, questions, facts, mood"):
        SpecialTask("poems")


@every_speciality
def test_a_task_is_what_its_facts_say(name):
    task = SpecialTask(name, 3, 6, draw=2)
    again = task_from_json(json.loads(json.dumps(task.to_json())))
    assert type(again) is SpecialTask and again.to_json() == task.to_json() and again.learned == [name] and again.name == name
    for x, y in zip(task.batches(3, CONTEXT, 5).at(1), again.batches(3, CONTEXT, 5).at(1)):
        assert np.array_equal(x, y)
    assert again.probe() == task.probe()
    old = {key: value for key, value in task.to_json().items() if key != "draw"}            # of a checkpoint that had none
    assert task_from_json(old).draw == 0


@every_speciality
def test_another_draw_teaches_other_documents_and_asks_the_same(name):
    tasks = [SpecialTask(name, 3, 6, draw) for draw in (0, 1)]
    taught = [[document.ids for document in task.documents("train", 6)] for task in tasks]
    assert taught[0] != taught[1]
    asked = [[document.ids for document in task.documents("test", 6)] for task in tasks]
    assert (asked[0] == asked[1]) == (name != "facts")


@every_speciality
def test_a_look_in_between_is_at_validation_texts_of_what_is_learned(name):
    model = GPT(Config(len(TOKENIZER), CONTEXT, 1, 2, 8), np.random.default_rng(0))
    task = SpecialTask(name, 3, 30, workers=1)
    metrics = task.validate(model)
    score = evaluate_documents(model, task.documents("validation", 24), 1)
    assert metrics == {"loss": score.loss, "floor": score.floor, "mean_excess": score.excess, "excess": {name: score.excess}}


def test_old_documents_are_of_the_general_domains_and_others_than_in_training():
    task = WorldTask(3)
    old = task.old_sequences(60)
    assert old == SpecialTask("mood", 3).old_sequences(60)
    assert {TOKENIZER.tokens[ids[1]][1:-1] for ids in old} == set(WORLD.general)
    batches, trained_on = task.batches(16, CONTEXT), set()
    for step in range(20):
        trained_on |= {tuple(row[row != 0]) for row in batches.at(step)[0]}
    assert not trained_on & {tuple(ids[:-1]) for ids in old}


# ---- pairs of one's own

def jsonl(path, lines):
    """Lines as they are, or objects as JSON."""
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def pair(prompt, completion, **more):
    return {"prompt": prompt, "completion": completion} | more


RIDDLES = [pair(f"{name} had the {thing} at the", f"{place} .") for name, thing, place in zip(NAMES, THINGS, PLACES)]
FILE = "riddles.jsonl"


def decoded(pairs, tokenizer=TOKENIZER):
    """What is given and what is said, of (ids, given)."""
    return [(tokenizer.decode(ids[:given + 1]), tokenizer.decode(ids[given + 1:])) for ids, given in pairs]


def test_a_line_becomes_a_prompt_and_what_is_to_be_said(tmp_path):
    task = PairTask(jsonl(tmp_path / FILE, RIDDLES), TOKENIZER)
    assert task.name == "riddles" and task.learned == ["riddles"] and task.skipped == []
    assert decoded(task.train)[:2] == [("<begin> anna had the lamp at the", "harbour. <end>"),
                                       ("<begin> ben had the bread at the", "mill. <end>")]


@pytest.mark.parametrize("n, learned", [(2, 1), (3, 2), (9, 8), (10, 9), (11, 9), (12, 10)])
def test_the_last_tenth_and_at_least_one_is_kept_to_judge_by(n, learned, tmp_path):
    task = PairTask(jsonl(tmp_path / FILE, RIDDLES[:n]), TOKENIZER)
    assert len(task.train) == learned and len(task.validation) == n - learned
    assert [said for _, said in decoded(task.train + task.validation)] == [f"{place}. <end>" for place in PLACES[:n]]
    assert task.probe() == task.validation


def test_blank_lines_and_further_keys_do_no_harm(tmp_path):
    lines = ["", RIDDLES[0], "   ", "\t", *RIDDLES[1:4], "", json.dumps(RIDDLES[4] | {"source": "a book"}), ""]
    assert decoded(PairTask(jsonl(tmp_path / FILE, lines), TOKENIZER).train) == decoded(
        PairTask(jsonl(tmp_path / "plain.jsonl", RIDDLES[:5]), TOKENIZER).train)


BAD = {
    "no JSON": ('{"prompt": "anna had the", "completion": }', ["this is not JSON", "character 42"]),
    "half a line": ('{"prompt": "anna', ["this is not JSON"]),
    "no object": ('["anna had the", "lamp"]', ["must be an object", '{"prompt": ..., "completion": ...}']),
    "a number": ("3", ["must be an object"]),
    "no completion": ('{"prompt": "anna had the"}', ["must be an object with two texts"]),
    "no prompt": ('{"completion": "lamp ."}', ["must be an object with two texts"]),
    "other keys": ('{"question": "anna had the", "answer": "lamp ."}', ["must be an object with two texts"]),
    "no text": ('{"prompt": "anna had the", "completion": 3}', ["must be an object with two texts"]),
    "null": ('{"prompt": null, "completion": "lamp ."}', ["must be an object with two texts"]),
    "an empty completion": ('{"prompt": "anna had the", "completion": ""}', ["the completion is empty"]),
    "a blank completion": ('{"prompt": "anna had the", "completion": " "}', ["the completion is empty"]),
    "unknown word": ('{"prompt": "anna had the", "completion": "zeppelin ."}', ["'zeppelin' is not in the vocabulary"]),
    "unknown word in the prompt": ('{"prompt": "xavier had the", "completion": "lamp ."}', ["'xavier' is not in the vocabulary"]),
    "capitals": ('{"prompt": "Anna had the", "completion": "lamp ."}', ["'Anna'", "write 'anna'"]),
}


@pytest.mark.parametrize("line, words", BAD.values(), ids=BAD)
def test_a_line_that_cannot_be_used_is_named(line, words, tmp_path):
    path = jsonl(tmp_path / FILE, [RIDDLES[0], "", RIDDLES[1], line, RIDDLES[2]])
    with pytest.raises(ValueError) as error:
        PairTask(path, TOKENIZER)
    for part in (str(path), "line 4:", "--skip-bad", *words):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("line, words", BAD.values(), ids=BAD)
def test_with_skip_only_bad_lines_are_left_out_and_it_is_said_which(line, words, tmp_path):
    path = jsonl(tmp_path / FILE, [line, *RIDDLES[:3], "", line, *RIDDLES[3:6]])
    task = PairTask(path, TOKENIZER, skip=True)
    assert decoded(task.train + task.validation) == decoded(
        [*(other := PairTask(jsonl(tmp_path / "good.jsonl", RIDDLES[:6]), TOKENIZER)).train, *other.validation])
    assert [said.split(":")[0] for said in task.skipped] == ["line 1", "line 6"]
    assert all(words[0] in said for said in task.skipped)
    again = task_from_json(task.to_json(), TOKENIZER)                     # whoever judges it later must leave out the same
    assert again.train == task.train and again.validation == task.validation


@pytest.mark.parametrize("lines", [[RIDDLES[0]], ["{}", RIDDLES[0], "[]"], ["{}", "{}"]], ids=len)
def test_fewer_than_two_pairs_are_refused(lines, tmp_path):
    usable = sum(not isinstance(line, str) for line in lines)
    with pytest.raises(ValueError, match=f"has {usable} pairs that can be used, but two are needed"):
        PairTask(jsonl(tmp_path / FILE, lines), TOKENIZER, skip=True)


@pytest.mark.parametrize("content, message", [(None, "there is no file"), (b"", "is empty"), (b"\xff\xfe\x00a", "is not UTF-8")])
def test_a_file_that_is_no_text_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        PairTask(tmp_path / FILE, TOKENIZER)


def test_a_pair_that_the_model_cannot_read_whole_is_refused(tmp_path):
    """A pair of 9 tokens needs a context of 8: its last is never read, only written."""
    task = PairTask(jsonl(tmp_path / FILE, RIDDLES), TOKENIZER)
    assert {len(ids) for ids, _ in task.train} == {9 + 1}
    with pytest.raises(ValueError, match="a pair of .*riddles.jsonl has 10 tokens, but the model reads at most 9"):
        task.batches(4, 8)
    assert task.batches(4, 9).at(0)[0].shape == (4, 9)
    for context in (8, 9):
        model = GPT(Config(len(TOKENIZER), context, 1, 2, 8), np.random.default_rng(0))
        if context == 8:
            with pytest.raises(ValueError, match="reads at most 9"):
                task.score(model)
        else:
            assert task.score(model)["riddles"].tokens == 2 * 3


def test_batches_of_ones_own_pairs_count_the_completion_and_the_end(tmp_path):
    task = PairTask(jsonl(tmp_path / FILE, [*RIDDLES[:4], pair("the day was", "sunny , and so it was ."), RIDDLES[5]]), TOKENIZER)
    source = task.batches(5, CONTEXT)
    _, targets = source.at(0)
    assert source.total == np.count_nonzero(targets != IGNORE) == 4 * 3 + 8
    ends = targets.max(axis=1, where=targets == TOKENIZER.ids[END], initial=-1)
    assert (ends == TOKENIZER.ids[END]).all()


def test_a_score_of_pairs_worked_out_by_hand(tmp_path):
    """Loss over the tokens of completions alone; an answer is right if all of it is."""
    task = PairTask(jsonl(tmp_path / FILE, RIDDLES[:2] * 10), TOKENIZER, workers=1)
    model = trained(task.batches(2, CONTEXT), 80)
    rows = token_log_p(model, [ids for ids, _ in task.validation], 1)
    [score] = task.score(model).values()
    assert score.tokens == 6 and score.loss == pytest.approx(-np.mean([row[-3:] for row, _ in rows]))
    assert score.accuracy == 1 and score.best is score.floor is score.excess is None and score.loss < 0.5
    assert task.validate(model) == {"loss": score.loss}


def test_accuracy_on_pairs_is_that_of_greedy_writing(tmp_path, rng):
    path = jsonl(tmp_path / FILE, [pair(given, said) for given, said, _ in given_and_said("mood", 160)])
    task = PairTask(path, TOKENIZER, workers=1)
    model = trained(task.batches(16, CONTEXT), 240, 0.01)
    right = [generate(model, ids[:given + 1], 9, rng, temperature=0, stop=TOKENIZER.ids[END]) == ids
             for ids, given in task.validation]
    assert task.score(model)["riddles"].accuracy == np.mean(right) and 0.2 < np.mean(right) < 1


LETTERS = CharTokenizer.of("abcdefghijklmnopqrstuvwxyz ?\n")


def test_a_model_of_characters_ends_an_answer_with_a_new_line(tmp_path):
    path = jsonl(tmp_path / FILE, [pair("how old?", " ten"), pair("who?", " ben\nand al")])
    task = PairTask(path, LETTERS)
    assert decoded(task.train, LETTERS) == [("how old?", " ten\n")]
    assert decoded(task.validation, LETTERS) == [("who?", " ben\nand al\n")]
    assert task.train[0][1] == len("how old?") - 1
    without = PairTask(jsonl(tmp_path / FILE, [pair("how?", " so"), pair("who?", " ben")]), CharTokenizer.of("how so?ben"))
    assert without.tokenizer.decode(without.train[0][0]) == "how? so"      # it has no sign for an end


def test_where_nothing_marks_a_beginning_a_prompt_is_needed(tmp_path):
    path = jsonl(tmp_path / FILE, [pair("", "ben"), pair("who?", "al")])
    with pytest.raises(ValueError, match="line 1: the prompt is empty, and this model has no sign for the beginning"):
        PairTask(path, LETTERS)
    task = PairTask(jsonl(tmp_path / FILE, [pair("", "ben ."), pair("", "leo .")]), TOKENIZER)
    assert decoded(task.train) == [("<begin>", "ben. <end>")]


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\r\n"])
def test_only_a_new_line_ends_a_line(mark, tmp_path):
    """JSON may have other signs that some programs take for the end of a line, as they are, in a text."""
    path = tmp_path / FILE
    if mark == "\r\n":
        path.write_bytes(b'{"prompt": "a", "completion": "b"}\r\n{"prompt": "a", "completion": "c"}\r\n')
    else:
        path.write_text(f'{{"prompt": "a{mark}", "completion": "b"}}\n{{"prompt": "a", "completion": "c"}}\n', encoding="utf-8")
    task = PairTask(path, CharTokenizer.of(f"abc\n{mark}"))
    assert len(task.train) == len(task.validation) == 1


def test_old_documents_of_pairs_and_texts_are_pieces_of_what_was_learned(tmp_path):
    task = PairTask(jsonl(tmp_path / FILE, RIDDLES), TOKENIZER)
    learned = [ids for ids, _ in task.train]
    assert task.old_sequences(4) == learned[:4] and task.old_sequences(25) == (learned * 3)[:25]
    (tmp_path / "book.txt").write_text("the mill turns " * 40)
    text = TextTask(tmp_path / "book.txt")
    windows = text.old_sequences(5)
    assert len(windows) == 5 and all(text.tokenizer.decode(ids) in "the mill turns " * 36 for ids in windows)
