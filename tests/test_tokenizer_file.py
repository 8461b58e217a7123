"""tokenizer.json: what minillm writes, the package `tokenizers` reads with the same ids; what minillm cannot read, it names."""

import json
import time

import numpy as np
import pytest
from any_text import NASTY, any_texts

from minillm.ground.files import CheckpointError
from minillm.hub.tokenizer_file import PRE_TOKENIZERS, read_tokenizer, write_tokenizer
from minillm.text.bpe import CHARACTERS, END_OF_TEXT, BPETokenizer
from minillm.text.bpe_learning import learn_bpe
from minillm.text.splitting import RULES
from minillm.text.tokenizer import CharTokenizer, IdTokenizer, WordTokenizer

SIGNS = (END_OF_TEXT, "<|im_start|>", "<|im_end|>")
TEXTS = any_texts(np.random.default_rng(3), 1000)
WHOLE = [text for text in TEXTS + NASTY if "\0" not in text]      # no file of minillm has a character or word with a null byte


def learned(rule, **more):
    tokenizer = learn_bpe(" ".join(any_texts(np.random.default_rng(5), 400)), 900, rule, SIGNS)
    return BPETokenizer(tokenizer.tokens, tokenizer.merges, rule, SIGNS, **{"end": END_OF_TEXT} | more)


def lacking(tokenizer, content, unknown=None):
    """A BPETokenizer without the tokens that have certain bytes."""
    gone = {CHARACTERS[byte] for byte in content}
    tokens = [token for token in tokenizer.tokens if token in SIGNS or not gone & set(token)]
    return BPETokenizer(tokens, [pair for pair in tokenizer.merges if not gone & set("".join(pair))], tokenizer.rule, SIGNS,
                        end=END_OF_TEXT, unknown=unknown)


OF_EACH_KIND = {rule: learned(rule) for rule in RULES} | {
    "llama3, whole pieces, with a sign for the beginning": learned("llama3", whole=True, begin="<|im_start|>", end="<|im_end|>"),
    "qwen2, normalized": learned("qwen2", nfc=True),
    "smollm2, without some bytes": lacking(learned("smollm2"), b"\xc0\xc1\xf1\xf2\xf3\xf4\x00\x1c\x7f\xcc"),
    "gpt2, with a sign for bytes that it lacks": lacking(learned("gpt2"), b"\xf0\xf1\x00\x7f\xcc", END_OF_TEXT),
    "characters": CharTokenizer.of("".join(WHOLE)),
    "words": WordTokenizer(dict.fromkeys(word for text in WHOLE for word in WordTokenizer.split(text)))}
every_kind = pytest.mark.parametrize("kind", OF_EACH_KIND)


def texts_for(kind):
    return WHOLE if kind in ("characters", "words") else TEXTS + NASTY


@every_kind
def test_what_was_written_is_read_again(kind, tmp_path):
    tokenizer = OF_EACH_KIND[kind]
    write_tokenizer(tokenizer, tmp_path / "tokenizer.json")
    again = read_tokenizer(tmp_path / "tokenizer.json")
    end = {} if kind in ("characters", "words") else {"end": SIGNS[0]}          # which the file has no place for
    assert type(again) is type(tokenizer) and again.to_json() == tokenizer.to_json() | end
    assert all(again.encode(text) == tokenizer.encode(text) for text in texts_for(kind)[:50])


def test_the_end_of_a_text_is_the_usual_sign_where_the_file_names_none(tmp_path):
    for signs, end in ((("<|a|>", "</s>"), "</s>"), (("</s>", END_OF_TEXT), END_OF_TEXT), (("<|a|>",), None)):
        write_tokenizer(BPETokenizer([*sorted(CHARACTERS), *signs], [], special=signs), tmp_path / "tokenizer.json")
        assert read_tokenizer(tmp_path / "tokenizer.json").to_json()["end"] == end


@every_kind
def test_the_package_tokenizers_gives_the_same_ids(kind, tmp_path):
    package = pytest.importorskip("tokenizers")
    write_tokenizer(OF_EACH_KIND[kind], tmp_path / "tokenizer.json")
    ours, theirs = read_tokenizer(tmp_path / "tokenizer.json"), package.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert len(NASTY) >= 50 and theirs.get_vocab_size() == len(ours)
    for text in texts_for(kind):
        ids = ours.encode(text)
        assert theirs.encode(text, add_special_tokens=False).ids == ids, text
        assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids), text
    begin = [] if ours.begin is None else [ours.begin]
    assert theirs.encode(TEXTS[1]).ids == begin + ours.encode(TEXTS[1])


@pytest.mark.parametrize("rule", RULES)
def test_the_package_tokenizers_learns_the_same(rule, tmp_path):
    package = pytest.importorskip("tokenizers")
    text = " ".join(TEXTS[:300]).replace(END_OF_TEXT, "")
    write_tokenizer(learn_bpe("", 300, rule), tmp_path / "tokenizer.json")
    theirs = package.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs.train_from_iterator([text], package.trainers.BpeTrainer(
        vocab_size=700, min_frequency=2, special_tokens=[END_OF_TEXT], initial_alphabet=sorted(CHARACTERS), show_progress=False))
    model, ours = json.loads(theirs.to_str())["model"], learn_bpe(text, 700, rule)
    assert model["vocab"] == ours.ids and [tuple(pair) for pair in model["merges"]] == ours.merges


# ---- what others write

@pytest.fixture
def file():
    """The content of a tokenizer.json, as a dictionary to change."""
    return json.loads(json.dumps(FILE))


def content_of(tokenizer, folder):
    write_tokenizer(tokenizer, folder / "tokenizer.json")
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def written(tmp_path_factory):
    FILE.update(content_of(learn_bpe("the mill turns, it turns " * 9, 275, special=SIGNS), tmp_path_factory.mktemp("file")))


FILE = {}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BOTH_ENDS = [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
             {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}]
ONCE = {"type": "TemplateProcessing", "single": BOTH_ENDS}


def read(file, folder):
    (folder / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
    return read_tokenizer(folder / "tokenizer.json")


def test_older_and_newer_ways_to_write_the_same_are_read(file, tmp_path):
    wanted = read(file, tmp_path).to_json()
    file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
    del file["model"]["type"], file["model"]["ignore_merges"]
    file["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    file["post_processor"] = BYTES
    file["added_tokens"] = [token | {"normalized": True} for token in file["added_tokens"]]
    assert read(file, tmp_path).to_json() == wanted


def test_the_signs_of_both_ends_are_those_of_the_template(file, tmp_path):
    file["post_processor"] = {"type": "Sequence", "processors": [BYTES, {"type": "TemplateProcessing", "single": BOTH_ENDS}]}
    tokenizer = read(file, tmp_path)
    assert (tokenizer.tokens[tokenizer.begin], tokenizer.tokens[tokenizer.end]) == ("<|im_start|>", "<|im_end|>")


def test_added_tokens_may_follow_the_vocabulary(file, tmp_path):
    n = len(file["model"]["vocab"])
    file["added_tokens"] += [{"id": n, "content": "<a b>"}, {"id": n + 1, "content": "<ü>"}]
    tokenizer = read(file, tmp_path)
    assert len(tokenizer) == n + 2 and tokenizer.encode("<a b><ü>") == [n, n + 1] and tokenizer.decode([n, n + 1]) == "<a b><ü>"


@pytest.mark.parametrize("place, value, words", [
    ("model.type", "Unigram", "its model is Unigram"), ("model.type", "WordPiece", "its model is WordPiece"),
    ("model.type", "WordLevel", "reads only what it has written"), ("model.type", 3, "model.type"),
    ("model.dropout", 0.1, "dropout"), ("model.continuing_subword_prefix", "##", "continuing_subword_prefix"),
    ("model.end_of_word_suffix", "</w>", "end_of_word_suffix"), ("model.merges", [["a", "q"]], "needs 'aq'"),
    ("model.merges", ["a"], "not of two tokens"), ("model.merges", [["a"]], "merges[0]"), ("model.vocab", {"a": 0, "b": 2}, "id"),
    ("model.vocab", {"a": -1}, "vocab.a"), ("model.vocab", [], "model.vocab"), ("normalizer", {"type": "Lowercase"}, "Lowercase"),
    ("normalizer", {"type": "Sequence", "normalizers": []}, "its normalizer is Sequence"), ("pre_tokenizer", None, "none"),
    ("pre_tokenizer", BYTES | {"add_prefix_space": True}, "add_prefix_space"),
    ("pre_tokenizer", {"type": "Whitespace"}, "Whitespace"),
    ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, BYTES]}, "Digits"),
    ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [3]}, "cuts texts by a rule"),
    ("truncation", {"max_length": 5}, "truncation"),
    ("padding", {"length": 5}, "padding"), ("post_processor", {"type": "BertProcessing"}, "BertProcessing"),
    ("post_processor", {"type": "TemplateProcessing", "single": [*BOTH_ENDS, BOTH_ENDS[2]]}, "more than one sign"),
    ("post_processor", {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "no"}}, BOTH_ENDS[1]]}, "'no'"),
    ("post_processor", {"type": "Sequence", "processors": [ONCE, ONCE]}, "has two templates"),
    ("post_processor", {"type": "TemplateProcessing", "single": BOTH_ENDS, "special_tokens": {"<|im_end|>": {"ids": [9]}}},
     "puts the id 9 for '<|im_end|>', which has another"),
    ("post_processor", {"type": "TemplateProcessing", "single": BOTH_ENDS, "special_tokens": {"<|im_end|>": {"ids": [1, 2]}}},
     "a list of 1"),
    ("pre_tokenizer", {"type": "Whitespace", "pretokenizers": [BYTES]}, "(Whitespace) cuts texts by a rule"),
    ("decoder", {"type": "Strip", "content": " ", "start": 1, "stop": 0}, "its decoder is Strip"), ("decoder", 3, "decoder is 3"),
    ("added_tokens", [{"id": 0, "content": END_OF_TEXT, "lstrip": True}], "lstrip"),
    ("added_tokens", [{"id": 7, "content": END_OF_TEXT}], "has the id 7"), ("added_tokens", [{"id": 1}], "content"),
    ("added_tokens", [{"id": 0, "content": END_OF_TEXT, "normalized": True}, {"id": 1, "content": SIGNS[1]}], "normalized"),
], ids=str)
def test_what_minillm_does_not_know_is_named(place, value, words, file, tmp_path):
    *way, name = place.split(".")
    inside = file
    for step in way:
        inside = inside[step]
    inside[name] = value
    with pytest.raises(CheckpointError) as error:
        read(file, tmp_path)
    assert str(tmp_path / "tokenizer.json") in str(error.value) and words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["byte_fallback", "fuse_unk"])
def test_other_ways_to_write_bytes_that_a_vocabulary_lacks_are_refused(name, file, tmp_path):
    file["model"][name] = True
    read(file, tmp_path)                                        # which lacks none
    small = content_of(BPETokenizer(sorted(CHARACTERS)[1:], []), tmp_path)
    small["model"][name] = True
    with pytest.raises(CheckpointError, match=f"lacks some bytes.*{name}"):
        read(small, tmp_path)


@pytest.mark.parametrize("token, words", [("a" * 1001, "of at most 1000 characters"), ("", "is empty"),
                                          ("\0", "whole characters"), ("\ud800", "whole characters")])
@pytest.mark.parametrize("kind", ["bpe", "char"])
@pytest.mark.parametrize("added", [False, True])
def test_a_token_that_no_file_of_minillm_could_hold_is_refused(token, words, kind, added, file, tmp_path):
    file = file if kind == "bpe" else content_of(CharTokenizer.of("abc"), tmp_path)
    n = len(file["model"]["vocab"])
    if added:
        file["added_tokens"].append({"id": n, "content": token})
        words = words if token or kind == "bpe" else "reads only what it has written"
    else:
        file["model"]["vocab"][token] = n
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    with pytest.raises(CheckpointError, match=words):
        read_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_of_a_simple_tokenizer_only_what_minillm_has_written_is_read(kind, tmp_path):
    """An added token would be found before all else, and a known token for the unknown would stand for it."""
    written = content_of(OF_EACH_KIND[kind], tmp_path)
    for change in ({"added_tokens": [{"id": len(written["model"]["vocab"]), "content": "the"}]}, {"decoder": BYTES},
                   {"normalizer": {"type": "NFC"}}, {"model": written["model"] | {"unk_token": "a"}}):
        with pytest.raises(CheckpointError, match="reads only what it has written"):
            read(written | change, tmp_path)


def test_a_model_without_a_tokenizer_has_none_to_write(tmp_path):
    with pytest.raises(ValueError, match="this model came without a tokenizer, so there is none to write"):
        write_tokenizer(IdTokenizer(7), tmp_path / "tokenizer.json")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"{}", b'{"model": {}}', b'{"model": null}',
    b'{"model": {"merges": [], "vocab": {}}}', b'{"model": ' + b"1" * 5000 + b"}"], ids=range(13))
def test_a_file_that_is_none_is_refused(content, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_tokenizer(tmp_path / "tokenizer.json")
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_a_file_far_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("minillm.hub.tokenizer_file.JSON_BYTES", 1000)
    (tmp_path / "tokenizer.json").write_bytes(b" " * 1001)
    with pytest.raises(CheckpointError, match="too large"):
        read_tokenizer(tmp_path / "tokenizer.json")


STRANGE = [None, True, -1, 0, 3, 1e300, 10 ** 30, "", "a", "Ġ", "\u20ac", "x" * 2000, "\0", [], [[]], ["a", "b"], {},
           {"type": "BPE"}, {"type": "Sequence"}, {"type": "Sequence", "processors": 3},
           {"type": "Sequence", "pretokenizers": {}}, {"a": {"b": []}}]


def mutated(value, rng):
    """Replace, remove or repeat a part somewhere in a value of JSON."""
    while isinstance(value, (dict, list)) and value:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[int(rng.integers(len(keys)))]
        if isinstance(value[key], (dict, list)) and value[key] and rng.random() < 0.8:
            value = value[key]
            continue
        kind = rng.integers(4)
        if kind == 0:
            del value[key]
        elif kind == 1 and isinstance(value, list):
            value.append(value[key])
        else:
            value[key] = STRANGE[int(rng.integers(len(STRANGE)))]
        return


def test_a_mutated_file_is_read_or_refused_in_a_sentence_and_soon(tmp_path):
    rng, refusals = np.random.default_rng(11), 0
    texts = json.dumps(FILE), json.dumps(content_of(CharTokenizer.of("abc"), tmp_path))
    start = time.process_time()
    for i in range(300):
        file = json.loads(texts[i % 2])
        for _ in range(int(rng.integers(1, 4))):
            mutated(file, rng)
        try:
            tokenizer = read(file, tmp_path)
        except CheckpointError as error:
            refusals += 1
            assert str(tmp_path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000
            continue
        if isinstance(tokenizer, BPETokenizer):
            tokenizer.decode(tokenizer.encode(NASTY[-1]))
        write_tokenizer(tokenizer, tmp_path / "again.json")
    assert 150 < refusals < 300 and time.process_time() - start < 30


def test_all_rules_can_be_written():
    assert PRE_TOKENIZERS.keys() == RULES.keys()
