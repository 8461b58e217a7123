"""Today's block in one file computes what the package computes with the parts of Llama, and runs."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from unittest.mock import patch

import numpy as np
import pytest
from plain import PATH, plain, zeros_like

from minillm.gradcheck import perturb
from minillm.nn import ARCHITECTURES, GPT, Config, CrossEntropy

TODAY = PATH.with_name("todays_block.py")
spec = spec_from_file_location("todays_block", TODAY)
today = module_from_spec(spec)
with patch.dict(sys.modules, whole_story=plain):
    spec.loader.exec_module(today)

SIZES = [(2, 5, 4, 2, 4, 7, 2, 11), (3, 4, 6, 1, 2, 5, 1, 6), (1, 6, 3, 3, 6, 8, 3, 8)]      # B, T, H, K, D, F, L, V


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "B{} T{} H{} K{} D{} F{} L{} V{}".format(*sizes))
def test_loss_logits_and_every_gradient_are_those_of_the_package(sizes, rng, monkeypatch):
    B, T, H, K, D, F, L, V = sizes
    for name, value in {"H": H, "K": K, "L": L}.items():
        monkeypatch.setattr(today, name, value)
    config = Config(V, T + 1, L, H, H * D, n_kv_head=K, n_hidden=F, rope_base=today.BASE, **ARCHITECTURES["llama"])
    model = GPT(config, rng, np.float64)
    perturb(model, rng)
    tokens, targets = rng.integers(0, V, (2, B, T))
    theirs, cache = model.forward(tokens)
    their_loss, loss_cache = CrossEntropy().forward(theirs, targets)
    model.zero_grad()
    model.backward(CrossEntropy().backward(1.0, loss_cache), cache)

    w = model.state_dict()
    dw = zeros_like(w)
    logits, back = today.llama(tokens, w)
    loss, loss_back = plain.cross_entropy(logits, targets)
    back(loss_back(), dw)
    assert loss == pytest.approx(their_loss, rel=1e-10)
    assert np.abs(logits - theirs).max() <= 1e-10 * np.abs(theirs).max()
    for name, p in model.parameters().items():
        assert np.abs(dw[name] - p.grad).max() <= 1e-10 * np.abs(p.grad).max(), name


def test_both_blocks_learn(capsys):
    results = today.race(steps=100)
    (old, loss), (new, other) = results.values()
    assert new < 0.9 * old and max(loss, other) < 0.6
    assert "today's block: 53,424 numbers" in capsys.readouterr().out


def test_it_is_short_and_stands_on_numpy_alone():
    text = TODAY.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150 and max(map(len, text.splitlines())) <= 110
    assert {line for line in text.splitlines() if line.startswith(("import", "from"))} == {
        "import argparse", "import whole_story as gpt2",
        "from whole_story import WORDS, C, H, L, T, add, cross_entropy, einsum, mean, np, softmax"}
