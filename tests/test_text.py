"""From texts to arrays of tokens: nothing is lost, and the same step always gives the same batch."""

import json

import numpy as np
import pytest

from minillm.nn import IGNORE
from minillm.text.batches import NOVEL_EVERY, DocumentBatches, StreamBatches, WorldBatches, pad
from minillm.text.bpe_learning import learn_bpe
from minillm.text.tokenizer import PAD, CharTokenizer, IdTokenizer, WordTokenizer
from minillm.text.tokenizers import TOKENIZERS, tokenizer_form, tokenizer_from_json
from minillm.text.world import World

WORLD = World()


# ---- tokenizers

@pytest.mark.parametrize("name", WORLD.domains)
def test_words_survive_the_round_trip_through_text(name):
    for document in WORLD.documents(name, 5):
        assert WORLD.tokenizer.encode(WORLD.tokenizer.decode(document.ids)) == document.ids


def test_decoding_sets_marks_against_the_word_before():
    tokenizer = WordTokenizer(["the", "mill", ",", "."])
    assert tokenizer.decode([0, 1, 2, 0, 1, 3]) == "the mill, the mill."


def test_words_and_marks_are_cut_apart():
    tokenizer = WordTokenizer(["the", "mill", ",", "."])
    assert tokenizer.encode("the mill, the  mill .") == tokenizer.encode("the mill ,\nthe mill.") == [0, 1, 2, 0, 1, 3]


def test_characters_survive_the_round_trip():
    text = "Two words,\nand a line."
    tokenizer = CharTokenizer.of(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer) == len(set(text)) and len(tokenizer.encode(text)) == len(text)


# One of each kind, with a text that it writes as it was. A new kind belongs here.
MILL = "the mill, the café: and a sky."
OF_EACH_KIND = {"word": WordTokenizer(["<pad>", "the", "mill", "café", "and", "a", "sky", ",", ":", "."]),
                "character": CharTokenizer.of(MILL), "bpe": learn_bpe(3 * MILL, 270), "id": IdTokenizer(20)}
OF_IDS = "17 4 17"


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_tokenizer_gives_the_text_back_and_is_the_same_when_loaded(kind):
    assert kind in OF_EACH_KIND, "write an example of this kind into the table above"
    tokenizer = OF_EACH_KIND[kind]
    text = OF_IDS if kind == "id" else MILL
    ids = tokenizer.encode(text)
    assert type(tokenizer) is TOKENIZERS[kind] and tokenizer.kind == kind and tokenizer.decode(ids) == text
    written = json.loads(json.dumps(tokenizer.to_json()))
    tokenizer_form(written, "tokenizer")                         # as a checkpoint is checked
    read = tokenizer_from_json(written)
    assert type(read) is type(tokenizer) and read.tokens == tokenizer.tokens and read.to_json() == tokenizer.to_json()
    assert read.encode(text) == ids and read.decode(ids) == text


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_form_of_each_kind_is_of_all_its_json(kind):
    """And of no other kind's."""
    written, form = OF_EACH_KIND[kind].to_json(), TOKENIZERS[kind].form
    assert form(written, "it") == written
    for wrong in ({**written, "kind": "other"}, {name: value for name, value in written.items() if name != "kind"}):
        with pytest.raises(ValueError, match="kind"):
            form(wrong, "it")


@pytest.mark.parametrize("tokenizer, text, message", [
    (WordTokenizer(["the", "mill"]), "the zebra the", r"'zebra' is not in the vocabulary .*2 words"),
    (CharTokenizer.of("abc"), "abx", r"'x' is not in the vocabulary .*3 characters"),
])
def test_what_is_not_in_the_vocabulary_is_named(tokenizer, text, message):
    with pytest.raises(ValueError, match=message):
        tokenizer.encode(text)


# ---- batches

def assert_shifted(tokens, targets):
    """Each target that counts is the token that follows; what follows the last is only in targets."""
    assert tokens.shape == targets.shape
    counted = targets != IGNORE
    assert counted.any()
    both = counted[:, :-1] & counted[:, 1:]
    assert np.array_equal(tokens[:, 1:][both], targets[:, :-1][both])
    assert not (~counted[:, :-1] & counted[:, 1:]).any()      # once ended, a row does not go on


def test_pad():
    tokens, targets = pad([[5, 6, 7, 8], [1, 2]])
    assert tokens.tolist() == [[5, 6, 7], [1, 0, 0]]
    assert targets.tolist() == [[6, 7, 8], [2, IGNORE, IGNORE]]


def test_padding_is_the_pad_token():
    assert WORLD.tokenizer.ids[PAD] == 0


SOURCES = {
    "world": lambda: WorldBatches(World(), 8),
    "documents": lambda: DocumentBatches([[i, i + 1, i + 2, i + 3][:2 + i % 3] for i in range(12)], 4),
    "stream": lambda: StreamBatches(np.arange(1, 300), context=16, batch=8),
}
every_source = pytest.mark.parametrize("source", SOURCES)


@every_source
def test_a_batch_is_a_pure_function_of_the_step(source):
    batches, again = SOURCES[source](), SOURCES[source]()
    forwards = [batches.at(step) for step in range(8)]
    for step in reversed(range(8)):      # another object, another order of asking
        tokens, targets = again.at(step)
        assert np.array_equal(tokens, forwards[step][0]) and np.array_equal(targets, forwards[step][1])


@every_source
def test_another_step_gives_another_batch(source):
    batches = SOURCES[source]()
    assert not np.array_equal(batches.at(0)[0], batches.at(1)[0])


@every_source
def test_targets_are_the_tokens_that_follow(source):
    batches = SOURCES[source]()
    for step in range(4):
        assert_shifted(*batches.at(step))


@pytest.mark.parametrize("source", [source for source in SOURCES if source != "stream"])
def test_total_is_about_the_number_of_tokens_that_count_in_a_batch(source):
    batches = SOURCES[source]()
    counted = [np.count_nonzero(batches.at(step)[1] != IGNORE) for step in range(60)]
    assert batches.total == pytest.approx(np.mean(counted), rel=0.05)


def test_the_world_shows_a_single_novel_now_and_then():
    batches, novel = WorldBatches(WORLD, 3), WORLD.tokenizer.ids["<novel>"]
    novels = [np.count_nonzero(batches.at(step)[0] == novel) for step in range(2 * NOVEL_EVERY)]
    assert sum(novels) == 2 and max(novels) == 1


@pytest.mark.parametrize("n, batch", [(12, 4), (6, 6), (5, 1), (3, 10)])
def test_each_epoch_visits_every_document_once(n, batch):
    batches = DocumentBatches([[i, 100 + i, 200 + i] for i in range(n)], batch)
    per_epoch = n // min(n, batch)
    for epoch in range(3):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        assert sorted(int(i) for step in steps for i in batches.at(step)[0][:, 0]) == list(range(n))


def test_each_epoch_has_its_own_order():
    batches = DocumentBatches([[i, 100 + i] for i in range(12)], 12)
    assert batches.at(0)[0][:, 0].tolist() != batches.at(1)[0][:, 0].tolist()


def test_another_seed_gives_another_order():
    documents = [[i, 100 + i] for i in range(12)]
    first, second = (DocumentBatches(documents, 12, seed).at(0)[0] for seed in (0, 1))
    assert first.tolist() != second.tolist()


def test_windows_are_pieces_of_the_text():
    tokens, targets = StreamBatches(np.arange(50), context=8, batch=6).at(3)
    assert tokens.shape == (6, 8)
    assert (np.diff(tokens, axis=1) == 1).all() and np.array_equal(targets, tokens + 1)


def test_windows_reach_both_ends_of_the_text():
    batches = StreamBatches(np.arange(10), context=8, batch=16)
    assert set(batches.at(0)[0][:, 0]) == {0, 1}


def test_a_text_too_short_for_a_window_is_refused():
    StreamBatches(np.arange(9), context=8, batch=1).at(0)
    with pytest.raises(ValueError, match="8 tokens.*at least 9"):
        StreamBatches(np.arange(8), context=8, batch=1)
