"""The commands: what they promise they print, and what cannot be is refused in one sentence that harms nothing."""

import json
import math
import shlex
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from commands import TINY, answer, assert_one_sentence, refused, run, run_apart

from minillm import __version__, draw
from minillm.commands import COMMANDS
from minillm.commands.app import main, parser
from minillm.finetune import check
from minillm.finetune.methods import ALIASES, METHODS
from minillm.finetune.methods.lora import LowRank
from minillm.finetune.remedies import REMEDIES
from minillm.ground.arrays import read_arrays, write_arrays
from minillm.nn import GELU
from minillm.runs.saved import load
from minillm.tasks.evaluate import evaluate_text
from minillm.tasks.samples import flawless
from minillm.text.world import World


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with texts, tiny models of a text (book/) and of the toy world (world/), and specialists of both."""
    folder = tmp_path_factory.mktemp("shelf")
    rng = np.random.default_rng(0)
    words = "the mill turns and the river runs on under a grey sky while nobody looks".split()
    for name in ("book", "letters"):
        (folder / f"{name}.txt").write_text("\n".join(" ".join(rng.choice(words, 8)) for _ in range(40)))
    for args in [
        ("pretrain", "--text", folder / "book.txt", "--context", 16, *TINY, "--steps", 4, "--out", folder / "book"),
        ("finetune", "--base", folder / "book" / "pretrained.npz", "--text", folder / "letters.txt", "--steps", 3, "--batch", 3),
        ("finetune", "--base", folder / "book" / "pretrained.npz", "--text", folder / "letters.txt", "--steps", 3, "--batch", 3,
         "--method", "adapter:bottleneck=3"),
        ("pretrain", *TINY, "--steps", 4, "--out", folder / "world"),
        ("finetune", "--base", folder / "world" / "pretrained.npz", "--steps", 3, "--batch", 3, "--documents", 4),
        ("finetune", "--base", folder / "world" / "pretrained.npz", "--steps", 3, "--batch", 3, "--documents", 4,
         "--method", "adapter:bottleneck=3"),
    ]:
        code, _, err = run(*args)
        assert code == 0, err
    return folder


@pytest.fixture
def desk(shelf, tmp_path):
    """A copy of the shelf to spoil."""
    for path in shelf.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(shelf)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return tmp_path


# ---- help

@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_every_example_is_right(command, monkeypatch):
    code, out, _ = run(command, "--help")
    assert code == 0
    examples = [shlex.split(line)[1:] for line in out.split("examples:\n")[1].split("\n\n")[0].splitlines()]
    assert examples and all(example[0] == command for example in examples)
    for example in examples:
        assert parser().parse_args(example).command == command


def test_help_lists_every_command():
    code, out, _ = run("--help")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines() if line.startswith("    ") and line[4] != " "} == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_defaults_only_where_there_are_some(command):
    out = run(command, "--help")[1]
    assert ("(default: " in out) == (command not in ("merge", "export"))
    assert "default: None" not in out and "default: False" not in out


@pytest.mark.parametrize("command", ["finetune", "inspect", "compare"])
def test_help_lists_every_method_and_remedy_with_its_options(command):
    out = run(command, "--help")[1]
    listed = {line.split()[0]: line for line in out.split("methods, with their options")[1].splitlines()[1:] if line[:2] == "  "}
    assert listed.keys() == METHODS.keys() | ALIASES.keys() | REMEDIES.keys()
    for kind in (*METHODS.values(), *REMEDIES.values()):
        assert all(f" {field.name}=" in listed[kind.method] for field in fields(kind))
    for name, text in ALIASES.items():
        assert text in listed[name]


def test_version():
    assert run("--version") == (0, f"minillm {__version__}\n", "")
    assert run_apart("--version") == (0, f"minillm {__version__}\n", "")


@pytest.mark.parametrize("args", [[], ["pretain"], ["pretrain", "--stesp", "3"], ["finetune"], ["evaluate"], ["generate"],
                                  ["surface"]], ids=" ".join)
def test_what_is_no_command_is_refused(args):
    code, out, err = run(*args)
    assert code == 2 and "error: " in err and not out


# ---- what is promised

def test_pretrain_answers(shelf, tmp_path):
    text = answer("pretrain", "--text", shelf / "book.txt", "--context", 16, *TINY, "--steps", 3, "--out", tmp_path)
    assert text.keys() >= {"validation_loss", "seconds", "trainable_parameters", "total_parameters"}
    assert 0 < text["validation_loss"] < 10 and text["seconds"] > 0
    assert text["bits_per_character"] == pytest.approx(text["validation_loss"] / math.log(2))
    assert text["total_parameters"] == sum(p.size for p in load(tmp_path / "pretrained.npz").model.parameters().values())
    world = answer("pretrain", *TINY, "--steps", 2, "--out", tmp_path / "world")
    assert world.keys() >= {"validation_loss", "seconds", "domains"} and len(world["domains"]) == 7
    losses = [score["loss"] for name, score in world["domains"].items() if name != "novel"]
    assert min(losses) < world["validation_loss"] < max(losses)


@pytest.mark.parametrize("method, trains", [("full", 1.0), ("frozen", 0.5), ("adapter:bottleneck=3", 0.3)])
def test_finetune_answers_and_says_what_will_train(method, trains, shelf, tmp_path):
    args = ["finetune", "--base", shelf / "book" / "pretrained.npz", "--method", method, "--text", shelf / "letters.txt",
            "--steps", 3, "--batch", 3, "--out", tmp_path]
    result = answer(*args)
    assert result.keys() >= {"validation_loss", "seconds"} and result["validation_loss"] > 0
    share = result["trainable_parameters"] / result["total_parameters"]
    assert share == 1 if method == "full" else 0 < share < trains
    _, out, _ = run(*args)
    assert "this will train" in out and f"{result['trainable_parameters']:,d}" in out
    name = method.split(":")[0]
    assert (tmp_path / f"{name}.npz").exists() and (tmp_path / f"{name}.trajectory.npz").exists()


def test_the_chosen_patterns_train_and_nothing_else(shelf, tmp_path):
    result = answer("finetune", "--base", shelf / "world" / "pretrained.npz", "--method",
                    "frozen:train=blocks.-1.mlp.*+ln_f.bias", "--steps", 2, "--batch", 3, "--documents", 4, "--out", tmp_path)
    assert result["trainable_parameters"] == 8 * 12 * 12 + 5 * 12 + 12
    before, after = (load(path).model.state_dict() for path in (shelf / "world" / "pretrained.npz", tmp_path / "frozen.npz"))
    for name, array in after.items():
        assert np.array_equal(array, before[name]) != (name.startswith("blocks.1.mlp.") or name == "ln_f.bias"), name


def test_evaluate_answers(shelf):
    world = answer("evaluate", shelf / "world" / "pretrained.npz", "--documents", 3, "--samples", 2)
    assert world.keys() >= {"loss", "tokens", "domains", "seconds"} and len(world["domains"]) == 7
    assert world["tokens"] == sum(score["tokens"] for score in world["domains"].values())
    total = sum(score["loss"] * score["tokens"] for score in world["domains"].values())
    assert world["loss"] == pytest.approx(total / world["tokens"])
    for score in world["domains"].values():
        assert score["loss"] - score["floor"] == pytest.approx(score["excess"])
    adapter = answer("evaluate", shelf / "world" / "adapter.npz", "--documents", 3, "--samples", 1)
    assert adapter["tokens"] == world["tokens"] and adapter["loss"] != world["loss"]


def test_evaluate_counts_the_texts_without_a_mistake(shelf):
    path = shelf / "world" / "adapter.npz"
    loaded, few = load(path), ["--documents", 2, "--samples", 3]
    counted = flawless(loaded.model, World(1), "novel", 3, 0.7)
    domains, (_, out, _) = answer("evaluate", path, *few)["domains"], run("evaluate", path, *few)
    assert all(score["flawless"].keys() == {"1", "0.7"} for score in domains.values())
    assert domains["novel"]["flawless"]["0.7"] == counted.to_json() and f"{counted}" in out and "flawless at 0.7" in out
    none = ["--documents", 2, "--samples", 0]
    assert "flawless" not in run("evaluate", path, *none)[1]
    assert not any("flawless" in score for score in answer("evaluate", path, *none)["domains"].values())


def test_evaluate_of_a_text(shelf):
    loaded = load(shelf / "book" / "pretrained.npz")
    ids = np.array(loaded.tokenizer.encode((shelf / "letters.txt").read_text()))
    result = answer("evaluate", shelf / "book" / "pretrained.npz", "--text", shelf / "letters.txt")
    assert result["tokens"] == len(ids) - 1 and result["loss"] == pytest.approx(evaluate_text(loaded.model, ids).loss, rel=1e-6)


def test_evaluate_of_a_model_of_a_text_is_by_default_on_what_its_training_kept_apart(shelf):
    loaded = load(shelf / "book" / "full.npz")
    ids = np.array(loaded.tokenizer.encode((shelf / "letters.txt").read_text()))
    kept_apart = ids[int(0.9 * len(ids)):]
    result = answer("evaluate", shelf / "book" / "full.npz")
    assert result["tokens"] == len(kept_apart) - 1
    assert result["loss"] == pytest.approx(evaluate_text(loaded.model, kept_apart).loss, rel=1e-6)


def test_evaluate_in_a_process_of_its_own(shelf):
    code, out, err = run_apart("evaluate", shelf / "world" / "adapter.npz", "--documents", 2, "--samples", 0, "--json")
    assert code == 0 and json.loads(out.splitlines()[-1])["loss"] > 0 and err == ""


def test_generate_is_seeded_and_keeps_the_prompt(shelf):
    args = ["generate", shelf / "book" / "pretrained.npz", "--prompt", "the mill turns and the river runs on", "--tokens", 20]
    one, again, other = (run(*args, "--seed", seed) for seed in (1, 1, 2))
    assert one == again and one[0] == 0 and one[1] != other[1]
    assert one[1].startswith("the mill turns and the river runs on") and len(one[1].rstrip("\n")) >= 36
    greedy = {run(*args, "--seed", seed, "--temperature", 0)[1] for seed in (1, 2)}
    assert len(greedy) == 1 and greedy == {run(*args, "--top-k", 1)[1]}


def test_generate_writes_as_many_texts_as_asked(shelf):
    code, out, _ = run("generate", shelf / "world" / "full.npz", "--prompt", "<novel>", "--tokens", 12, "--count", 3)
    assert code == 0 and len(out.splitlines()) == 3 and "<begin>" not in out and "<end>" not in out
    assert run("generate", shelf / "book" / "adapter.npz", "--tokens", 5)[0] == 0      # with no prompt at all


def test_generate_answers(shelf):
    result = answer("generate", shelf / "world" / "full.npz", "--prompt", "<novel>", "--tokens", 5, "--count", 2)
    assert isinstance(result, dict) and result


def test_surface_answers(desk, monkeypatch):
    for name in ("animate", "player", "relief"):
        monkeypatch.setattr(draw, name, lambda surface, path, dark: None)
    result = answer("surface", desk / "world", "--grid", 3, "--plots", desk / "plots")
    assert result.keys() >= {"distances", "cosines", "max_residual", "seconds", "gap"}
    assert result["distances"].keys() == {"full", "adapter"} and 0 < result["max_residual"] <= 1
    assert list((desk / "world" / "surfaces").glob("three-*.npz"))
    assert (desk / "plots" / "surface.png").read_bytes().startswith(b"\x89PNG")


def test_gradcheck_answers_and_finds_a_wrong_gradient(monkeypatch):
    result = answer("gradcheck")
    assert result["max_relative_error"] == max(result["errors"].values()) < 1e-7 and len(result["errors"]) > 30
    assert {name.split(":")[0] for name in result["errors"]} >= METHODS.keys()
    right = GELU.backward
    monkeypatch.setattr(check, "CHECKED", [])
    monkeypatch.setattr(GELU, "backward", lambda self, dout, cache: 1.001 * right(self, dout, cache))
    code, out, _ = run("gradcheck")
    assert code == 1 and "WRONG" in out
    monkeypatch.setattr(GELU, "backward", right)
    right = LowRank.backward
    monkeypatch.setattr(check, "CHECKED", ["lora"])                # and nothing else, which takes time
    monkeypatch.setattr(LowRank, "backward", lambda self, dout, cache: right(self, 1.001 * dout, cache))
    code, out, _ = run("gradcheck")
    assert code == 1 and all("lora" in line for line in out.splitlines() if "WRONG" in line)


# ---- texts that are none

BAD_TEXTS = {
    "missing": (None, ["there is no file"]),
    "empty": (b"", ["is empty"]),
    "one character": (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ["one character over and over"]),
    "latin-1": ("caf\u00e9 au lait, ".encode("latin-1") * 30, ["is not UTF-8 text", "0xe9"]),
    "a picture": (b"\x89PNG\r\n\x1a\n" * 30, ["is not UTF-8 text"]),
    "shorter than the context": (b"a short letter", ["has 14 characters", "smaller context"]),
    "two characters": (b"ab", ["has 2 characters"]),
}


@pytest.mark.parametrize("content, words", BAD_TEXTS.values(), ids=BAD_TEXTS)
@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_a_bad_text_is_refused(command, content, words, desk):
    text = desk / "bad.txt"
    if content is not None:
        text.write_bytes(content)
    more = ["--out", desk / "book"] if command == "pretrain" else ["--base", desk / "book" / "pretrained.npz"]
    if command == "finetune" and content in (b"ab", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"):
        words = []                                               # letters unknown to the base are as good a reason
    err = refused(desk, command, "--text", text, "--steps", 2, *more, words=words)
    assert str(text) in err or "not in the vocabulary" in err


@pytest.mark.parametrize("content, words", [BAD_TEXTS[name] for name in ("missing", "empty", "latin-1")])
def test_a_bad_text_is_not_evaluated(content, words, desk):
    if content is not None:
        (desk / "bad.txt").write_bytes(content)
    refused(desk, "evaluate", desk / "book" / "pretrained.npz", "--text", desk / "bad.txt", words=words)


def test_a_folder_is_no_text(desk):
    for args in (["pretrain", "--out", desk / "book"], ["finetune", "--base", desk / "book" / "pretrained.npz"],
                 ["evaluate", desk / "book" / "pretrained.npz"]):
        refused(desk, *args, "--text", desk, words=["is a folder"])


def test_a_text_with_unknown_letters_is_refused(desk):
    (desk / "new.txt").write_text("the mill \u00e9t\u00e9 " * 30, encoding="utf-8")
    for args in (["finetune", "--base", desk / "book" / "pretrained.npz"], ["evaluate", desk / "book" / "pretrained.npz"]):
        refused(desk, *args, "--text", desk / "new.txt", words=["'\u00e9' is not in the vocabulary"])


def test_a_model_of_a_text_needs_a_text_to_be_tuned_on(desk):
    refused(desk, "finetune", "--base", desk / "book" / "pretrained.npz", words=["--text"])


# ---- files that are no models

def spoil(path, how):
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "a text":
        path.write_text("not a model\n" * 20)
    elif how == "of another format":
        arrays, meta = read_arrays(path)
        write_arrays(path, arrays, meta | {"format": 99})
    elif how == "a trajectory":
        path.write_bytes(path.with_name("full.trajectory.npz").read_bytes())
    elif how == "a folder":
        path.unlink()
        path.mkdir()


SPOILED = {"missing": "there is no file", "truncated": "not a whole checkpoint", "empty": "not a whole checkpoint",
           "a text": "not a whole checkpoint", "of another format": "has format 99", "a trajectory": "trajectory",
           "a folder": "is a folder"}


@pytest.mark.parametrize("how, phrase", SPOILED.items(), ids=SPOILED)
@pytest.mark.parametrize("command", ["evaluate", "generate", "finetune"])
def test_what_is_no_model_is_refused(command, how, phrase, desk):
    path = desk / "book" / "pretrained.npz"
    spoil(path, how)
    args = [command, "--base", path, "--text", desk / "letters.txt", "--steps", 1] if command == "finetune" else [command, path]
    refused(desk, *args, words=[str(path), phrase])


@pytest.mark.parametrize("how, phrase", SPOILED.items(), ids=SPOILED)
@pytest.mark.parametrize("name", ["pretrained.npz", "full.npz", "adapter.npz"])
def test_a_surface_of_what_is_no_model_is_refused(name, how, phrase, desk):
    spoil(desk / "world" / name, how)
    err = refused(desk, "surface", desk / "world", "--models", "full", "adapter", "--grid", 3, "--plots", desk / "plots")
    assert name in err and not (desk / "plots").exists()


def test_a_surface_of_no_folder_is_refused(desk):
    refused(desk, "surface", desk / "nowhere", "--plots", desk / "plots", words=["nowhere"])
    refused(desk, "surface", desk / "book.txt", "--plots", desk / "plots", words=["book.txt"])


def test_an_adapter_with_another_base_is_refused(desk):
    other = desk / "other"
    assert run("pretrain", "--text", desk / "book.txt", "--context", 16, *TINY, "--steps", 2, "--seed", 9, "--out", other)[0] == 0
    adapter = desk / "book" / "adapter.npz"
    for command in ("evaluate", "generate"):
        words = ["another base", "fingerprints differ", "--base"]
        refused(desk, command, adapter, "--base", other / "pretrained.npz", words=words)
    assert run("generate", adapter, "--base", desk / "book" / "pretrained.npz", "--tokens", 2)[0] == 0


def test_an_adapter_without_its_base_is_refused_until_told_where_it_is(desk):
    base, adapter = desk / "book" / "pretrained.npz", desk / "book" / "adapter.npz"
    base.rename(desk / "moved.npz")
    refused(desk, "evaluate", adapter, words=["its base model is not at", "--base"])
    assert run("evaluate", adapter, "--base", desk / "moved.npz", "--text", desk / "letters.txt")[0] == 0


def test_an_adapter_is_no_base(desk):
    refused(desk, "finetune", "--base", desk / "world" / "adapter.npz", "--steps", 1, "--method", "full", words=["adapter"])


# ---- options that cannot be

@pytest.mark.parametrize("options, words", [
    (["--width", 0], ["--width", "at least 1"]), (["--layers", -1], ["--layers", "at least 1"]),
    (["--steps", 0], ["at least 1"]),
    (["--batch", 0], ["at least 1"]), (["--heads", 0], ["at least 1"]), (["--context", 1], ["at least 2"]),
    (["--lr", "nan"], ["--lr", "nan"]), (["--lr", -1], ["--lr", "above 0"]), (["--lr", 0], ["above 0"]),
    (["--lr", "fast"], ["'fast'"]),
    (["--lr", "inf"], ["--lr", "inf"]), (["--width", "twelve"], ["'twelve'"]), (["--width", 12.5], ["12.5"]),
    (["--steps", 10 ** 9], ["at most"]),
    (["--steps", "9" * 400], ["at most"]), (["--seed", -1], ["at least 0"]), (["--seed", 2 ** 32], ["at most"]),
    (["--workers", 0], ["at least 1"]), (["--workers", 10 ** 6], ["at most"]), (["--optimizer", "adam"], ["'adam'", "adamw"]),
    (["--width", 12, "--heads", 5], ["12", "5", "multiple"]), (["--save-every", 0], ["at least 1"])],
    ids=lambda value: " ".join(map(str, value))[:25])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_impossible_options_are_refused(options, words, desk):
    small = ["--layers", 1, "--heads", 1, "--width", 8, "--context", 8, "--steps", 3, "--batch", 2]
    refused(desk / "book", "pretrain", "--text", desk / "book.txt", "--out", desk / "book", *small, *options, words=words)


@pytest.mark.parametrize("options, words", [
    (["--method", "telepathy"], ["'telepathy'", "adapter"]), (["--method", "adapter:bottleneck=0"], ["at least 1"]),
    (["--method", "frozen:train=block.0.*"], ["'block.0.*' matches no parameter"]),
    (["--method", "frozen:train=ln_f.*+blocks.7.*"], ["'blocks.7.*' matches no parameter"]),
    (["--method", "frozen:train=blocks.-3.*"], ["'blocks.-3.*' matches no parameter"]),
    (["--documents", 0], ["at least 1"])], ids=str)
def test_impossible_recipes_are_refused(options, words, desk):
    refused(desk, "finetune", "--base", desk / "world" / "pretrained.npz", "--steps", 1, *options, words=words)


@pytest.mark.parametrize("options, words", [
    (["--prompt", "the mill \u00fcber"], ["'\u00fc' is not in the vocabulary"]), (["--temperature", -1], ["at least 0"]),
    (["--temperature", "nan"], ["nan"]), (["--top-k", 0], ["at least 1"]), (["--top-p", 0], ["above 0"]),
    (["--top-p", 1.5], ["at most 1"]), (["--tokens", 0], ["at least 1"]), (["--count", -2], ["at least 1"])], ids=str)
def test_impossible_wishes_are_refused(options, words, desk):
    refused(desk, "generate", desk / "book" / "pretrained.npz", *options, words=words)


def test_a_word_outside_the_vocabulary_is_named(desk):
    refused(desk, "generate", desk / "world" / "full.npz", "--prompt", "<novel> upon one zebra", words=["'zebra'", "vocabulary"])


@pytest.mark.parametrize("grid", [0, 2, -5, 10_000])
def test_an_impossible_grid_is_refused(grid, desk):
    refused(desk, "surface", desk / "world", "--grid", grid, words=["--grid"])


@pytest.mark.parametrize("options", [["--width", 100_000, "--layers", 1000], ["--width", 20_000], ["--batch", 10_000_000],
                                     ["--context", 1_000_000]], ids=str)
def test_what_does_not_fit_into_memory_is_refused(options, desk):
    code, _, err = run_apart("pretrain", "--out", desk / "huge", *options, memory=3 * 2 ** 30)
    assert_one_sentence(code, err, "pretrain", ["GB"])
    assert not (desk / "huge" / "pretrained.npz").exists()


def test_a_batch_that_does_not_fit_into_memory_is_refused_in_finetuning_too(desk):
    code, _, err = run_apart("finetune", "--base", desk / "book" / "pretrained.npz", "--text", desk / "letters.txt",
                             "--batch", 10_000_000, "--steps", 1, memory=2 ** 30)
    assert_one_sentence(code, err, "finetune", ["GB"])


# ---- places that cannot be written

@pytest.mark.parametrize("out", ["taken", "taken/below"])
def test_a_file_where_a_folder_is_expected(out, desk):
    (desk / "taken").write_text("mine")
    args = ["--text", desk / "book.txt", "--context", 16, "--steps", 1]
    refused(desk, "pretrain", *args, *TINY, "--out", desk / out, words=[str(desk / "taken")])
    refused(desk, "finetune", "--base", desk / "book" / "pretrained.npz", "--text", desk / "letters.txt", "--steps", 1,
            "--out", desk / out, words=[str(desk / "taken")])


def test_a_file_where_the_folder_for_pictures_is_expected(desk):
    (desk / "taken").write_text("mine")
    code, _, err = run("surface", desk / "world", "--grid", 3, "--plots", desk / "taken")
    assert_one_sentence(code, err, "surface", [str(desk / "taken")])
    assert (desk / "taken").read_text() == "mine"


@pytest.mark.parametrize("args", [["finetune", "--base", "nowhere/pretrained.npz"],
                                  ["pretrain", "--text", "nothing.txt", "--out", "nowhere"]])
def test_a_slip_leaves_no_empty_folder_behind(args, desk, monkeypatch):
    monkeypatch.chdir(desk)
    assert run(*args)[0] == 2
    assert not Path("nowhere").exists()


# ---- a loss that is no number

HOPELESS = ["--optimizer", "sgd", "--lr", "1e30", "--context", 16, *TINY]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_is_reported_with_its_step_and_the_old_model_is_kept(desk):
    before = (desk / "book" / "pretrained.npz").read_bytes()
    code, _, err = run("pretrain", "--text", desk / "book.txt", *HOPELESS, "--steps", 20, "--out", desk / "book")
    assert_one_sentence(code, err, "pretrain", ["NaN or infinite at step 2", "lower learning rate"])
    assert (desk / "book" / "pretrained.npz").read_bytes() == before


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_advice_after_divergence_can_be_followed(desk):
    """The same command with a lower learning rate works, or the first message says what must be removed before."""
    args = ["pretrain", "--text", desk / "book.txt", "--steps", 5, "--out", desk / "new", *HOPELESS]
    code, _, advice = run(*args)
    assert code == 2
    code, _, err = run(*args, "--lr", 0.01)
    assert code == 0 or "pretrained.training.npz" in advice, err


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_in_the_very_last_step_is_reported_too(desk):
    before = (desk / "book" / "pretrained.npz").read_bytes()
    code, _, err = run("pretrain", "--text", desk / "book.txt", *HOPELESS, "--steps", 1, "--out", desk / "book")
    assert_one_sentence(code, err, "pretrain", ["NaN or infinite"])
    assert (desk / "book" / "pretrained.npz").read_bytes() == before


def test_divergence_is_reported_in_one_sentence_without_warnings_around_it(desk):
    code, _, err = run_apart("pretrain", "--text", desk / "book.txt", *HOPELESS, "--steps", 20, "--out", desk / "new")
    assert_one_sentence(code, err, "pretrain", ["step 2"])


def test_bad_input_in_a_process_of_its_own(desk):
    code, out, err = run_apart("evaluate", desk / "missing.npz")
    assert_one_sentence(code, err, "evaluate", ["there is no file"])
    assert out == ""


def test_whoever_asks_gets_the_traceback(desk, monkeypatch):
    monkeypatch.setenv("MINILLM_DEBUG", "1")
    with pytest.raises(ValueError, match="there is no file"):
        main(["evaluate", str(desk / "missing.npz")])
