"""The whole story in one file computes what the package computes, and tells it well enough to be run."""

import ast
import re
import sys

import numpy as np
import pytest
from plain import PATH, plain, zeros_like

from minillm.finetune.methods import BottleneckAdapter
from minillm.gradcheck import perturb
from minillm.nn import GPT, Config, CrossEntropy
from minillm.train.flat import FlatParameters
from minillm.train.optimizers import AdamW

TEXT = PATH.read_text(encoding="utf-8")
SIZES = [(2, 5, 7, 3, 4, 2, 11), (3, 4, 4, 2, 5, 1, 6), (1, 6, 9, 5, 2, 3, 8)]      # B, T, context, H, D, L, V


def close(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert np.abs(ours - theirs).max() <= 1e-10 * np.abs(theirs).max()


def agree(model, tokens, targets, monkeypatch):
    """Loss, logits and the gradient of every weight that trains, of the story against those of the package."""
    monkeypatch.setattr(plain, "H", model.config.n_head)
    monkeypatch.setattr(plain, "L", model.config.n_layer)
    theirs, cache = model.forward(tokens)
    their_loss, loss_cache = CrossEntropy().forward(theirs, targets)
    model.zero_grad()
    model.backward(CrossEntropy().backward(1.0, loss_cache), cache)

    w = model.state_dict()
    dw = zeros_like({name: w[name] for name in model.trainable_parameters()})
    logits, gpt_back = plain.gpt(tokens, w)
    loss, loss_back = plain.cross_entropy(logits, targets)
    gpt_back(loss_back(), dw)

    close(logits, theirs)
    assert loss == pytest.approx(their_loss, rel=1e-10)
    largest = max(np.abs(p.grad).max() for p in model.trainable_parameters().values())
    for name, p in model.trainable_parameters().items():
        assert np.abs(dw[name] - p.grad).max() <= 1e-10 * max(np.abs(p.grad).max(), 1e-3 * largest), name


@pytest.fixture(params=SIZES, ids=lambda sizes: "B{} T{} of {} H{} D{} L{} V{}".format(*sizes))
def problem(request, rng):
    """A model with weights that are nowhere special, and what it is to read."""
    B, T, context, H, D, L, V = request.param
    model = GPT(Config(V, context, L, H, H * D), rng, np.float64)
    perturb(model, rng)
    return model, rng.integers(0, V, (B, T)), rng.integers(0, V, (B, T))


def test_loss_logits_and_every_gradient_are_those_of_the_package(problem, monkeypatch):
    agree(*problem, monkeypatch)


def test_the_same_with_adapters(problem, rng, monkeypatch):
    model, tokens, targets = problem
    BottleneckAdapter(bottleneck=2).apply(model, rng)
    perturb(model, rng)
    agree(model, tokens, targets, monkeypatch)


def test_the_same_with_adapters_where_everything_trains(problem, rng, monkeypatch):
    model, tokens, targets = problem
    BottleneckAdapter(bottleneck=2).apply(model, rng)
    model.trainable = True
    perturb(model, rng)
    agree(model, tokens, targets, monkeypatch)


def small(rng, adapters=False):
    """Weights of the story's own making, and some texts."""
    tables = {"wte": (len(plain.WORDS), plain.C), "wpe": (plain.T, plain.C)}
    layers = {**tables, **plain.BLOCKS, "ln_f": (plain.C,), **(plain.ADAPTERS if adapters else {})}
    return plain.new_weights(layers, rng), plain.write(plain.POET, 20, rng)


def shapes(w):
    return {name: array.shape for name, array in w.items()}


def test_its_weights_have_the_names_and_shapes_of_the_package(rng):
    model = GPT(Config(len(plain.WORDS), plain.T, plain.L, plain.H, plain.C), rng)
    assert shapes(small(rng)[0]) == shapes(model.state_dict())
    BottleneckAdapter(bottleneck=plain.M).apply(model, rng)
    assert shapes(small(rng, adapters=True)[0]) == shapes(model.state_dict())


def test_adapters_begin_as_the_identity(rng):
    w, rows = small(rng, adapters=True)
    without = {name: array for name, array in w.items() if "adapter" not in name}
    assert len(without) < len(w)
    assert np.array_equal(plain.gpt(rows, w)[0], plain.gpt(rows, without)[0])


def test_float32_stays_float32(rng):
    w, rows = small(rng, adapters=True)
    logits, gpt_back = plain.gpt(rows[:, :-1], w)
    loss, loss_back = plain.cross_entropy(logits, rows[:, 1:])
    dw = zeros_like(w)
    gpt_back(loss_back(), dw)
    plain.train(w, list(w), rows, 2, 1e-3, rng)
    assert {a.dtype for a in (logits, loss, loss_back(), *dw.values(), *w.values())} == {np.dtype(np.float32)}


@pytest.mark.parametrize("part", ["", "blocks.1.", "ln_", "adapter", "wpe"])
def test_what_is_frozen_stays_and_what_trains_moves(part, rng):
    w, rows = small(rng, adapters=True)
    before = dict(w)
    copies = {name: array.copy() for name, array in w.items()}
    names = [name for name in w if part in name]
    plain.train(w, names, rows, 3, 1e-2, rng)
    for name in w:
        assert (w[name] is not before[name]) == (name in names)
        assert np.array_equal(w[name], copies[name]) == (name not in names), name
        assert np.array_equal(before[name], copies[name])       # the model that it started from is as it was


def test_gradients_that_reach_what_trains_are_the_same_when_the_rest_is_frozen(rng):
    w, rows = small(rng, adapters=True)
    w |= {name: array + np.float32(0.1) for name, array in w.items()}
    _, gpt_back = plain.gpt(rows, w)
    dlogits = rng.normal(size=(*rows.shape, len(plain.WORDS))).astype(np.float32)
    every, one = zeros_like(w), zeros_like({"wpe.weight": w["wpe.weight"]})
    gpt_back(dlogits, every)
    gpt_back(dlogits, one)
    assert one.keys() == {"wpe.weight"} and np.array_equal(one["wpe.weight"], every["wpe.weight"]) and one["wpe.weight"].any()


def test_adamw_is_that_of_the_package(rng):
    model = GPT(Config(11, 7, 2, 3, 12), rng, np.float64)
    BottleneckAdapter(bottleneck=2).apply(model, rng)
    model.trainable = True
    perturb(model, rng)
    flat, theirs = FlatParameters(model.trainable_parameters()), AdamW(lr=0.01)
    theirs.start(flat)
    w = {name: array.copy() for name, array in model.state_dict().items()}
    m, v = zeros_like(w), zeros_like(w)
    for step in range(1, 6):
        dw = {name: rng.normal(size=array.shape) for name, array in w.items()}
        for name, p in model.parameters().items():
            p.grad[...] = dw[name]
        theirs.step(1 / step)
        plain.adamw(w, dw, m, v, step, 0.01 / step)
    for name, array in model.state_dict().items():
        close(w[name], array)


def test_a_short_run_ends_with_three_poets(capsys):
    narrator, *poets = plain.story(1, steps=(120, 60))
    out = capsys.readouterr().out
    trained, new, old = zip(narrator, *poets)
    assert len(poets) == 3 and trained[0] == trained[1] > trained[2] > trained[3]
    assert old[0] < 1 and all(loss < new[0] / 3 for loss in new[1:])        # better in the new voice
    assert all(loss > old[0] + 0.3 for loss in old[1:])                     # and worse in the old one
    for title in ("The narrator", "1. ", "2. ", "3. "):
        assert re.search(rf"^{title}.*numbers trained; loss on unseen texts: poet \d+\.\d\d, narrator \d+\.\d\d$", out, re.M)


def test_a_run_is_determined_by_its_seed(capsys):
    runs = []
    for seed in (3, 3, 4):
        results = plain.story(seed, steps=(6, 3))
        runs.append((results, capsys.readouterr().out))
    assert runs[0] == runs[1] != runs[2]


def test_the_texts_are_different_ones_and_fit(rng):
    for patterns, n in ((plain.NARRATOR, 400), (plain.POET, 300)):
        rows = plain.write(patterns, n, rng)
        assert rows.shape == (n, plain.T + 1) and len(np.unique(rows, axis=0)) == n
        assert (rows[:, 0] == 0).all() and (rows[:, -1] == 0).all()         # the end of each is in its row


def test_the_poet_needs_no_word_that_the_narrator_has_not():
    narrator, poet = (set(patterns.split()) for patterns in (plain.NARRATOR, plain.POET))
    assert {word for word in poet - narrator if not word.isupper()} == set()


def test_it_is_short_and_needs_numpy_alone():
    lines = TEXT.splitlines()
    assert len(lines) <= 250 and max(map(len, lines)) <= 110
    imported = {alias.name for node in ast.walk(ast.parse(TEXT)) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(ast.parse(TEXT)) if isinstance(node, ast.ImportFrom)}
    assert "numpy" in imported and {name.split(".")[0] for name in imported} - {"numpy"} <= sys.stdlib_module_names
