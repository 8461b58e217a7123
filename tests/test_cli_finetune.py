"""The commands around fine-tuning: each method by its name, looked at before, judged, merged, compared; and every slip told."""

import json
import re
from importlib import import_module

import numpy as np
import pytest
from commands import TINY, answer, assert_one_sentence, refused, run, run_apart, snapshot
from tables import and_all_methods, and_all_remedies

from minillm.finetune.methods import METHODS, recipe_of, to_json
from minillm.finetune.remedies import REMEDIES, Remedy, remedy_of
from minillm.finetune.spec import text_of
from minillm.finetune.specialist import prepare
from minillm.ground.arrays import read_arrays, write_arrays
from minillm.runs.finetuning import finetune
from minillm.runs.saved import load
from minillm.tasks.special import SPECIALITIES
from minillm.text.domains import NAMES, PLACES, THINGS

FEW = ["--steps", 2, "--batch", 3]
QUICK = [*FEW, "--documents", 4]
TOKENS = np.arange(24).reshape(2, 12) % 60
COMMAND = import_module("minillm.commands.finetune")


def pairs(n):
    """Lines of JSONL in the words of the toy world."""
    return [json.dumps({"prompt": f"{NAMES[i % 12]} had the {THINGS[i]} at the", "completion": f"{PLACES[i % 12]} ."})
            for i in range(n)]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Models of the toy world and of a text, adapters for the first, and pairs for both."""
    folder, rng = tmp_path_factory.mktemp("shelf"), np.random.default_rng(0)
    words = "the mill turns and the river runs on under a grey sky while nobody looks".split()
    (folder / "book.txt").write_text("\n".join(" ".join(rng.choice(words, 8)) for _ in range(40)))
    (folder / "riddles.jsonl").write_text("\n".join(pairs(20)))
    (folder / "letters.jsonl").write_text("\n".join(json.dumps({"prompt": f"{word} ", "completion": "turns"}) for word in words))
    base = folder / "world" / "pretrained.npz"
    for args in [("pretrain", *TINY, "--steps", 3, "--out", folder / "world"),
                 ("pretrain", "--text", folder / "book.txt", "--context", 24, *TINY, "--steps", 3, "--out", folder / "book"),
                 ("finetune", "--base", base, *QUICK), ("finetune", "--base", base, *QUICK, "--method", "lora:rank=2"),
                 ("finetune", "--base", base, *QUICK, "--method", "adapter:bottleneck=3")]:
        code, _, err = run(*args)
        assert code == 0, err
    return folder


@pytest.fixture
def base(shelf):
    return shelf / "world" / "pretrained.npz"


@pytest.fixture
def desk(shelf, tmp_path):
    """A copy of the shelf to spoil."""
    for path in shelf.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(shelf)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return tmp_path


def logits(path):
    return load(path).model.logits(TOKENS)


# ---- finetune

SPECS = and_all_methods(
    "full:decay=2", "ulmfit", "frozen:train=first+ln_f.bias", "bitfit", "norms", "head:norm=no", "adapter:bottleneck=3,blocks=-1",
    "pfeiffer:bottleneck=2", "parallel:bottleneck=2,scale=0.5", "lora:rank=2,targets=q+v", "lora:rank=3,rs=yes", "dora:rank=2",
    "ia3", "prefix:tokens=3", "prompt:tokens=3,start=noise")


@pytest.mark.parametrize("method", SPECS)
def test_every_method_by_its_name(method, base, tmp_path, monkeypatch):
    """What was said to train has trained, and nothing else; the file is used by all other commands."""
    made = []
    monkeypatch.setattr(COMMAND, "finetune", lambda *args, **options: made.append(finetune(*args, **options)) or made[-1])
    result = answer("finetune", "--base", base, *QUICK, "--method", method, "--out", tmp_path)
    recipe = recipe_of(method)
    path = tmp_path / f"{method.partition(':')[0]}.npz"
    loaded, before = load(path), load(base).model.state_dict()
    start = prepare(load(base).model, recipe, 1)
    assert loaded.meta["recipe"] == json.loads(json.dumps(to_json(recipe)))
    assert loaded.meta["kind"] == ("model" if recipe.stands_alone else "adapter")
    chosen = set(start.trainable_parameters())
    assert result["trainable_parameters"] == sum(p.size for p in start.trainable_parameters().values())
    assert result["total_parameters"] == sum(p.size for p in start.parameters().values())
    moved = {name for name, array in loaded.model.state_dict().items() if not np.array_equal(array, start.state_dict()[name])}
    assert moved and moved <= chosen and all(name in before for name in start.state_dict().keys() - chosen)
    # What was trained is what is read: also what a method draws at random and does not train, so that no file holds it.
    trained, read, untrained = (model.logits(TOKENS) for model in (made[0].model, loaded.model, start))
    assert 100 * np.abs(read - trained).max() < np.abs(trained - untrained).max()
    score = answer("evaluate", path, "--documents", 2, "--samples", 1)
    assert score["domains"].keys() >= {"novel", "story"} and score["loss"] > 0
    code, out, _ = run("generate", path, "--prompt", "<novel>", "--tokens", 8)
    assert code == 0 and out.startswith("<novel>")


EVERY_REMEDY = and_all_remedies("none", "replay:share=0.5", "l2sp:strength=3", "ewc:documents=3,strength=1e3", "wise:keep=0.3")


@pytest.mark.parametrize("remedy", EVERY_REMEDY[1:])
def test_with_every_remedy_another_specialist_comes_out(remedy, base, tmp_path):
    args = ["finetune", "--base", base, *QUICK, "--steps", 6, "--method", "full", "--lr", 0.01]
    for name in ("none", remedy):
        assert answer(*args, "--remedy", name, "--out", tmp_path, "--name", name.split(":")[0])["validation_loss"] > 0
    one, other = (load(tmp_path / f"{name}.npz").model.state_dict() for name in ("none", remedy.split(":")[0]))
    start = load(base).model.state_dict()
    away = [np.sqrt(sum(float(((state[name] - start[name]) ** 2).sum()) for name in start)) for state in (one, other)]
    assert away[0] > 0 and away[1] != away[0]
    if type(remedy_of(remedy)).batches is Remedy.batches:        # those that leave the batches alone hold the weights back
        assert away[1] < away[0]
    if remedy.startswith("wise"):
        assert away[1] == pytest.approx(0.3 * away[0], rel=1e-3)


@pytest.mark.parametrize("task", SPECIALITIES)
def test_every_task_of_the_toy_world(task, base, tmp_path):
    result = answer("finetune", "--base", base, *QUICK, "--task", task, "--method", "ia3", "--name", task, "--out", tmp_path)
    assert result["domains"][task]["loss"] == result["validation_loss"]
    right = result["domains"][task]["accuracy"]
    assert (right is None) == (task in ("novel", "contradiction")) and (right is None or 0 <= right <= 1)
    path = tmp_path / f"{task}.npz"
    assert load(path).meta["task"] == {"kind": task, "seed": 1, "documents": 4, "draw": 0}
    few = ["--documents", 3, "--samples", 1]
    of_itself, asked_for = answer("evaluate", path, *few), answer("evaluate", base, "--task", task, *few)
    assert of_itself["domains"].keys() == asked_for["domains"].keys() >= {task, "report", "story"}
    assert of_itself["domains"][task]["floor"] == asked_for["domains"][task]["floor"]
    assert of_itself["domains"][task]["loss"] != asked_for["domains"][task]["loss"]
    assert "flawless" in of_itself["domains"]["story"] and ("flawless" in of_itself["domains"][task]) == (right is None)
    _, out, _ = run("evaluate", path, *few)
    assert ("right" in out and "best" in out) == (right is not None)
    assert ("excess of 0.1" in out) == (task == "contradiction")


def test_the_name_of_the_file_is_that_of_the_method_or_the_one_given(desk):
    world = desk / "world"
    before = snapshot(world)
    assert run("finetune", "--base", world / "pretrained.npz", *QUICK, "--method", "lora:rank=1", "--name", "poet")[0] == 0
    assert snapshot(world).keys() - before.keys() == {"poet.npz", "poet.trajectory.npz"}
    assert run("finetune", "--base", world / "pretrained.npz", *QUICK, "--method", "bitfit")[0] == 0
    assert snapshot(world).keys() - before.keys() == {"poet.npz", "poet.trajectory.npz", "bitfit.npz", "bitfit.trajectory.npz"}
    assert before.items() <= snapshot(world).items()             # all that was there is as it was


def test_more_documents_and_another_seed_make_other_specialists(base, tmp_path):
    paths = []
    for i, more in enumerate([[], ["--seed", 2], ["--documents", 5], []]):
        assert run("finetune", "--base", base, *QUICK, "--method", "lora:rank=2", "--out", tmp_path / str(i), *more)[0] == 0
        paths.append(tmp_path / str(i) / "lora.npz")
    arrays = [read_arrays(path)[0]["theta"] for path in paths]
    assert np.array_equal(arrays[0], arrays[3]) and all(not np.array_equal(arrays[0], arrays[i]) for i in (1, 2))


def test_a_text_that_a_base_was_made_from_need_not_be_there_any_more(tmp_path):
    """But for a remedy that reads it."""
    old, new = tmp_path / "old.txt", tmp_path / "new.txt"
    old.write_text("the mill turns under a sky " * 20)
    new.write_text("the sky turns under a mill " * 20)
    assert run("pretrain", "--text", old, "--context", 24, *TINY, "--steps", 1, "--out", tmp_path)[0] == 0
    old.unlink()
    args = ["finetune", "--base", tmp_path / "pretrained.npz", "--text", new, *FEW, "--method", "ia3"]
    assert run(*args)[0] == 0 and run(*args, "--remedy", "wise", "--name", "other")[0] == 0
    for remedy in ("replay", "ewc"):
        refused(tmp_path, *args, "--remedy", remedy, "--name", remedy, words=["there is no file", "old.txt"])
    refused(tmp_path, "compare", "--base", tmp_path / "pretrained.npz", "--text", new, *FEW, "--out", tmp_path / "compared",
            words=["there is no file", "old.txt"])


def test_old_windows_of_a_text_fit_into_a_small_context(shelf, tmp_path):
    for remedy in ("ewc:documents=4", "replay"):
        code, _, err = run("finetune", "--base", shelf / "book" / "pretrained.npz", "--pairs", shelf / "letters.jsonl", *FEW,
                           "--remedy", remedy, "--out", tmp_path)
        assert code == 0, err


# ---- pairs

def test_pairs_from_end_to_end(shelf, base, tmp_path):
    """Learned by heart, judged, and said again."""
    (tmp_path / "riddles.jsonl").write_text("\n".join(pairs(2) * 10))
    result = answer("finetune", "--base", base, "--pairs", tmp_path / "riddles.jsonl", "--method", "full", "--lr", 0.01,
                    "--steps", 200, "--batch", 8, "--workers", 1, "--out", tmp_path)
    assert result["domains"]["riddles"]["accuracy"] == 1 and result["validation_loss"] < 0.2
    judged = answer("evaluate", tmp_path / "full.npz")
    assert judged["loss"] == pytest.approx(result["validation_loss"]) and judged["tokens"] == 2 * 3
    again = answer("evaluate", tmp_path / "full.npz", "--pairs", tmp_path / "riddles.jsonl")
    untouched = answer("evaluate", base, "--pairs", tmp_path / "riddles.jsonl")
    assert again["loss"] == judged["loss"] < untouched["loss"] - 1 and again["tokens"] == untouched["tokens"]
    assert again["domains"]["riddles"]["accuracy"] == 1 > untouched["domains"]["riddles"]["accuracy"]
    _, out, _ = run("evaluate", tmp_path / "full.npz", "--pairs", tmp_path / "riddles.jsonl")
    assert re.search(r"riddles .* 100\.0 %", out)
    _, out, _ = run("generate", tmp_path / "full.npz", "--prompt", "ben had the bread at the", "--temperature", 0)
    assert out == "ben had the bread at the mill.\n"


def test_pairs_for_a_model_of_characters(shelf, tmp_path):
    args = ["--pairs", shelf / "letters.jsonl"]
    result = answer("finetune", "--base", shelf / "book" / "pretrained.npz", *args, *FEW, "--method", "lora:rank=2", "--out",
                    tmp_path)
    assert 0 < result["domains"]["letters"]["loss"] < 10 and result["domains"]["letters"]["tokens"] == 2 * len("turns\n")
    assert answer("evaluate", tmp_path / "lora.npz")["loss"] == pytest.approx(result["validation_loss"])
    assert answer("evaluate", shelf / "book" / "pretrained.npz", *args)["tokens"] == 2 * len("turns\n")


def test_bad_lines_are_refused_or_left_out_and_named(desk):
    (desk / "bad.jsonl").write_text("\n".join([*pairs(5), "no JSON", *pairs(5), '{"prompt": "a zebra", "completion": "so ."}']))
    base, args = desk / "world" / "pretrained.npz", ["--pairs", desk / "bad.jsonl"]
    for command in (["finetune", "--base", base, *FEW, "--method", "ia3"], ["evaluate", base], ["compare", "--base", base]):
        refused(desk, *command, *args, words=["bad.jsonl", "line 6", "not JSON", "--skip-bad"])
    code, out, err = run("finetune", "--base", base, *FEW, *args, "--skip-bad", "--method", "ia3")
    assert code == 0 and [line.split(": ")[0] for line in err.splitlines() if "left out" in line] == ["left out"] * 2
    assert "line 6" in err and "line 12" in err and "zebra" in err
    judged = answer("evaluate", desk / "world" / "ia3.npz")      # it knows by itself which lines were left out
    assert answer("evaluate", desk / "world" / "ia3.npz", *args, "--skip-bad") | {"seconds": judged["seconds"]} == judged


def test_a_specialist_in_pairs_can_be_judged_by_others_when_its_own_are_gone(desk):
    (desk / "mine.jsonl").write_text("\n".join(pairs(6)))
    base = desk / "world" / "pretrained.npz"
    assert run("finetune", "--base", base, *FEW, "--pairs", desk / "mine.jsonl", "--method", "ia3")[0] == 0
    (desk / "mine.jsonl").unlink()
    refused(desk, "evaluate", desk / "world" / "ia3.npz", words=["there is no file", "mine.jsonl"])
    assert answer("evaluate", desk / "world" / "ia3.npz", "--pairs", desk / "riddles.jsonl")["tokens"] == 2 * 3


# ---- inspect

def table(out):
    """{line of what trains: its count}, and the total."""
    listed = re.search(r"^(?:parameters|this will train) +shape.*\n([\s\S]*?)^in all +([\d,]+)", out, re.M)
    return {line.split()[0]: line.split()[-1] for line in listed[1].splitlines()}, listed[2]


def test_inspect_of_a_model(shelf, base):
    model = load(base).model
    result = answer("inspect", base)
    total = sum(p.size for p in model.parameters().values())
    assert result["total_parameters"] == total and result["kind"] == "model" and result["recipe"] is None
    _, out, _ = run("inspect", base)
    facts = vars(model.config) | {"n_kv_head": 2, "n_hidden": 48}
    for name, value in facts.items() - {("rope_base", 10_000.0)}:
        assert re.search(rf"^{name} +{value}$", out, re.M)
    kinds, counted = table(out)
    assert counted == f"{total:,d}" and sum(int(n.replace(",", "")) for n in kinds.values()) == total
    assert kinds["blocks.0,1.attn.qkv.weight"] == f"{2 * 12 * 36:,d}"


def test_inspect_of_adapters_tells_how_they_were_made(shelf):
    result = answer("inspect", shelf / "world" / "lora.npz")
    assert result["kind"] == "adapter" and result["recipe"]["method"] == "lora" and result["recipe"]["rank"] == 2
    _, out, _ = run("inspect", shelf / "world" / "lora.npz")
    assert "lora" in out and "rank 2" in out and "novel" in out
    kinds, counted = table(out)
    assert counted == f"{result['trainable_parameters']:,d}" and all(".lora." in name for name in kinds)
    assert answer("inspect", shelf / "world" / "full.npz")["recipe"]["method"] == "full"


@pytest.mark.parametrize("method", ["full", "frozen:train=biases", "lora:rank=3", "adapter:bottleneck=2", "prompt:tokens=4"])
def test_inspect_tells_before_what_finetune_then_trains(method, base, tmp_path):
    _, before, _ = run("inspect", base, "--method", method, "--batch", 3, "--json")
    _, after, _ = run("finetune", "--base", base, *QUICK, "--method", method, "--out", tmp_path, "--json")
    planned, done = (json.loads(out.splitlines()[-1]) for out in (before, after))
    assert {name: done[name] for name in planned} == planned and planned.keys() == {"trainable_parameters", "total_parameters"}
    assert table(before) == table(after) and table(before)[1] == f"{planned['trainable_parameters']:,d}"
    planned, done = (dict(re.findall(r"(\w+) ([\d.]+)", re.search(r"memory in MB: (.*)", out)[1])) for out in (before, after))
    assert planned.keys() == done.keys() == {"weights", "gradients", "optimizer", "activations"}
    assert all(planned[part] == done[part] for part in ("weights", "gradients", "optimizer"))


def test_inspect_counts_memory_for_the_batch_and_optimizer_asked_for(base):
    def memory(*more):
        _, out, _ = run("inspect", base, "--method", "full", "--workers", 1, *more)
        return {part: float(n) for part, n in re.findall(r"(\w+) ([\d.]+)", re.search(r"memory in MB: (.*)", out)[1])}

    small, large, short = memory("--batch", 16), memory("--batch", 32), memory("--batch", 32, "--context", 28)
    assert large["activations"] == pytest.approx(2 * small["activations"], rel=0.03)
    assert large["activations"] > 2 * short["activations"]
    assert small["weights"] == large["weights"] == small["gradients"]
    assert memory("--optimizer", "sgd")["optimizer"] < small["optimizer"] and small["optimizer"] >= 2 * small["weights"] - 0.11


def test_inspect_changes_nothing(desk):
    before = snapshot(desk)
    for args in (["lora.npz"], ["pretrained.npz", "--method", "dora:rank=2"], ["full.npz"]):
        assert run("inspect", desk / "world" / args[0], *args[1:])[0] == 0
    assert snapshot(desk) == before


# ---- merge

@pytest.mark.parametrize("method", ["lora:rank=2", "dora:rank=2", "ia3"])
def test_a_merged_adapter_is_the_same_function_and_stands_alone(method, base, tmp_path):
    (tmp_path / "base.npz").write_bytes(base.read_bytes())
    assert run("finetune", "--base", tmp_path / "base.npz", *QUICK, "--method", method, "--lr", 0.05, "--out", tmp_path,
               "--name", "adapter")[0] == 0
    result = answer("merge", tmp_path / "adapter.npz", "--out", tmp_path / "new" / "merged.npz")
    wanted, untouched = logits(tmp_path / "adapter.npz"), logits(tmp_path / "base.npz")
    judged = answer("evaluate", tmp_path / "adapter.npz", "--documents", 3, "--samples", 1)
    (tmp_path / "base.npz").unlink()
    (tmp_path / "adapter.npz").unlink()
    merged = load(tmp_path / "new" / "merged.npz")
    alone = logits(tmp_path / "new" / "merged.npz")
    assert np.abs(alone - wanted).max() <= 1e-6 * max(1, np.abs(wanted).max()) < 1e-3 < np.abs(alone - untouched).max()
    sizes = [sum(p.size for p in loaded.model.parameters().values()) for loaded in (merged, load(base))]
    assert result["total_parameters"] == sizes[0] == sizes[1]
    assert merged.meta["merged"] and merged.meta["recipe"]["method"] == recipe_of(method).method
    again = answer("evaluate", tmp_path / "new" / "merged.npz", "--documents", 3, "--samples", 1)
    assert again["loss"] == pytest.approx(judged["loss"], abs=1e-5)
    assert run("generate", tmp_path / "new" / "merged.npz", "--prompt", "<novel>", "--tokens", 5)[0] == 0


def test_a_merged_model_can_be_the_base_of_the_next(shelf, tmp_path):
    merged = tmp_path / "merged.npz"
    assert run("merge", shelf / "world" / "lora.npz", "--out", merged)[0] == 0
    assert run("finetune", "--base", merged, *QUICK, "--task", "mood", "--method", "lora:rank=1")[0] == 0
    assert answer("evaluate", tmp_path / "lora.npz", "--documents", 2, "--samples", 1)["domains"].keys() >= {"mood", "story"}


def test_what_cannot_be_merged_is_refused(desk):
    world = desk / "world"
    for name, words in (("adapter", ["cannot be merged", "adapter"]), ("full", ["nothing to merge"]),
                        ("pretrained", ["nothing to merge"])):
        refused(desk, "merge", world / f"{name}.npz", "--out", world / "merged.npz", words=words)
    assert run("finetune", "--base", world / "pretrained.npz", *QUICK, "--method", "prefix:tokens=2")[0] == 0
    refused(desk, "merge", world / "prefix.npz", "--out", world / "merged.npz", words=["prefix", "cannot be merged"])


def test_an_adapter_that_only_moved_weights_becomes_one_model_with_its_base(desk):
    world = desk / "world"
    assert run("finetune", "--base", world / "pretrained.npz", *QUICK, "--method", "bitfit")[0] == 0
    assert run("merge", world / "bitfit.npz", "--out", world / "merged.npz")[0] == 0
    one, two = (load(world / f"{name}.npz") for name in ("bitfit", "merged"))
    assert two.meta["kind"] == "model"
    assert all(np.array_equal(array, two.model.state_dict()[name]) for name, array in one.model.state_dict().items())


def test_nothing_is_written_over_the_base_that_it_came_from(desk, monkeypatch):
    """Or the adapters that need it would be lost with it."""
    world = desk / "world"
    refused(desk, "merge", world / "lora.npz", "--out", world / "pretrained.npz", words=["from which it is made", "--out"])
    refused(desk, "finetune", "--base", world / "pretrained.npz", *QUICK, "--name", "pretrained",
            words=["from which it is made", "--name"])
    refused(desk, "finetune", "--base", world / "full.npz", *QUICK, "--task", "mood", words=["from which it is made"])
    refused(desk, "merge", world / "lora.npz", "--out", world / "lora.npz", words=["lora.npz, from which it is made", "--out"])
    monkeypatch.chdir(world)
    refused(desk, "finetune", "--base", "full.npz", *QUICK, "--out", desk / "book" / ".." / "world",
            words=["from which it is made"])


# ---- compare

COMPARED = ["--methods", "full", "lora:rank=2", "--remedies", "none", "wise:keep=0.7", "--seeds", 2, "--rates", 2,
            "--test-documents", 3, "--samples", 1]


def test_compare_from_end_to_end_and_again(shelf, base, tmp_path):
    args = ["compare", "--base", base, "--task", "mood", *QUICK, *COMPARED, "--out", tmp_path]
    result = answer(*args)
    assert result["new"] == "mood" and result["settings"]["seeds"] == 2 and len(result["old"]) == 6
    assert [(row["method"], row["remedy"]) for row in result["rows"]] == [
        ("full", "none"), ("full", "wise:keep=0.7"), ("lora:rank=2", "none"), ("lora:rank=2", "wise:keep=0.7"),
        ("scratch", "none")]
    assert all(row["new_interval"] >= 0 and len(row["cells"]) == 2 for row in result["rows"])
    files = {path.name: path for path in tmp_path.iterdir()}
    assert files.keys() == {"cells", "comparison.md", "comparison.csv", "comparison.json", "comparison.png"}
    assert json.loads(files["comparison.json"].read_text()) == result
    assert files["comparison.png"].read_bytes().startswith(b"\x89PNG")
    cells = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files["cells"].iterdir()}
    code, out, _ = run(*args)
    assert code == 0 and cells == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files["cells"].iterdir()}
    assert json.loads(files["comparison.json"].read_text()) == result
    for name in ("comparison.md", "comparison.csv", "comparison.json", "comparison.png"):
        assert str(tmp_path / name) in out
    for row in result["rows"]:
        assert f"{row['new']:.3f} +- {row['new_interval']:.3f}" in out and f"{row['trainable']:,d}" in out
    assert len(answer(*args, "--seeds", 3, "--no-scratch")["rows"]) == 4
    assert len(list(files["cells"].iterdir())) == len(cells) + 4  # one more seed of each


def test_compare_on_pairs_and_on_texts(shelf, base, tmp_path):
    few = ["--methods", "ia3", "--seeds", 1, "--rates", 1, "--test-documents", 2, "--samples", 1, "--no-scratch"]
    result = answer("compare", "--base", base, "--pairs", shelf / "riddles.jsonl", *FEW, *few, "--out", tmp_path / "pairs")
    assert result["new"] == "riddles" and result["rows"][0]["accuracy"] == 0 and result["rows"][0]["old"] > 0
    (tmp_path / "new.txt").write_text("the river turns and the mill looks on under a sky " * 20)
    result = answer("compare", "--base", shelf / "book" / "pretrained.npz", "--text", tmp_path / "new.txt", *FEW, *few, "--out",
                    tmp_path / "text")
    assert result["new"] == "new" and result["old"] == ["book"] and "accuracy" not in result["rows"][0]


# ---- slips

WRONG_SPECS = [
    (["--method", "lorra"], ["'lorra'", "did you mean lora?", *METHODS]),
    (["--method", "magic"], ["'magic'", *METHODS, "bitfit"]),
    (["--method", "lora:ranks=3"], ["'ranks'", "rank", "alpha", "targets"]),
    (["--method", "lora:rank"], ["rank", "no value"]), (["--method", "lora:rank=three"], ["rank", "'three'", "a whole number"]),
    (["--method", "lora:alpha=inf"], ["alpha", "'inf'"]),
    (["--method", "adapter:norms=maybe"], ["norms", "'maybe'", "yes or no"]), (["--method", "full:rank=3"], ["'rank'", "decay"]),
    (["--method", ""], ["''", *METHODS])]
WRONG_REMEDIES = [(["--remedy", "hope"], ["'hope'", *REMEDIES]), (["--remedy", "replai"], ["did you mean replay?"]),
                  (["--remedy", "ewc:force=3"], ["'force'", "strength", "documents"]),
                  (["--remedy", "wise:keep=2"], ["keep is 2", "from 0 to 1"])]


@pytest.mark.parametrize("options, words", WRONG_SPECS + WRONG_REMEDIES, ids=lambda value: " ".join(value)[:30])
def test_a_slip_of_the_pen_is_answered_with_what_there_is(options, words, desk):
    base = desk / "world" / "pretrained.npz"
    refused(desk, "finetune", "--base", base, *QUICK, *options, words=words)
    plural = {"--method": "--methods", "--remedy": "--remedies"}[options[0]]
    refused(desk, "compare", "--base", base, *QUICK, plural, options[1], "--out", desk / "compared", words=words)
    if options[0] == "--method":
        refused(desk, "inspect", base, *options, words=words)


@pytest.mark.parametrize("method, words", [
    ("lora:rank=13", ["rank 13", "12 x 12", "at most 12"]), ("dora:rank=100", ["rank 100"]), ("lora:rank=0", ["at least 1"]),
    ("lora:targets=q+z", ["'z'", "fc"]), ("lora:blocks=2", ["no block 2", "0 to 1"]), ("ia3:targets=q", ["'q'", "mlp"]),
    ("frozen:train=blocks.7.*", ["'blocks.7.*' matches no parameter"]), ("frozen:train=bias", ["'bias'", "biases"]),
    ("frozen:train=last-3", ["'last-3' matches no"]), ("prefix:tokens=113", ["113", "112"]), ("prompt:tokens=0", ["at least 1"]),
    ("adapter:places=mlp+mlp", ["once"]), ("adapter:form=round", ["'round'", "sequential"]), ("full:decay=0.5", ["at least 1"])])
def test_a_method_that_does_not_suit_the_model_is_refused_before_anything_is_done(method, words, desk):
    base = desk / "world" / "pretrained.npz"
    refused(desk, "finetune", "--base", base, *QUICK, "--method", method, "--out", desk / "new", words=words)
    refused(desk, "inspect", base, "--method", method, words=words)
    refused(desk, "compare", "--base", base, *QUICK, "--methods", "full", method, "--out", desk / "compared", words=words)


@pytest.mark.parametrize("options, words", [
    (["--task", "poems"], ["'poems'", *SPECIALITIES]), (["--task", "facts", "--documents", 9217], ["only 9216 facts"]),
    (["--documents", 0], ["at least 1"]), (["--text", "book.txt"], ["knows only the words", "--text"]),
    (["--text", "book.txt", "--pairs", "riddles.jsonl"], ["two tasks"]), (["--pairs", "missing.jsonl"], ["there is no file"]),
    (["--pairs", "book.txt"], ["line 1", "not JSON"]), (["--pairs", "."], ["is a folder"]),
    (["--remedy", "replay:share=0"], ["above 0"]), (["--remedy", "ewc:strength=-1"], ["above 0"]),
    (["--remedy", "ewc:documents=0"], ["at least 1"]), (["--lr", 0], ["above 0"]), (["--seed", -1], ["at least 0"])], ids=str)
def test_a_task_that_cannot_be_is_refused(options, words, desk, monkeypatch):
    monkeypatch.chdir(desk)
    refused(desk, "finetune", "--base", "world/pretrained.npz", *FEW, *options, "--out", "world", "--name", "new", words=words)


def test_the_pairs_of_another_model_are_refused(desk):
    refused(desk, "finetune", "--base", desk / "world" / "pretrained.npz", "--pairs", desk / "letters.jsonl", *FEW,
            words=["line 1", "'turns' is not in the vocabulary"])
    (desk / "long.jsonl").write_text("\n".join([*pairs(2), json.dumps({"prompt": "so " * 120, "completion": "so"}), *pairs(2)]))
    for command in (["finetune"], ["compare", "--out", desk / "compared"]):
        refused(desk, *command, "--base", desk / "world" / "pretrained.npz", "--pairs", desk / "long.jsonl", *FEW,
                words=["has 123 tokens", "at most 113"])


BASES = {"an adapter": ("world/lora.npz", ["is an adapter", "minillm merge"]),
         "missing": ("world/nothing.npz", ["there is no file"]), "a text": ("book.txt", ["not a whole checkpoint"]),
         "a trajectory": ("world/full.trajectory.npz", ["holds a trajectory"]),
         "a folder": ("world", ["is a folder"])}


@pytest.mark.parametrize("path, words", BASES.values(), ids=BASES)
def test_what_is_no_base_is_refused(path, words, desk):
    refused(desk, "finetune", "--base", desk / path, *QUICK, "--out", desk / "new", words=[path, *words])
    refused(desk, "compare", "--base", desk / path, *QUICK, "--out", desk / "new", words=[path, *words])
    if path != "world/lora.npz":
        refused(desk, "inspect", desk / path, words=[path, *words])
        refused(desk, "merge", desk / path, "--out", desk / "merged.npz", words=[path, *words])
    else:
        refused(desk, "inspect", desk / path, "--method", "ia3", words=["with an adapter on", "base"])


def test_merging_is_not_advised_where_it_is_impossible(desk):
    err = refused(desk, "finetune", "--base", desk / "world" / "adapter.npz", *QUICK, words=["is an adapter; fine-tune its base"])
    assert "merge" not in err


def test_an_adapter_of_another_base_is_refused_by_every_command(desk):
    other = desk / "other"
    assert run("pretrain", *TINY, "--steps", 1, "--seed", 9, "--out", other)[0] == 0
    for command in (["inspect"], ["merge", "--out", desk / "merged.npz"], ["evaluate"], ["generate"]):
        refused(desk, command[0], desk / "world" / "lora.npz", *command[1:], "--base", other / "pretrained.npz",
                words=["another base", "fingerprints differ"])
    (desk / "world" / "pretrained.npz").unlink()
    for command in (["inspect"], ["merge", "--out", desk / "merged.npz"]):
        refused(desk, command[0], desk / "world" / "lora.npz", *command[1:], words=["its base model is not at", "--base"])


def test_an_adapter_that_was_spoiled_is_refused_by_every_command(desk):
    path = desk / "world" / "lora.npz"
    arrays, meta = read_arrays(path)
    write_arrays(path, {"theta": arrays["theta"][:-1]}, meta)
    for command in (["inspect"], ["merge", "--out", desk / "merged.npz"], ["evaluate"]):
        refused(desk, command[0], path, *command[1:], words=[str(path), "does not hold the weights"])


@pytest.mark.parametrize("options, words", [
    (["--seeds", 0], ["--seeds", "at least 1"]), (["--rates", 0], ["at least 1"]), (["--rates", 99], ["at most 15"]),
    (["--methods"], ["--methods"]), (["--task", "poems"], ["'poems'"]), (["--test-documents", 0], ["at least 1"]),
    (["--task", "facts", "--documents", 9217], ["only 9216 facts"]), (["--text", "book.txt"], ["knows only the words"])], ids=str)
def test_a_comparison_that_cannot_be_is_refused(options, words, desk, monkeypatch):
    monkeypatch.chdir(desk)
    refused(desk, "compare", "--base", "world/pretrained.npz", *FEW, "--out", "compared", *options, words=words)


def test_a_comparison_with_no_place_to_be_kept_is_refused(desk):
    (desk / "taken").write_text("mine")
    for out in ("taken", "taken/below"):
        refused(desk, "compare", "--base", desk / "world" / "pretrained.npz", *QUICK, *COMPARED, "--out", desk / out,
                words=["taken"])


def test_a_slip_does_not_touch_what_was_compared_before(desk):
    args = ["compare", "--base", desk / "world" / "pretrained.npz", *QUICK, "--seeds", 1, "--rates", 1, "--test-documents", 2,
            "--samples", 1, "--no-scratch", "--out", desk / "compared"]
    assert run(*args, "--methods", "ia3")[0] == 0
    refused(desk, *args, "--methods", "ia3", "lora:rank=99", words=["rank 99"])
    refused(desk, *args, "--methods", "ia3", "--pairs", desk / "missing.jsonl", words=["there is no file"])


def test_a_model_of_a_text_is_not_asked_about_the_toy_world(desk):
    base = desk / "book" / "pretrained.npz"
    refused(desk, "evaluate", base, "--task", "mood", words=["does not know the language of the toy world"])
    for command in ("finetune", "compare"):
        refused(desk, command, "--base", base, *FEW, words=["was pretrained on a text", "--text", "--pairs"])


def test_slips_in_a_process_of_its_own(desk):
    """No traceback, no warning, nothing on standard output."""
    for args in (["finetune", "--base", desk / "world" / "pretrained.npz", "--method", "lora:rank=99"],
                 ["compare", "--base", desk / "world" / "lora.npz"],
                 ["merge", desk / "world" / "adapter.npz", "--out", desk / "x.npz"],
                 ["inspect", desk / "nothing.npz"]):
        code, out, err = run_apart(*args)
        assert_one_sentence(code, err, args[0])
        assert out == "" and len(err.strip().splitlines()) == 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_tuning_that_diverges_leaves_the_specialist_of_before(desk):
    path = desk / "world" / "lora.npz"
    before = path.read_bytes()
    code, _, err = run("finetune", "--base", desk / "world" / "pretrained.npz", *QUICK, "--method", "lora:rank=2", "--lr", 1e30)
    assert_one_sentence(code, err, "finetune", ["NaN or infinite", "lower learning rate"])
    assert path.read_bytes() == before


def test_texts_of_methods_are_kept_as_they_were_meant(shelf):
    """As a command writes a recipe into a file, so another can read it: also what was left at its default."""
    for name in ("lora", "adapter", "full"):
        recipe = load(shelf / "world" / f"{name}.npz").meta["recipe"]
        again = recipe_of(text_of(recipe_of({"lora": "lora:rank=2", "adapter": "adapter:bottleneck=3", "full": "full"}[name])))
        assert json.loads(json.dumps(to_json(again))) == recipe
