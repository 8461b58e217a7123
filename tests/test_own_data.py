"""A person's own files: what they are if no UTF-8 text, where they are when a model is moved, and that they are the same."""

import json
import shutil

import numpy as np
import pytest
from commands import TINY, answer, refused, run

from minillm.ground.arrays import read_arrays, write_arrays
from minillm.ground.files import CheckpointError
from minillm.runs.saved import load
from minillm.tasks import task_from_json
from minillm.tasks.evaluate import evaluate_text
from minillm.tasks.pairs import PairTask
from minillm.tasks.text import TextTask, ids_of, looks_like
from minillm.tasks.vocabulary import MOST_CHARACTERS
from minillm.text.tokenizer import CharTokenizer

WORDS = "It was the best of times, it was the worst of times \u2014 \u201cn\u00e4mlich\u201d. "


@pytest.mark.parametrize("content, message", [
    ("it\u2019s all ".encode("cp1252") * 30, "byte 2 is 0x92.*Windows-1252"),
    ("caf\u00e9 au lait".encode("latin-1") * 30, "Latin-1"), (WORDS.encode("utf-16"), "byte 0 is 0xff.*UTF-16"),
    (WORDS.encode("utf-16-le"), "UTF-16"),
    (b"plain old letters".decode().encode("utf-16-be"), "byte 0 is 0x00.*UTF-16"),
    (b"plain".decode().encode("utf-16-le"), "UTF-16"), (WORDS.encode("utf-32"), "UTF-32"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 30, "no text at all"), (bytes(range(256)) * 4, "no text"),
    (b"a\0b" + b"c" * 100, "0x00"), (b"", "is empty"), (b"\xef\xbb\xbf", "is empty")], ids=repr)
def test_a_text_in_another_encoding_is_named(content, message, tmp_path):
    (tmp_path / "it.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        TextTask(tmp_path / "it.txt")
    assert str(tmp_path / "it.txt") in str(error.value) and "\n" not in str(error.value)


def test_what_bytes_look_like_is_said_of_any_bytes(rng):
    assert {looks_like(rng.bytes(int(rng.integers(0, 300)))) for _ in range(300)} <= {
        "no text at all", "Windows-1252", "UTF-16", "UTF-32", "Latin-1 (ISO 8859-1)"}


@pytest.mark.parametrize("encode", [lambda text: text.encode(), lambda text: text.encode("utf-8-sig"),
                                    lambda text: text.replace("\n", "\r\n").encode(),
                                    lambda text: text.replace("\n", "\r").encode()])
def test_marks_and_ends_of_lines_of_other_systems_are_no_letters(encode, tmp_path):
    (tmp_path / "it.txt").write_bytes(encode(f"{WORDS}\n" * 20))
    task = TextTask(tmp_path / "it.txt")
    assert task.tokenizer.decode(task.ids.tolist()) == f"{WORDS}\n" * 20


def test_far_too_many_different_characters_are_no_text(tmp_path):
    (tmp_path / "it.txt").write_text("".join(map(chr, range(0x10000, 0x10000 + MOST_CHARACTERS + 1))), encoding="utf-8")
    with pytest.raises(ValueError, match="30,001 different characters"):
        TextTask(tmp_path / "it.txt")


def test_a_text_that_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("minillm.tasks.text.total_memory", lambda: 40_000)
    (tmp_path / "it.txt").write_text("ab" * 501)
    with pytest.raises(ValueError, match="too large for a text file.*more than 1,000 bytes"):
        TextTask(tmp_path / "it.txt")


def test_ids_of_a_long_text_are_made_in_pieces(monkeypatch):
    monkeypatch.setattr("minillm.text.tokenizer.PART", 7)
    tokenizer = CharTokenizer.of(WORDS)
    assert ids_of(WORDS, tokenizer).tolist() == tokenizer.encode(WORDS)


@pytest.mark.parametrize("n", [0, 1])
def test_a_text_too_short_to_judge_by_is_refused(n, rng):
    with pytest.raises(ValueError, match=f"the text has {n} token"):
        evaluate_text(None, np.zeros(n, int))


@pytest.mark.parametrize("line, message", [
    ('{"prompt": ' + "[" * 100_000, "nested too deeply|not JSON"), ('{"prompt": ' + "1" * 5000 + "}", "a number too long"),
    ('{"prompt": "\\ud800", "completion": "a"}', "not in the vocabulary"), ('{"prompt": "a", "completion": 1}', "two texts"),
    ('{"prompt": null, "completion": "a"}', "two texts"), ("NaN", "two texts"), ("[]", "two texts")], ids=range(7))
def test_a_line_that_is_no_pair_is_refused_with_its_number(line, message, tmp_path):
    (tmp_path / "it.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"line 2: .*({message})"):
        PairTask(tmp_path / "it.jsonl", CharTokenizer.of("ab\n"))


# ---- where it is when the model is elsewhere

@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A model, and the text and the pairs that it and its specialist have learned from, elsewhere."""
    folder = tmp_path_factory.mktemp("house")
    (folder / "texts").mkdir()
    (folder / "texts" / "book.txt").write_text("the mill turns and the river runs on. " * 30)
    pairs = [json.dumps({"prompt": f"{a}", "completion": f" {b}"}) for a in "amil" for b in "turns"]
    (folder / "texts" / "pairs.jsonl").write_text("\n".join(pairs))
    answer("pretrain", "--text", folder / "texts" / "book.txt", *TINY, "--context", 16, "--steps", 2,
           "--out", folder / "runs" / "book")
    answer("finetune", "--base", folder / "runs" / "book" / "pretrained.npz", "--pairs", folder / "texts" / "pairs.jsonl",
           "--method", "bitfit", "--steps", 2, "--batch", 2, "--name", "answers")
    return folder


@pytest.fixture
def moved(house, tmp_path):
    shutil.copytree(house, tmp_path / "house")
    return tmp_path / "house"


def test_a_model_says_where_its_text_is_as_seen_from_itself(house):
    for name, kind, file in (("pretrained", "text", "book.txt"), ("answers", "pairs", "pairs.jsonl")):
        task = load(house / "runs" / "book" / f"{name}.npz").meta["task"]
        assert task["kind"] == kind and task["path"] == f"../../texts/{file}" and len(task["digest"]) == 16
        assert str(house) not in json.dumps(load(house / "runs" / "book" / f"{name}.npz").meta)


@pytest.mark.parametrize("place", ["as it was", "beside the model", "here"])
@pytest.mark.parametrize("name", ["pretrained", "answers"])
def test_text_and_pairs_are_found_again(place, name, moved, house, monkeypatch):
    wanted = answer("evaluate", house / "runs" / "book" / f"{name}.npz")
    if place != "as it was":
        target = moved / "runs" / "book" if place == "beside the model" else moved
        for path in (moved / "texts").iterdir():
            shutil.move(path, target)
        monkeypatch.chdir(target if place == "here" else "/")
    result = answer("evaluate", moved / "runs" / "book" / f"{name}.npz")
    assert result["loss"] == wanted["loss"]


def test_a_text_that_is_gone_or_was_changed_is_not_judged_by(moved):
    model, text = moved / "runs" / "book" / "pretrained.npz", moved / "texts" / "book.txt"
    text.write_text(text.read_text() + " ")
    refused(moved, "evaluate", model, words=[str(model), "has changed since the model learned from it"])
    text.unlink()
    for command in (["evaluate"], ["sharpness"]):
        refused(moved, *command, model, words=[str(model), "there is no file", "beside the model"])
    code, out, _ = run("generate", model, "--tokens", 3, "--prompt", "the")      # which needs no text
    assert code == 0 and out.startswith("the")


@pytest.mark.parametrize("path", ["/dev/zero", "pipe", "../../texts", "x" * 5000, "", 7, None, ["a"]])
def test_a_model_cannot_make_a_reader_open_anything_else(path, moved):
    import os

    os.mkfifo(moved / "runs" / "book" / "pipe")
    file = moved / "runs" / "book" / "pretrained.npz"
    arrays, meta = read_arrays(file)
    write_arrays(file, arrays, meta | {"task": meta["task"] | {"path": path}})
    with pytest.raises(CheckpointError):
        load(file).task()


@pytest.mark.parametrize("task", [
    {}, {"kind": "poem"}, {"kind": ["text"]}, {"kind": "world"}, {"kind": "world", "seed": -1},
    {"kind": "world", "seed": 10 ** 400},
    {"kind": "novel", "seed": 1}, {"kind": "novel", "seed": 1, "documents": 0}, {"kind": "novel", "seed": 1, "documents": 2.5},
    {"kind": "text"}, {"kind": "pairs", "path": "x", "skip": 1}, {"kind": None}, [], None], ids=repr)
def test_facts_that_are_no_task_are_refused(task):
    with pytest.raises(ValueError, match="task|kind|path"):
        task_from_json(task)


def test_a_model_without_a_task_can_write_and_says_what_it_cannot(moved):
    file = moved / "runs" / "book" / "pretrained.npz"
    arrays, meta = read_arrays(file)
    write_arrays(file, arrays, {key: value for key, value in meta.items() if key != "task"})
    for command in ("evaluate", "sharpness"):
        refused(moved, command, file, words=["does not say what it has learned"])
    assert run("inspect", file)[0] == 0 and run("generate", file, "--tokens", 2, "--prompt", "t")[0] == 0
    assert answer("evaluate", file, "--text", moved / "texts" / "book.txt")["loss"] > 0
