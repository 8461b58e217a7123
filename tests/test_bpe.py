"""Byte-level BPE: every text comes back as it was, what is learned is what the definition learns, and nothing is unknown."""

import json
import re
import signal
import time
import unicodedata
from collections import Counter

import numpy as np
import pytest
from any_text import NASTY, any_texts
from commands import TINY, answer, refused, run

from minillm.ground.arrays import read_arrays, write_arrays
from minillm.runs.saved import load
from minillm.tasks import task_from_json, vocabulary
from minillm.tasks.evaluate import Score, evaluate_text
from minillm.tasks.pairs import PairTask
from minillm.tasks.text import TextTask, ids_of, loss_of_text
from minillm.tasks.vocabulary import BPE, TRAINING
from minillm.text import bpe, bpe_learning
from minillm.text.bpe import CHARACTERS, END_OF_TEXT, BPETokenizer, merged, merged_long
from minillm.text.bpe_learning import learn_bpe
from minillm.text.splitting import RULES, SPACE, category, compiled
from minillm.text.tokenizer import END
from minillm.train.trainer import Trainer

BOOK = "The mill turns, and the miller's men don't turn: it's 10 o'clock.\n\nThey turned the mill 100 times in 1999. " * 12
EVERYTHING = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF)


@pytest.fixture(scope="module")
def corpus():
    return BOOK + " ".join(any_texts(np.random.default_rng(5), 300))


@pytest.fixture(scope="module", params=RULES)
def tokenizer(request, corpus):
    return learn_bpe(corpus, 700, request.param)


# ---- the table of bytes, the rules

def test_each_byte_has_a_visible_character_of_its_own():
    assert len(set(CHARACTERS)) == 256 and all(character.isprintable() and character != " " for character in CHARACTERS)
    assert [CHARACTERS[byte] for byte in b"a \n\xff"] == ["a", "Ġ", "Ċ", "ÿ"]


@pytest.mark.parametrize("rule, text, pieces", [
    ("gpt2", "It's 10 o'clock,  isn't it?\n\n", "It|'s| 10| o|'|clock|,| | isn|'t| it|?|\n\n"),
    ("gpt2", "a½²x \x1c\x85y_", "a|½²|x| \x1c|\x85|y|_"),
    ("smollm2", "in 1999  12", "in| |1|9|9|9|  |1|2"),
    ("smollm2", "a  b", "a| | b"),
    ("llama3", "IT'S 12345!\n\n(now) \n x", "IT|'S| |123|45|!\n\n|(now|)| \n| x"),
    ("qwen2", "a 123", "a| |1|2|3")])
def test_where_the_rules_cut(rule, text, pieces):
    assert compiled(rule).findall(text) == pieces.split("|")


@pytest.mark.parametrize("rule", RULES)
def test_the_pieces_of_a_text_are_all_of_it(rule, rng):
    for text in [EVERYTHING[::5], *any_texts(rng, 100), *NASTY]:
        assert "".join(compiled(rule).findall(text)) == text


def test_letters_and_numerals_are_those_of_unicode():
    for letter in "LN":
        wanted = "".join(c for c in EVERYTHING if unicodedata.category(c)[0] == letter)
        assert "".join(re.findall(f"[{category(letter)}]+", EVERYTHING)) == wanted
    spaces = re.findall(f"[{SPACE}]", EVERYTHING)
    assert set(filter(str.isspace, EVERYTHING)) - set(spaces) == set("\x1c\x1d\x1e\x1f") and len(spaces) == 25


# ---- texts and ids

def test_every_text_comes_back_as_it_was(tokenizer, rng):
    for text in [*any_texts(rng, 300), *NASTY, EVERYTHING[::-29], BOOK]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and max(ids, default=0) < len(tokenizer)
        assert tokenizer.encode(text) == ids                                                   # now from the cache


def test_what_was_merged_is_shorter(tokenizer):
    assert len(tokenizer.encode(BOOK)) < len(BOOK) / 2.4
    assert tokenizer.encode(" mill") == [tokenizer.ids["Ġmill"]]


def test_merges_come_in_the_order_in_which_they_were_learned():
    tokenizer = BPETokenizer([*sorted(CHARACTERS), "bc", "ab", "abc"], [("b", "c"), ("a", "b"), ("a", "bc")])
    assert [tokenizer.tokens[i] for i in tokenizer.encode("abcab")] == ["abc", "ab"]
    assert [tokenizer.tokens[i] for i in tokenizer.encode("abb")] == ["ab", "b"]


def test_the_quick_way_to_merge_is_the_plain_one(rng):
    for _ in range(1000):
        pairs = [(int(a), int(b)) for a, b in rng.permutation([(a, b) for a in range(7) for b in range(7)])[:25]]
        merges = {pair: (rank, int(rng.integers(2, 7))) for rank, pair in enumerate(pairs)}
        ids = rng.integers(0, 4, int(rng.integers(0, 40))).tolist()
        assert merged_long(ids, merges) == merged(ids, merges)


def test_a_piece_without_an_end_takes_no_time_without_an_end(corpus):
    start, tokenizer = time.process_time(), learn_bpe(corpus, 500)
    for text in ("a" * 100_000, "ab" * 50_000, " " * 100_000, "!?" * 50_000):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    learned = learn_bpe("acgt" * 5000 + "ac" * 10_000, 400)
    assert learned.decode(learned.encode("acgt" * 100)) == "acgt" * 100
    assert max(map(len, learned.tokens)) <= bpe_learning.LONGEST
    assert time.process_time() - start < 20


def test_the_cache_of_pieces_is_bounded(tokenizer, monkeypatch):
    monkeypatch.setattr(bpe, "CACHED", 10)
    tokenizer._cache.clear()
    text = " ".join(map(str, range(500))) + "x" * 1000
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer._cache) <= 10 and max(map(len, tokenizer._cache)) <= bpe.SHORT


def test_the_ids_of_half_a_character_show_that_something_is_missing(tokenizer):
    first, last = tokenizer.byte_ids[0xC3], tokenizer.byte_ids[0xA9]
    assert tokenizer.decode([first, last]) == "\u00e9" and tokenizer.bytes_of([last]) == b"\xa9"
    assert tokenizer.decode([first]) == tokenizer.decode([last]) == "\ufffd"


def test_half_a_character_is_refused_in_a_sentence(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="half a character"):
        tokenizer.encode("a \ud800 b")
    (tmp_path / "it.jsonl").write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "\\ud800", "completion": "b"}\n')
    with pytest.raises(ValueError, match="line 2: the text holds half a character"):
        PairTask(tmp_path / "it.jsonl", tokenizer)


def test_special_tokens_are_found_before_all_else():
    tokenizer = BPETokenizer([*sorted(CHARACTERS), "<|a|>", "<|a|>b"], [], special=["<|a|>", "<|a|>b"])
    assert tokenizer.encode("<|a|>b<|a|>c<|a") == [257, 256, *tokenizer.encode("c<|a")]
    assert learn_bpe(f"ab{END_OF_TEXT}" * 50, 270).encode(END_OF_TEXT) == [0]


def test_a_tokenizer_without_a_sign_for_the_end_stays_one():
    none = BPETokenizer([*sorted(CHARACTERS), END_OF_TEXT], [], special=[END_OF_TEXT])
    assert none.end is None and BPETokenizer.from_json(json.loads(json.dumps(none.to_json()))).end is None
    assert learn_bpe("", 300).end == 0 and learn_bpe("", 300, special=["<|a|>"]).end is None
    assert learn_bpe("", 300, special=["<|a|>", END]).end == 1


def test_nfc_writes_equal_texts_with_equal_ids(tokenizer):
    nfc = BPETokenizer(**{**vars_of(tokenizer), "nfc": True})
    assert nfc.encode("cafe\u0301") == nfc.encode("caf\u00e9") == tokenizer.encode("caf\u00e9")


def vars_of(tokenizer):
    return {name: getattr(tokenizer, name) for name in ("tokens", "merges", "rule", "special", "whole", "nfc")}


def test_bytes_that_a_vocabulary_lacks_are_left_out():
    tokenizer = BPETokenizer([c for c in sorted(CHARACTERS) if c != CHARACTERS[0]], [])
    assert tokenizer.decode(tokenizer.encode("a\0b")) == "ab"
    marked = BPETokenizer(tokenizer.tokens, [], unknown="?")
    assert marked.decode(marked.encode("a\0b")) == "a?b"


# ---- learning

def learned_plainly(text, size, rule):
    """The definition: count all pairs anew, merge the most frequent one everywhere, of equal ones that of the smaller ids."""
    tokens = [END_OF_TEXT, *sorted(CHARACTERS)]
    pieces = Counter(compiled(rule).findall(text))
    words = {piece: [tokens.index(CHARACTERS[byte]) for byte in piece.encode()] for piece in pieces}
    merges = []
    while len(tokens) < size:
        counts = Counter()
        for piece, ids in words.items():
            for pair in zip(ids, ids[1:]):
                counts[pair] += pieces[piece]
        negative, pair = min(((-n, pair) for pair, n in counts.items()), default=(0, None))
        if negative > -2:
            break
        merges.append(tuple(tokens[i] for i in pair))
        tokens.append("".join(merges[-1]))
        for ids in words.values():
            i = 0
            while i < len(ids) - 1:
                if (ids[i], ids[i + 1]) == pair:
                    ids[i:i + 2] = [len(tokens) - 1]
                i += 1
    return tokens, merges


@pytest.mark.parametrize("rule", RULES)
def test_what_is_learned_is_what_the_definition_learns(rule, rng):
    letters = "".join(rng.choice(list("aaab "), 2000))
    for text, size in ((BOOK, 330), (letters, 320), (" ".join(any_texts(rng, 20)).replace(END_OF_TEXT, ""), 290), ("", 300)):
        tokenizer = learn_bpe(text, size, rule)
        assert (tokenizer.tokens, tokenizer.merges) == learned_plainly(text, size, rule)


def test_a_larger_vocabulary_begins_as_a_smaller_one_and_both_are_always_the_same(corpus):
    small, large = learn_bpe(corpus, 400), learn_bpe(corpus, 500)
    assert large.tokens[:400] == small.tokens and large.merges[:len(small.merges)] == small.merges
    assert learn_bpe(corpus, 500).to_json() == large.to_json()


def test_a_text_may_give_fewer_tokens_than_asked_for_but_never_less_than_the_bytes():
    assert len(learn_bpe("abab", 5000)) == 258
    with pytest.raises(ValueError, match="the bytes and special tokens alone are 257"):
        learn_bpe("abab", 256)


def test_of_far_too_many_pieces_the_frequent_ones_are_learned_from(monkeypatch):
    monkeypatch.setattr(bpe_learning, "MOST", 12)
    assert bpe_learning.frequent(Counter({" mill": 9, " rare": 1, " often": 5})) == {" mill": 9, " often": 5}
    assert bpe_learning.frequent(Counter({"the mill": 9, "the mills of": 5})) == {"the mill": 9}
    assert bpe_learning.frequent(Counter({"the ": 9, "mill": 8, "the mill turns": 1})) == {"the ": 9, "mill": 8}
    assert bpe_learning.frequent(Counter({"中国": 9, "人民": 5, "a": 2})) == {"中国": 9, "人民": 5}


def test_with_little_ram_fewer_pieces_are_learned_from(monkeypatch):
    monkeypatch.setattr(bpe_learning, "total_memory", lambda: 6 * bpe_learning.SHARE)
    assert bpe_learning.frequent(Counter({"mill": 9, "rare": 1})) == {"mill": 9}


# ---- files

@pytest.mark.parametrize("change, message", [
    ({"tokens": ["a", "b"]}, "special token"), ({"merges": ["a b c"]}, "not of two tokens"), ({"merges": ["ab"]}, "not of two"),
    ({"merges": ["Z Z"]}, "needs 'ZZ'"), ({"rule": "gpt9"}, "rule"), ({"special": ["<|no|>"]}, "special token '<|no|>'"),
    ({"special": [""]}, "special token ''"), ({"end": "<|no|>"}, "'<|no|>'"), ({"nfc": 1}, "nfc"),
    ({"size": 3}, "unknown")], ids=str)
def test_a_vocabulary_that_contradicts_itself_is_refused(change, message, house, tmp_path):
    arrays, meta = read_arrays(house / "book" / "pretrained.npz")
    write_arrays(tmp_path / "it.npz", arrays, meta | {"tokenizer": meta["tokenizer"] | change})
    err = refused(tmp_path, "generate", tmp_path / "it.npz", words=[str(tmp_path / "it.npz")])
    assert message in err


# ---- texts as tasks, and the commands

@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A folder with a text, a model of it that reads BPE, and one that reads characters."""
    folder = tmp_path_factory.mktemp("house")
    (folder / "book.txt").write_text(BOOK, encoding="utf-8")
    for name, kind in (("book", "bpe:size=300"), ("letters", "char")):
        code, _, err = run("pretrain", "--text", folder / "book.txt", "--tokenizer", kind, "--context", 12, *TINY, "--steps", 3,
                           "--out", folder / name)
        assert code == 0, err
    return folder


def test_a_tokenizer_that_is_given_is_used_and_none_is_learned(house):
    base = load(house / "book" / "pretrained.npz")
    task = TextTask(house / "book.txt", base.tokenizer)
    assert task.tokenizer is base.tokenizer and "tokenizer" not in task.to_json()
    assert base.task().tokenizer is base.tokenizer and "tokenizer" not in TextTask(house / "book.txt").to_json()
    assert TextTask(house / "book.txt", None, 1, BPE(300)).to_json()["tokenizer"] == base.meta["task"]["tokenizer"]


def test_the_same_text_is_kept_apart_whatever_the_tokens(house):
    letters, tokens = TextTask(house / "book.txt"), TextTask(house / "book.txt", vocabulary=BPE(300))
    text = letters.tokenizer.decode(letters.validation)
    kept = tokens.tokenizer.decode(tokens.validation)
    assert len(letters.train) == int(TRAINING * len(BOOK)) and len(kept) - len(text) in range(6) and kept.endswith(text)
    assert tokens.tokenizer.to_json() == learn_bpe(BOOK[:len(letters.train)], 300).to_json()
    assert tokens.ids.tolist() == tokens.tokenizer.encode(BOOK) == ids_of(BOOK, tokens.tokenizer).tolist()


def test_the_loss_is_told_per_token_character_and_byte(tmp_path, rng):
    (tmp_path / "text.txt").write_text("caf\u00e9 au lait \U0001f600 " * 60, encoding="utf-8")
    result = answer("pretrain", "--text", tmp_path / "text.txt", "--tokenizer", "bpe:size=265", "--context", 12, *TINY,
                    "--steps", 2, "--out", tmp_path)
    loaded = load(tmp_path / "pretrained.npz")
    task = loaded.task()
    score = evaluate_text(loaded.model, task.validation)
    counted = loaded.tokenizer.bytes_of(task.validation[1:])
    bits = score.loss * score.tokens / np.log(2)
    assert result["validation_loss"] == pytest.approx(score.loss) == pytest.approx(result["bits_per_token"] * np.log(2))
    assert result["bits_per_byte"] == pytest.approx(bits / len(counted))
    assert result["bits_per_character"] == pytest.approx(bits / len(counted.decode(errors="ignore")))
    assert result["bits_per_byte"] < result["bits_per_character"] < result["bits_per_token"]
    evaluated = answer("evaluate", tmp_path / "pretrained.npz")
    assert evaluated["bits_per_byte"] == pytest.approx(result["bits_per_byte"])


def test_a_base_with_bpe_reads_any_text_and_any_pairs(house, tmp_path):
    (tmp_path / "new.txt").write_text("Привет 你好 \U0001f600 " * 40, encoding="utf-8")
    (tmp_path / "new.jsonl").write_text('{"prompt": "मिल", "completion": "ß"}\n' * 4, encoding="utf-8")
    base, few = house / "book" / "pretrained.npz", ["--steps", 2, "--batch", 2, "--out", tmp_path]
    assert "bits_per_byte" in answer("evaluate", base, "--text", tmp_path / "new.txt")
    assert "bits_per_byte" in answer("finetune", "--base", base, "--text", tmp_path / "new.txt", "--name", "a", *few)
    code, _, err = run("finetune", "--base", base, "--pairs", tmp_path / "new.jsonl", "--method", "bitfit", "--name", "b", *few)
    assert code == 0 and not err.count("left out")
    for prompt in ("", "\u4e2d\u6587 "):
        code, out, _ = run("generate", tmp_path / "b.npz", "--base", base, "--prompt", prompt, "--tokens", 5)
        assert code == 0 and out.startswith(prompt)
    letters = house / "letters" / "pretrained.npz"
    refused(tmp_path, "evaluate", letters, "--text", tmp_path / "new.txt", words=["not in the vocabulary"])


def test_a_text_of_a_single_character_has_a_loss_too(house, tmp_path):
    (tmp_path / "it.txt").write_text("\U0001f600a", encoding="utf-8")
    task = TextTask(tmp_path / "it.txt", load(house / "book" / "pretrained.npz").tokenizer)
    told, bits = loss_of_text(Score(2.0, 3), task.ids[:4], task.tokenizer)
    assert "2.0000 nats per token" in told and bits["bits_per_byte"] == pytest.approx(2 / np.log(2))


def test_pairs_end_with_the_sign_for_the_end(house):
    tokenizer = load(house / "book" / "pretrained.npz").tokenizer
    (house / "pairs.jsonl").write_text('{"prompt": "the mill", "completion": " turns"}\n' * 2)
    ids, given = PairTask(house / "pairs.jsonl", tokenizer).train[0]
    assert tokenizer.decode(ids) == f"the mill turns{END_OF_TEXT}" and ids[-1] == tokenizer.end
    assert tokenizer.decode(ids[:given + 1]) == "the mill"


def test_a_run_with_bpe_goes_on_bit_for_bit_and_only_with_the_same_vocabulary(house, tmp_path, monkeypatch):
    whole = Trainer.step

    def step(self, tokens, targets):
        loss = whole(self, tokens, targets)
        if self.steps_done == 2:
            signal.raise_signal(signal.SIGINT)
        return loss

    command = ["pretrain", "--text", house / "book.txt", "--tokenizer", "bpe:size=300", "--context", 12, *TINY, "--steps", 3]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        assert run(*command, "--out", tmp_path)[0] == 130
    refused(tmp_path, *command[:3], "--tokenizer", "bpe:size=301", "--resume", "--out", tmp_path,
            words=["--tokenizer bpe:size=300"])
    assert run("pretrain", "--resume", "--out", tmp_path)[0] == 0
    (resumed, one), (straight, other) = read_arrays(tmp_path / "pretrained.npz"), read_arrays(house / "book" / "pretrained.npz")
    assert all(np.array_equal(resumed[name], straight[name]) for name in straight) and one["tokenizer"] == other["tokenizer"]
    learned = one["task"]["tokenizer"]
    assert learned == other["task"]["tokenizer"] and (learned["kind"], learned["size"]) == ("bpe", 300)


def test_another_vocabulary_than_before_is_another_run(house, monkeypatch):
    """As another version of Unicode might learn one."""
    task = TextTask(house / "book.txt", vocabulary=BPE(300))
    again = task_from_json(json.loads(json.dumps(task.to_json())))
    assert again.tokenizer.to_json() == task.tokenizer.to_json() and again.to_json() == task.to_json()
    monkeypatch.setattr(bpe_learning, "LEAST", 50)
    other = TextTask(house / "book.txt", vocabulary=BPE(300))
    assert other.to_json()["tokenizer"]["digest"] != task.to_json()["tokenizer"]["digest"]


@pytest.mark.parametrize("options, words", [
    (["--tokenizer", "bpee"], ["did you mean bpe", "char, bpe"]), (["--tokenizer", "bpe:size=3"], ["size of bpe is 3", "257"]),
    (["--tokenizer", "bpe:size=x"], ["a whole number"]), (["--tokenizer", "bpe:rank=3"], ["no option 'rank'", "size"]),
    (["--tokenizer", "char:size=3"], ["no options"]), (["--tokenizer", "bpe:size=99999999"], ["262,144"]),
    (["--tokenizer", "bpe:rank=3"], ["its only option is size"])], ids=str)
def test_a_tokenizer_that_cannot_be_is_refused(options, words, house, tmp_path):
    refused(tmp_path, "pretrain", "--text", house / "book.txt", *options, "--out", tmp_path / "new", words=words)


def test_tokens_that_no_file_could_hold_are_refused_before_training(house, tmp_path, monkeypatch):
    monkeypatch.setattr(vocabulary, "MOST_OF_FILE", 1e-5)
    refused(tmp_path, "pretrain", "--text", house / "book.txt", "--tokenizer", "bpe:size=300", "--out", tmp_path / "new",
            words=["300 tokens", "book.txt", "a smaller size="])


def test_a_tokenizer_is_for_a_text(tmp_path):
    refused(tmp_path, "pretrain", "--tokenizer", "bpe", "--out", tmp_path / "new", words=["--text FILE"])


def test_a_text_that_gives_fewer_tokens_says_so(tmp_path):
    (tmp_path / "it.txt").write_text("abcd " * 60)
    code, _, err = run("pretrain", "--text", tmp_path / "it.txt", "--tokenizer", "bpe", "--context", 12, *TINY, "--steps", 1,
                       "--out", tmp_path)
    n = len(load(tmp_path / "pretrained.npz").tokenizer)
    assert code == 0 and f"gives {n} tokens instead of 2,048" in err and n < 270


def test_a_text_that_gives_fewer_tokens_and_is_too_short_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "it.txt").write_text("abc")
    refused(tmp_path, "pretrain", "--text", tmp_path / "it.txt", "--tokenizer", "bpe", "--out", tmp_path / "new",
            words=["3 BPE tokens", "more than the context of 64"])


def test_the_json_of_a_tokenizer_is_small_enough_for_a_file(tokenizer):
    assert len(json.dumps(tokenizer.to_json())) < 60 * len(tokenizer)
