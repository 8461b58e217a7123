"""A fair comparison: the same texts and steps for all, each at its own best rate, honest numbers, and nothing computed twice."""

import csv
import hashlib
import io
import json
import math
import sys

import numpy as np
import pytest

from minillm import draw
from minillm.finetune import compare as module
from minillm.finetune.compare import SCRATCH, Cell, Lab, best_rate, compare, search, try_lower_rates, usual_rate
from minillm.finetune.methods import METHODS
from minillm.finetune.methods.full import Full
from minillm.finetune.table import LEVEL, T_95, Comparison, Row, mean_and_interval
from minillm.runs.finetuning import finetune
from minillm.runs.pretraining import pretrain
from minillm.runs.saved import Loaded
from minillm.tasks import evaluate
from minillm.tasks.samples import flawless
from minillm.tasks.special import SpecialTask
from minillm.tasks.text import TextTask
from minillm.tasks.world import CONTEXT, WorldTask
from minillm.train.optimizers import AdamW
from minillm.train.trainer import Diverged, Trainer

SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 12}
MOOD = {"kind": "mood", "seed": 3, "documents": 6, "draw": 0}
TINY = dict(steps=2, batch=3, test_documents=3, samples=0, workers=1, quiet=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    path = tmp_path_factory.mktemp("base") / "pretrained.npz"
    return pretrain(WorldTask(3, 1), SMALL | {"context": CONTEXT}, path, optimizer=AdamW(1e-2), steps=6, batch=4, workers=1)


@pytest.fixture(scope="module")
def real(base, tmp_path_factory):
    """A comparison of tiny models, all of it true; and its folder."""
    folder = tmp_path_factory.mktemp("compared")
    outcome = compare(base, MOOD, ["full", "ia3", "lora:rank=2"], ["none", "replay"], seeds=2, rates=2, folder=folder, **TINY)
    return outcome, folder


# ---- made by hand

def result(validation=1.0, new=1.0, old=0.1, accuracy=0.5, **more):
    return {"status": "done", "validation": validation, "seconds": 1.0, "step_ms": 2.5, "file_bytes": 2048,
            "test": {"mood": {"excess": new, "accuracy": accuracy}, "chat": {"excess": old, "accuracy": None},
                     "story": {"excess": 3 * old, "accuracy": None}},
            "memory": {"weights": 8e6, "gradients": 2e6, "optimizer": 3e6, "activations": 1.5e6},
            "trainable_parameters": 250, "total_parameters": 10_000} | more


DIVERGED = {"status": "diverged", "step": 3}


def comparison(*rows, untouched=None):
    settings = {"task": MOOD, "seeds": 3, "rates": 5, "steps": 100, "batch": 16, "test_documents": 100, "base": "0" * 16}
    return Comparison(untouched or result(new=2.0, old=0.05, accuracy=0.25), list(rows), "mood", ["chat", "story"], settings)


ROWS = [Row("full", "none", 4e-4, False, [result(new=n, old=o, accuracy=a) for n, o, a in
                                          ((0.5, 0.2, 0.7), (0.6, 0.3, 0.8), (0.4, 0.1, 0.6))],
            {2e-4: result(new=0.8, old=0.1), 4e-4: result(new=0.5, old=0.2), 8e-4: DIVERGED}),
        Row("full", "replay", 4e-4, False, [result(new=0.7, old=0.05)] * 3, {}),
        Row("lora:rank=2", "none", 1e-2, True, [result(new=0.3, old=0.4), DIVERGED, result(new=0.5, old=0.2)],
            {5e-3: result(new=0.6, old=0.1), 1e-2: result(new=0.3, old=0.4)}),
        Row("ia3", "none", 3e-2, True, [DIVERGED] * 3, {3e-2: DIVERGED}),
        Row(SCRATCH, "none", 8e-3, False, [result(new=1.5, old=5.0)] * 3, {8e-3: result(new=1.5, old=5.0)})]


# ---- the best learning rate

def swept(best, n, diverges=lambda lr: False):
    """A search over a valley whose bottom lies at 2 ** best, beginning around 1: its sweep, and the rates in order of trying."""
    tried = []

    def run(lr):
        tried.append(lr)
        return DIVERGED if diverges(lr) else {"status": "done", "validation": abs(math.log2(lr) - best)}

    sweep = search(run, 1.0, n)
    assert list(sweep) == sorted(tried) and len(set(tried)) == len(tried)
    return sweep, tried


@pytest.mark.parametrize("best, n, tried, chosen, at_edge", [
    (0, 3, [0.5, 1, 2], 1, False), (0, 5, [0.25, 0.5, 1, 2, 4], 1, False), (1, 5, [0.25, 0.5, 1, 2, 4], 2, False),
    (1, 3, [0.5, 1, 2, 4], 2, False), (2, 3, [0.5, 1, 2, 4, 8], 4, False), (9, 3, [0.5, 1, 2, 4, 8], 8, True),
    (3, 3, [0.5, 1, 2, 4, 8], 8, True), (-1, 3, [0.5, 1, 2, 0.25], 0.5, False),
    (-9, 3, [0.5, 1, 2, 0.25, 0.125], 0.125, True), (0, 2, [0.5, 1, 2], 1, False), (9, 1, [1], 1, False)])
def test_the_search_goes_on_where_the_best_stands_at_the_edge_and_marks_it_if_it_still_does(best, n, tried, chosen, at_edge):
    sweep, order = swept(best, n)
    assert order == tried and best_rate(sweep) == (chosen, at_edge)


def test_a_rate_that_diverged_is_never_chosen_and_is_no_edge_beyond_it():
    sweep, _ = swept(9, 5, diverges=lambda lr: lr > 1)
    assert list(sweep) == [0.25, 0.5, 1, 2, 4] and best_rate(sweep) == (1, False)
    sweep, order = swept(9, 3, diverges=lambda lr: lr != 2)
    assert best_rate(sweep) == (2, False) and order == [0.5, 1, 2, 4]


def test_where_all_rates_diverge_lower_ones_are_tried_and_the_method_is_marked():
    sweep, order = swept(0, 3, diverges=lambda lr: True)
    assert order == [0.5, 1, 2, 0.25, 0.125] and best_rate(sweep) == (0.125, True)
    sweep, order = swept(0, 3, diverges=lambda lr: lr > 0.25)
    assert order == [0.5, 1, 2, 0.25, 0.125] and best_rate(sweep) == (0.25, False)


def test_the_best_of_equals_is_one_of_them():
    assert best_rate({1.0: result(0.5), 2.0: result(0.5), 4.0: result(0.6)})[0] in (1.0, 2.0)


@pytest.mark.parametrize("method", METHODS)
def test_the_search_begins_around_the_usual_rate_of_each_method(method):
    assert usual_rate(method) == usual_rate(f"{method}:") == METHODS[method]().lr > 0


# ---- cells are kept

@pytest.fixture
def made(monkeypatch):
    """Instead of training: a result made up from the cell. A list of the cells that would have been trained."""
    cells = []

    def train(self, cell):
        cells.append(cell)
        digits = int(hashlib.sha256(f"{cell.method}{cell.remedy}{cell.seed}".encode()).hexdigest()[:6], 16) / 16 ** 6
        bottom = abs(math.log2(cell.lr / usual_rate(cell.method)) - 0.4)
        names = {name: {"excess": digits + i, "accuracy": None} for i, name in enumerate(self.old)}
        return result(bottom) | {"test": names | {self.new: {"excess": 1 + bottom + digits, "accuracy": digits}}}

    monkeypatch.setattr(Lab, "train", train)
    return cells


def same(one, other):
    return json.dumps(one.to_json()) == json.dumps(other.to_json())


def test_the_second_time_nothing_is_computed_and_the_answer_is_the_same(base, made, tmp_path):
    args = [base, MOOD, ["full", "lora"], ["none", "wise"]]
    first = compare(*args, seeds=3, rates=3, folder=tmp_path, **TINY)
    n = len(made)
    assert n == len(set(made)) == 3 * 3 + 2 * 3 + 2 * 3          # sweeps; the other seeds; and another remedy over all seeds
    again = compare(*args, seeds=3, rates=3, folder=tmp_path, **TINY)
    assert len(made) == n and same(first, again)
    more = compare(*args, seeds=4, rates=3, folder=tmp_path, **TINY)
    assert {(cell.seed, cell.remedy) for cell in made[n:]} == {(4, "none"), (4, "wise")} and len(made) == n + 5
    assert [row.cells[:3] for row in more.rows] == [row.cells for row in first.rows]
    compare(base, MOOD, ["ia3", "full"], seeds=3, rates=3, folder=tmp_path, **TINY)
    assert {cell.method for cell in made[n + 5:]} == {"ia3"}


def test_what_was_computed_is_read_from_its_file_bit_for_bit(base, tmp_path):
    lab = Lab(base, MOOD, 2, 3, 3, tmp_path, 1)
    cell = Cell("lora:rank=2", 1e-2, 1, "l2sp")
    outcome = lab.run(cell)
    assert Lab(base, MOOD, 2, 3, 3, tmp_path, 1).run(cell) == outcome
    [file] = (tmp_path / "cells").iterdir()
    kept = json.loads(file.read_text())
    assert kept["result"] == outcome and kept["cell"]["seed"] == 1 and kept["cell"]["method"]["rank"] == 2
    assert kept["cell"]["remedy"] == {"method": "l2sp", "strength": 0.01}


def test_a_cell_can_be_computed_again_and_comes_to_the_same(base, tmp_path):
    one, other = (Lab(base, MOOD, 3, 3, 3, tmp_path / name, 1).run(Cell("adapter:bottleneck=2", 1e-2, 2, "replay"))
                  for name in "ab")
    assert one["validation"] == other["validation"] and one["test"] == other["test"]


@pytest.mark.parametrize("k", [1, 2, 7, 14])
def test_an_interruption_costs_at_most_one_cell(k, base, made, tmp_path, monkeypatch):
    args = [base, MOOD, ["full", "lora"], ["none", "wise"]]
    whole = compare(*args, seeds=2, rates=3, folder=tmp_path / "whole", **TINY)
    n, train = len(made), Lab.train
    del made[:]

    def cut(self, cell):
        outcome = train(self, cell)
        if len(made) == k:
            raise KeyboardInterrupt
        return outcome

    monkeypatch.setattr(Lab, "train", cut)
    with pytest.raises(KeyboardInterrupt):
        compare(*args, seeds=2, rates=3, folder=tmp_path / "cut", **TINY)
    files = [path.name for path in (tmp_path / "cut").rglob("*") if path.is_file()]
    assert len(files) == k - 1 and not any(name.startswith(".") for name in files)
    monkeypatch.setattr(Lab, "train", train)
    assert same(compare(*args, seeds=2, rates=3, folder=tmp_path / "cut", **TINY), whole)
    assert len(made) == n + 1 and made.count(made[k - 1]) == 2


def test_only_divergence_is_a_result(base, tmp_path, monkeypatch):
    """Whatever else goes wrong ends the comparison, and is not kept as if it were an answer."""
    def no_space(self, cell):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Lab, "train", no_space)
    with pytest.raises(OSError, match="No space"):
        compare(base, MOOD, ["full"], folder=tmp_path, **TINY)
    assert not list(tmp_path.rglob("*.json"))


# ---- what a cell is

@pytest.fixture
def key(base, made, tmp_path):
    """key(**changes): the name of the file of a cell."""
    def of(cell=None, of_base=base, task=None, workers=1, **sizes):
        sizes = dict(steps=2, batch=3, test_documents=3) | sizes
        lab = Lab(of_base, MOOD | (task or {}), folder=tmp_path / str(len(made)), workers=workers, **sizes)
        lab.run(Cell(**dict(method="lora", lr=1e-2, seed=1, remedy="replay") | (cell or {})))
        [file] = (tmp_path / str(len(made) - 1) / "cells").iterdir()
        return file.name
    return of


def other_base(base):
    model = type(base.model)(base.model.config, np.random.default_rng(0))
    model.load_state_dict(base.model.state_dict())
    model.ln_f.bias.data[3] += 1e-6
    return Loaded(model, base.tokenizer, base.meta)


CHANGES = {
    "method": dict(cell={"method": "dora"}), "option": dict(cell={"method": "lora:rank=5"}),
    "another option": dict(cell={"method": "lora:targets=q"}), "scratch": dict(cell={"method": SCRATCH}),
    "full": dict(cell={"method": "full"}), "lr": dict(cell={"lr": 1.0000001e-2}), "seed": dict(cell={"seed": 2}),
    "remedy": dict(cell={"remedy": "none"}), "share": dict(cell={"remedy": "replay:share=0.3"}),
    "steps": dict(steps=3), "batch": dict(batch=2), "test documents": dict(test_documents=4),
    "task": dict(task={"kind": "facts"}), "world": dict(task={"seed": 4}), "documents": dict(task={"documents": 7}),
    "samples": dict(samples=1)}


def test_every_option_makes_another_cell(base, key):
    names = {"as it is": key(), "base": key(of_base=other_base(base))} | {what: key(**change) for what, change in CHANGES.items()}
    assert len(set(names.values())) == len(CHANGES) + 2, names


@pytest.mark.parametrize("change", [
    dict(workers=None), dict(cell={"method": "lora:rank=4,alpha=8.0"}), dict(cell={"method": "lora:"}),
    dict(cell={"remedy": "replay:share=0.25"}), dict(cell={"lr": 0.01})], ids=str)
def test_what_changes_no_result_makes_no_other_cell(change, key):
    assert key(**change) == key()


def test_two_names_of_one_method_are_one_cell(key):
    assert key(cell={"method": "bitfit"}) == key(cell={"method": "frozen:train=biases"})
    assert key(cell={"method": "houlsby"}) == key(cell={"method": "adapter"}) != key(cell={"method": "pfeiffer"})


# ---- fair to all

@pytest.fixture
def watched(monkeypatch):
    """{cell: the batches that it trained on}, {cell: the texts that it was judged by}, all as hashes."""
    batches, judged, now = {}, {}, []
    train, step, look = Lab.train, Trainer.step, evaluate.token_log_p

    def watched_train(self, cell):
        now.append(cell)
        return train(self, cell)

    def watched_step(self, tokens, targets):
        batches.setdefault(now[-1], []).append(hashlib.sha256(tokens.tobytes() + targets.tobytes()).hexdigest())
        return step(self, tokens, targets)

    def watched_look(model, documents, workers=None):
        if now:
            judged.setdefault(now[-1], set()).add(json.dumps(documents))
        return look(model, documents, workers)

    monkeypatch.setattr(Lab, "train", watched_train)
    monkeypatch.setattr(Trainer, "step", watched_step)
    monkeypatch.setattr(evaluate, "token_log_p", watched_look)
    return batches, judged


def test_all_have_the_same_documents_and_steps_and_each_seed_its_own(base, watched, tmp_path):
    batches, judged = watched
    compare(base, MOOD, ["full", "ia3"], seeds=2, rates=2, folder=tmp_path, **TINY)
    assert {cell.method for cell in batches} == {"full", "ia3", SCRATCH} and {cell.seed for cell in batches} == {1, 2}
    of_seed = {seed: {tuple(seen) for cell, seen in batches.items() if cell.seed == seed} for seed in (1, 2)}
    assert len(of_seed[1]) == len(of_seed[2]) == 1 and of_seed[1] != of_seed[2]
    assert all(len(seen) == TINY["steps"] for seen in batches.values())
    [texts] = set(map(frozenset, judged.values()))               # and all of them are asked the same
    assert len(texts) == 1 + 1 + 7                               # validation and test of the new; the old domains, and novels


def test_each_seed_draws_documents_of_its_own_but_all_are_judged_by_the_same(base, tmp_path):
    lab = Lab(base, MOOD, 2, 3, 3, tmp_path, 1)
    taught = [json.dumps([document.ids for document in lab.task(seed).documents("train", 6)]) for seed in (1, 2, 3)]
    asked = [json.dumps([document.ids for document in lab.task(seed).documents("test", 6)]) for seed in (1, 2, 3)]
    assert len(set(taught)) == 3 and len(set(asked)) == 1
    assert taught[0] == json.dumps([document.ids for document in SpecialTask("mood", 3).documents("train", 6)])


def test_with_replay_the_new_documents_are_the_same_and_old_ones_come_on_top(base, watched, tmp_path, monkeypatch):
    rows, whole = [], Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, tokens, targets: rows.append(tokens) or whole(self, tokens, targets))
    lab = Lab(base, MOOD, 1, 3, 2, tmp_path, 1)
    for remedy in ("none", "replay:share=0.67"):
        lab.run(Cell("full", 1e-3, 1, remedy))
    plain, mixed = rows
    assert len(plain) == 3 and len(mixed) == 5 and np.array_equal(mixed[:3, :plain.shape[1]], plain)


def test_from_scratch_knows_nothing_of_the_base(base, tmp_path, monkeypatch):
    tables, step = [], Trainer.step

    def watched_step(self, *batch):
        tables.append(self.model.wte.weight.data.copy())
        return step(self, *batch)

    monkeypatch.setattr(Trainer, "step", watched_step)
    lab = Lab(base, MOOD, 1, 3, 2, tmp_path, 1)
    full, scratch = (lab.run(Cell(method, 1e-3, 1)) for method in ("full", SCRATCH))
    pretrained = base.model.wte.weight.data
    assert np.array_equal(tables[0], pretrained) and abs(np.corrcoef(tables[1].reshape(-1), pretrained.reshape(-1))[0, 1]) < 0.2
    assert full["trainable_parameters"] == full["total_parameters"] == scratch["trainable_parameters"]


@pytest.mark.parametrize("rates, more", [(1, 0), (3, 2)])
def test_of_whoever_learns_much_at_every_rate_lower_ones_are_tried_but_not_used(rates, more, base, made, tmp_path, monkeypatch):
    """They tell what is forgotten on the way. Who starts from nothing forgets nothing."""
    train = Lab.train
    monkeypatch.setattr(Lab, "train", lambda self, cell: train(self, cell) | {
        "test": {name: {"excess": 0.1, "accuracy": None} for name in (self.new, *self.old)}})
    outcome = compare(base, MOOD, ["lora"], seeds=2, rates=rates, folder=tmp_path, **TINY)
    lora, scratch = outcome.rows
    assert len(lora.sweep) == rates + more and len(scratch.sweep) == rates
    assert lora.lr == usual_rate("lora") and not lora.at_edge and lora.cells[0] == lora.sweep[lora.lr]
    assert min(lora.sweep) == pytest.approx(usual_rate("lora") / 2 ** (rates // 2 + more))


def test_the_base_is_as_it_was(base, real):
    assert module.fingerprint(base.model) == real[0].settings["base"]


# ---- a real one

def test_methods_and_remedies_are_all_there_each_at_the_best_rate_of_the_method_alone(real):
    outcome, _ = real
    assert [(row.method, row.remedy) for row in outcome.rows] == [
        ("full", "none"), ("full", "replay"), ("ia3", "none"), ("ia3", "replay"), ("lora:rank=2", "none"),
        ("lora:rank=2", "replay"), (SCRATCH, "none")]
    assert [row.name for row in outcome.rows][1] == "full + replay"
    for row in outcome.rows:
        assert len(row.cells) == 2 and row.lr == [other.lr for other in outcome.rows if other.method == row.method][0]
        if row.remedy == "none":
            assert 2 <= len(row.sweep) <= 6 and row.lr in row.sweep
            assert row.at_edge or (row.lr, False) == best_rate(row.sweep)
            assert row.cells[0] == row.sweep[row.lr]             # the first seed's was found in the sweep
        else:
            assert row.sweep == {} and row.cells[0] != row.cells[1]
    assert outcome.new == "mood" and outcome.old == WorldTask(3).learned


def test_the_numbers_of_a_cell_are_those_of_the_trained_model(base, tmp_path):
    """Trained once more by hand, and judged by hand."""
    from minillm.finetune.methods import recipe_of
    from minillm.finetune.specialist import prepare, specialise
    cell = Lab(base, MOOD, 3, 4, 5, tmp_path, 1).run(Cell("lora:rank=2", 2e-2, 2))
    task = SpecialTask("mood", 3, 6, draw=1, workers=1)
    recipe = recipe_of("lora:rank=2")
    model = prepare(base.model, recipe, 2)
    run = specialise(model, recipe, task, None, AdamW(2e-2), 3, 4, 2, workers=1)
    for step in range(3):
        run.trainer.step(*run.batches.at(step))
    scores = task.score(model, "test", 5)
    assert cell["test"].keys() == scores.keys() == {*task.world.general, "mood"}
    for name, score in scores.items():
        assert cell["test"][name] == {"excess": score.excess, "accuracy": score.accuracy}
    assert cell["validation"] == task.score(model, "validation", 5)["mood"].excess
    assert cell["trainable_parameters"] == 2 * 2 * (4 * (12 + 12) + (12 + 48) + (48 + 12))
    assert cell["total_parameters"] == sum(p.size for p in model.parameters().values())
    assert 4 * cell["trainable_parameters"] < cell["file_bytes"] < 4 * cell["trainable_parameters"] + 4000
    assert cell["memory"].keys() == {"weights", "gradients", "optimizer", "activations"}
    assert cell["memory"]["optimizer"] == pytest.approx(8 * cell["trainable_parameters"], rel=0.1)


def test_the_base_is_judged_like_all_others(base, real):
    scores = SpecialTask("mood", 3, workers=1).score(base.model, "test", TINY["test_documents"])
    untouched = real[0].untouched
    assert {name: entry["excess"] for name, entry in untouched["test"].items()} == {
        name: score.excess for name, score in scores.items()}
    assert real[0].closed(untouched) == 0


def test_a_method_that_cannot_be_is_refused_before_anything_is_trained(base, made, tmp_path):
    for method, message in (("lora:rank=99", "rank 99"), ("frozen:train=nothing", "matches no"), ("prefix:tokens=0", "at least")):
        with pytest.raises(ValueError, match=message):
            compare(base, MOOD, ["full", method], folder=tmp_path, **TINY)
    assert made == [] and not list(tmp_path.rglob("*.json"))


def test_a_method_named_twice_is_compared_once(base, made, tmp_path):
    outcome = compare(base, MOOD, ["ia3", "full", "ia3"], seeds=1, rates=1, folder=tmp_path, **TINY)
    assert [row.method for row in outcome.rows] == ["ia3", "full", SCRATCH]
    assert [row.method for row in compare(base, MOOD, ["ia3"], seeds=1, rates=1, scratch=False, folder=tmp_path, **TINY).rows
            ] == ["ia3"]


def test_texts_without_a_mistake_are_counted_in_every_cell_and_of_the_base(base, tmp_path):
    """The share for each seed, its mean and interval; of answers to questions only those on the old kinds can be read."""
    novels = {"kind": "novel", "seed": 3, "documents": 6, "draw": 0}
    outcome = compare(base, novels, ["ia3"], seeds=2, rates=1, scratch=False, folder=tmp_path, **TINY | {"samples": 4})
    for cell in (outcome.untouched, *outcome.rows[0].cells):
        assert cell["flawless"].keys() == {*outcome.old, "novel"} and cell["flawless"]["novel"].keys() == {"1", "0.7"}
        assert [cell["flawless"][name]["1"]["n"] for name in ("novel", "chat")] == [4, 1]
    assert outcome.untouched["flawless"]["novel"]["1"] == flawless(base.model, WorldTask(3).world, "novel", 4).to_json()
    assert "novel flawless % at 1 / 0.7" in outcome.text() and "Flawless: " in outcome.caption()
    pairs = compare(base, MOOD, ["ia3"], seeds=1, rates=1, scratch=False, folder=tmp_path, **TINY | {"samples": 1})
    assert pairs.untouched["flawless"].keys() == set(pairs.old)
    assert "mood flawless" not in pairs.text() and "old flawless % at 1 / 0.7" in pairs.text()


def test_shares_of_flawless_texts_worked_out_by_hand(tmp_path):
    def written(*shares):
        return {name: {"1": {"share": share}, "0.7": {"share": 1.0}} for name, share in zip(("mood", "chat", "story"), shares)}

    cells = [result() | {"flawless": written(share, 0.5, 0.7)} for share in (0.2, 0.4)]
    outcome = comparison(Row("full", "none", 1e-3, False, cells, {}), untouched=result() | {"flawless": written(0.0, 0.5, 1.0)})
    entries = outcome.entries(outcome.rows[0])
    assert entries["new_flawless_1"] == pytest.approx(0.3) and entries["old_flawless_1"] == pytest.approx(0.6)
    assert entries["new_flawless_1_interval"] == pytest.approx(12.706 * 0.1, rel=1e-3) and entries["new_flawless_0.7"] == 1
    base, full = read_markdown(outcome.save(tmp_path)[0].read_text())
    assert base["mood flawless % at 1 / 0.7"] == "0 / 100" and base["old flawless % at 1 / 0.7"] == "75 / 100"
    assert full["mood flawless % at 1 / 0.7"] == "30 +- 127 / 100 +- 0"
    with open(tmp_path / "comparison.csv") as file:
        assert [float(line["old_flawless_1"]) for line in csv.DictReader(file)] == pytest.approx([0.75, 0.6])


# ---- divergence

@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_cell_that_diverges_is_kept_as_such(base, tmp_path, monkeypatch):
    lab = Lab(base, MOOD, 5, 3, 2, tmp_path, 1)
    outcome = lab.run(Cell("full", 1e30, 1))
    assert outcome == {"status": "diverged", "step": outcome["step"]} and 1 <= outcome["step"] <= 5
    monkeypatch.setattr(Lab, "train", lambda self, cell: pytest.fail("it trains again"))
    assert lab.run(Cell("full", 1e30, 1)) == outcome


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_model_that_is_ruined_by_its_last_step_has_diverged_too(base, tmp_path):
    assert Lab(base, MOOD, 1, 3, 2, tmp_path, 1).run(Cell("full", 1e30, 1))["status"] == "diverged"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_method_that_diverges_is_marked_and_the_others_are_compared(base, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "usual_rate", lambda name: 1e30 if name == "full" else 1e-2)
    outcome = compare(base, MOOD, ["full", "ia3"], seeds=2, rates=1, scratch=False, folder=tmp_path, **TINY)
    full, ia3 = outcome.rows
    assert [cell["status"] for cell in full.cells] == ["diverged"] * 2 and full.at_edge and full.done == []
    assert [cell["status"] for cell in ia3.cells] == ["done"] * 2
    assert "diverged" in outcome.text() and "new" not in outcome.entries(full) and math.isfinite(outcome.entries(ia3)["new"])
    json.dumps(outcome.to_json(), allow_nan=False)
    draw.comparison(outcome, tmp_path / "picture.png")


def test_seeds_that_diverged_are_not_averaged_in(made, base, tmp_path, monkeypatch):
    train = Lab.train

    def fragile(self, cell):
        if cell.seed == 2 and cell.method == "lora":
            raise Diverged(7)
        return train(self, cell)

    monkeypatch.setattr(Lab, "train", fragile)
    outcome = compare(base, MOOD, ["lora", "full"], seeds=3, rates=1, folder=tmp_path, **TINY)
    row = outcome.rows[0]
    assert [cell["status"] for cell in row.cells] == ["done", "diverged", "done"] and row.cells[1]["step"] == 7
    entries = outcome.entries(row)
    assert entries["seeds"] == 3 and entries["diverged"] == 1
    assert entries["new"] == pytest.approx(np.mean([row.cells[i]["test"]["mood"]["excess"] for i in (0, 2)]))
    assert "(1 of 3 diverged)" in outcome.text() and outcome.text().count("diverged") == 1


# ---- intervals

def student(t, df):
    """P(|T| < t) of Student's t, by the integral of its density with x = tan(u)."""
    u = np.linspace(-math.atan(t), math.atan(t), 200_001)
    x = np.tan(u)
    density = math.gamma((df + 1) / 2) / (math.sqrt(df * math.pi) * math.gamma(df / 2)) * (1 + x * x / df) ** (-(df + 1) / 2)
    inner = density / np.cos(u) ** 2
    return float(((inner[1:] + inner[:-1]) / 2).sum() * (u[1] - u[0]))


@pytest.mark.parametrize("df", range(1, len(T_95)))
def test_the_quantiles_are_those_of_student(df):
    assert student(T_95[df], df) == pytest.approx(0.95, abs=5e-4)


def test_intervals_worked_out_by_hand():
    mean, half = mean_and_interval([1.0, 2.0, 6.0])
    assert mean == 3 and half == pytest.approx(4.303 * math.sqrt(((2 * 2 + 1 + 9) / 2) / 3), rel=1e-3)
    mean, half = mean_and_interval([0.5, 0.7])
    assert mean == pytest.approx(0.6) and half == pytest.approx(12.706 * 0.1, rel=1e-3)
    assert mean_and_interval([0.25]) == (0.25, None)
    assert mean_and_interval([2.0] * 5) == (2, 0)
    assert mean_and_interval([0.0, 1.0] * 20)[1] == pytest.approx(2.23 * 0.506 / math.sqrt(40), rel=0.01)


def test_intervals_hold_the_truth_nineteen_times_in_twenty(rng):
    held = 0
    for _ in range(2000):
        mean, half = mean_and_interval(rng.normal(3.0, 0.2, 3).tolist())
        held += abs(mean - 3.0) <= half
    assert held / 2000 == pytest.approx(0.95, abs=0.02)


# ---- forgotten at one level of learning

def at_level(*points, level=LEVEL):
    """Of a sweep with these (closed share of the gap, excess on chat), rising learning rates; None: it diverged."""
    sweep = {10.0 ** -i: DIVERGED if point is None else result(new=2.0 * (1 - point[0]), old=point[1])
             for i, point in enumerate(reversed(points))}        # not in order of the rate
    return comparison().forgotten_at_level(Row("full", "none", 1.0, False, [], sweep), level)


@pytest.mark.parametrize("points, chat", [
    ([(0.6, 0.1), (0.7, 0.2), (1.0, 0.5)], 0.3),                 # a third of the way between the last two
    ([(0.7, 0.1), (0.9, 0.3), (1.0, 0.9)], 0.2), ([(0.9, 0.4), (1.0, 0.9)], 0.4), ([(0.8, 0.4)], 0.4),
    ([(0.5, 0.1), (0.8, 0.4), (0.9, 0.9)], 0.4), ([(0.1, 0.1), (0.79, 0.4)], None), ([], None), ([None], None),
    ([(0.7, 0.1), None, (0.9, 0.3)], 0.2), ([None, (0.9, 0.4)], 0.4), ([(0.7, 0.1), (0.9, 0.3), None], 0.2),
    ([(0.6, 0.5), (0.9, 0.2), (0.5, 0.9), (1.0, 9.0)], 0.5 - 2 / 3 * 0.3), ([(-3.0, 0.1), (0.4, 0.2), (0.79, 0.9)], None)],
    ids=str)
def test_what_is_forgotten_where_so_much_is_learned(points, chat):
    expected = None if chat is None else pytest.approx(2 * chat)      # the mean over chat and story is twice chat's
    assert at_level(*points) == expected


def test_another_level():
    assert at_level((0.0, 0.0), (1.0, 1.0), level=0.5) == pytest.approx(1.0)


# ---- one table in three forms

def read_markdown(text):
    """[{heading: cell}]"""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert all(set(cell) <= set("-:") for cell in lines[1]) and len({len(line) for line in lines}) == 1
    return [dict(zip(lines[0], line)) for line in lines[2:]]


def number(text):
    """The first number of a cell, and its interval."""
    parts = text.replace(",", "").split(" (")[0].split(" +- ")
    return (float(parts[0]), float(parts[1]) if len(parts) > 1 else None)


@pytest.mark.parametrize("which", ["made by hand", "real"])
def test_markdown_csv_and_json_agree(which, real, tmp_path):
    outcome = real[0] if which == "real" else comparison(*ROWS)
    markdown, table, data = outcome.save(tmp_path)
    assert [path.name for path in (markdown, table, data)] == ["comparison.md", "comparison.csv", "comparison.json"]
    written = json.loads(data.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    shown, kept = read_markdown(markdown.read_text()), list(csv.DictReader(io.StringIO(table.read_text())))
    assert len(shown) == len(kept) == len(written["rows"]) + 1 == len(outcome.rows) + 1
    assert written["settings"] == json.loads(json.dumps(outcome.settings))
    for line, row, entry in zip(shown[1:], kept[1:], written["rows"]):
        for column, value in entry.items():
            if column not in ("cells", "sweep"):
                assert row[column] == ("" if value is None else str(value)), column
        assert line["method"] == entry["method"] + (f" + {entry['remedy']}" if entry["remedy"] != "none" else "")
        assert float(line["best lr"].split()[0]) == pytest.approx(entry["lr"], rel=0.05)
        assert ("(edge)" in line["best lr"]) == entry["lr_at_edge"]
        if "new" not in entry:
            assert line["excess on mood"] == "diverged" and entry["diverged"] == entry["seeds"]
            continue
        for heading, column, scale, digits in (("excess on mood", "new", 1, 3), ("excess on the old", "old", 1, 3),
                                               ("gap closed %", "closed", 100, 1), ("right %", "accuracy", 100, 1)):
            mean, interval = number(line[heading])
            assert mean == pytest.approx(scale * entry[column], abs=0.51 * 10 ** -digits)
            assert interval == pytest.approx(scale * entry[f"{column}_interval"], abs=0.51 * 10 ** -digits)
        for heading, column in (("trains", "trainable"), ("%", "trainable_percent"), ("file KiB", "file_kib"),
                                ("step ms", "step_ms"), ("memory MB", "memory_mb")):
            assert number(line[heading])[0] == pytest.approx(entry[column], rel=0.01, abs=0.051), heading
        level = line[f"old at {100 * LEVEL:.0f} % closed"]
        assert (level == "") == (entry["old_at_level"] is None)
        assert level == "" or float(level.removeprefix("<= ")) == pytest.approx(entry["old_at_level"], abs=5.1e-4)
    base = shown[0]
    assert base["method"] == kept[0]["method"] == "untouched" and base["trains"] == base["best lr"] == ""
    assert float(base["excess on mood"]) == pytest.approx(float(kept[0]["new"]), abs=5.1e-4)
    assert float(kept[0]["old"]) == pytest.approx(outcome.excess_old(written["untouched"]))


def test_a_row_worked_out_by_hand():
    entries = comparison(*ROWS).entries(ROWS[0])
    assert [entries[name] for name in ("new", "old", "accuracy")] == pytest.approx([0.5, 0.4, 0.7])
    assert entries["closed"] == pytest.approx(0.75) and entries["new_interval"] == pytest.approx(4.30 * 0.1 / math.sqrt(3))
    assert entries["closed_interval"] == pytest.approx(4.30 * 0.05 / math.sqrt(3))
    assert entries["old_interval"] == pytest.approx(4.30 * 0.2 / math.sqrt(3))
    assert entries["trainable"] == 250 and entries["trainable_percent"] == 2.5 and entries["file_kib"] == 2
    assert entries["memory_mb"] == 6.5 and entries["step_ms"] == 2.5           # beside the weights
    assert entries["old_at_level"] is None and entries["diverged"] == 0


def test_the_text_for_the_screen_has_the_cells_of_the_markdown(real):
    for outcome in (real[0], comparison(*ROWS)):
        headings, lines = outcome.table()
        shown = outcome.text().splitlines()
        assert len(shown) == len(lines) + 1
        for line, row in zip(shown, [headings, *lines]):
            rest = line
            for cell in filter(None, row):
                assert cell in rest
                rest = rest[rest.index(cell) + len(cell):]


@pytest.mark.parametrize("closed, shown", [
    ([0.9, 0.95], "<= 0.400"), ([0.7, 0.9], "0.500"), ([0.1, 0.2], ""), ([0.8], "<= 0.400"), ([None, 0.9], "<= 0.600"),
    ([None], "")], ids=str)
def test_where_the_least_rate_learns_enough_what_is_forgotten_is_a_bound(closed, shown):
    sweep = {float(i + 1): DIVERGED if share is None else result(new=2 * (1 - share), old=0.2 + 0.1 * i)
             for i, share in enumerate(closed)}
    outcome = comparison(Row("full", "none", 1.0, False, [result()], sweep))
    assert outcome.table()[1][1][-1] == shown and read_markdown(outcome.markdown())[1]["old at 80 % closed"] == shown


def test_where_nobody_asks_for_answers_there_is_no_column_for_them():
    plain = [Row("full", "none", 1e-3, False, [result(accuracy=None)], {})]
    outcome = comparison(*plain, untouched=result(accuracy=None))
    assert "right %" not in outcome.text() and "accuracy" not in outcome.entries(plain[0])


def test_with_one_seed_there_are_no_intervals():
    row = Row("full", "none", 1e-3, False, [result()], {})
    outcome = comparison(row)
    assert outcome.entries(row)["new_interval"] is None and "+-" not in outcome.text()


def test_the_caption_tells_how_it_was_done():
    text = comparison(*ROWS).markdown()
    for part in ("100 test texts", "3 seeds", "100 steps of 16", "AdamW", "5 or more learning rates", "Student"):
        assert part in text


# ---- texts and pairs of one's own

@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A model of a text, the text, and other files in its letters: texts and pairs."""
    folder, rng = tmp_path_factory.mktemp("book"), np.random.default_rng(0)
    for name in ("book", "letters", "more/book"):
        path = folder / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(" ".join(rng.choice("the mill turns and runs under a grey sky\n".split(" "), 300)))
    for name in ("riddles", "book"):
        (folder / f"{name}.jsonl").write_text("".join(
            json.dumps({"prompt": f"{x} the ", "completion": f"{y} sky"}) + "\n" for x in ("and", "under") for y in "mrga" * 5))
    base = pretrain(TextTask(folder / "book.txt", workers=1), SMALL | {"context": 16}, folder / "pretrained.npz",
                    optimizer=AdamW(1e-2), steps=5, batch=3, workers=1)
    return base, folder


@pytest.mark.parametrize("file, names", [
    ("letters.txt", ("letters", ["book"])), ("riddles.jsonl", ("riddles", ["book"])), ("book.jsonl", ("book", ["book, the old"])),
    ("more/book.txt", ("book", ["book, the old"]))])
def test_methods_are_compared_on_texts_and_pairs_too(file, names, book, tmp_path):
    """There is no floor, so it is the loss; of what was pretrained on, and of what is new, even where both have one name."""
    base, folder = book
    kind = "pairs" if file.endswith("jsonl") else "text"
    outcome = compare(base, {"kind": kind, "path": str(folder / file)}, ["full", "ia3"], ["none", "ewc:documents=3"], seeds=2,
                      rates=2, folder=tmp_path, **TINY)
    assert (outcome.new, outcome.old) == names
    lab = Lab(base, {"kind": kind, "path": str(folder / file)}, 2, 3, 3, tmp_path, 1)
    new, old = lab.task(1).score(base.model)[names[0]], lab.old_task.score(base.model)["book"]
    assert outcome.excess_new(outcome.untouched) == new.loss and outcome.excess_old(outcome.untouched) == old.loss != new.loss
    assert ("right %" in outcome.text()) == (kind == "pairs")
    for row in outcome.rows:
        assert all(cell["status"] == "done" for cell in row.cells) and 0 < outcome.entries(row)["old"] < 10
    outcome.save(tmp_path)
    assert len(read_markdown((tmp_path / "comparison.md").read_text())) == 6


def test_when_a_file_changes_so_do_its_cells(book, made, tmp_path):
    """A comparison on a file that was mended must not tell what came of the old one."""
    base, folder = book
    task = {"kind": "pairs", "path": str(tmp_path / "riddles.jsonl")}
    lines = (folder / "riddles.jsonl").read_text().splitlines()
    for n in (40, 40, 39):
        (tmp_path / "riddles.jsonl").write_text("\n".join(lines[:n]))
        compare(base, task, ["full"], seeds=1, rates=1, scratch=False, folder=tmp_path, **TINY)
    assert len(made) == 2


def test_bad_lines_are_left_out_by_every_cell_if_the_task_says_so(book, made, tmp_path):
    base, folder = book
    path = tmp_path / "riddles.jsonl"
    path.write_text((folder / "riddles.jsonl").read_text() + "no JSON\n")
    with pytest.raises(ValueError, match="line 41"):
        compare(base, {"kind": "pairs", "path": str(path)}, ["full"], seeds=1, rates=1, folder=tmp_path, **TINY)
    compare(base, {"kind": "pairs", "path": str(path), "skip": True}, ["full"], seeds=1, rates=1, folder=tmp_path, **TINY)
    assert len(made) == 2


def test_a_specialist_that_stands_alone_can_be_the_base_of_the_next(base, tmp_path):
    """What it knew before is then what it was made for."""
    novels = SpecialTask("novel", 3, 4, workers=1)
    specialist = finetune(base, tmp_path / "pretrained.npz", novels, Full(), tmp_path / "full.npz", optimizer=AdamW(1e-3),
                          steps=2, batch=2, workers=1)
    for task, names in ((MOOD, ("mood", ["novel"])), (novels.to_json(), ("novel", ["novel, the old"]))):
        outcome = compare(specialist, task, ["ia3"], seeds=1, rates=1, scratch=False, folder=tmp_path / names[0], **TINY)
        assert (outcome.new, outcome.old) == names and outcome.excess_old(outcome.untouched) > 0


# ---- pictures

PICTURED = {"all kinds of rows": ROWS, "one method": ROWS[:1], "one seed": [Row("full", "none", 1e-3, False, [result()], {
    1e-3: result()})], "no sweep": ROWS[1:2], "a diverged row alone": ROWS[3:4], "scratch alone": ROWS[4:], "nothing": [],
    "better than the floor": [Row("full", "none", 1e-3, False, [result(new=-0.01, old=-0.02)] * 2, {1e-3: result(new=-0.01)})]}


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("rows", PICTURED.values(), ids=PICTURED)
def test_a_picture_of_whatever_was_found(rows, tmp_path):
    path = tmp_path / "new" / "comparison.png"
    draw.comparison(comparison(*rows), path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and path.stat().st_size > 20_000
    assert [file.name for file in path.parent.iterdir()] == ["comparison.png"]


def test_the_picture_names_every_method_that_has_a_result(monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(sys.modules["minillm.draw.comparisons"], "save", lambda fig, path: figures.append(fig))
    draw.comparison(comparison(*ROWS), tmp_path / "comparison.png")
    [figure] = figures
    left, right = figure.axes
    ticks = [label.get_text().split("\n")[0] for label in right.get_yticklabels()]
    assert ticks == ["lora:rank=2", "full fine-tuning", "full + replay", "from scratch"]      # the best first
    named = {text.get_text() for text in left.texts}
    assert {"untouched", "full fine-tuning", "full + replay", "lora:rank=2", "from scratch"} <= named and "ia3" not in named
    assert "mood" in left.get_xlabel() and "mood" in right.get_title(loc="left")


def test_lower_rates_are_tried_until_one_has_not_learned_enough():
    asked = []

    def run(lr):
        asked.append(lr)
        return {"status": "done", "closed": 0.9 if lr > 0.1 else 0.5}

    def enough(cell):
        return cell["closed"] >= 0.8

    sweep = try_lower_rates(run, {0.4: run(0.4), 0.8: run(0.8)}, enough)
    assert list(sweep) == [0.1, 0.2, 0.4, 0.8] and asked == [0.4, 0.8, 0.2, 0.1]
    assert try_lower_rates(run, {0.1: run(0.1)}, enough) == {0.1: run(0.1)}
    assert list(try_lower_rates(lambda lr: {"status": "done", "closed": 1.0}, {0.4: run(0.4)}, enough)) == [0.1, 0.2, 0.4]
    assert list(try_lower_rates(run, {0.4: {"status": "diverged"}}, enough)) == [0.4]
