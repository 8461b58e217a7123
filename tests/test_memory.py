"""What training takes in memory is said before, without taking it, and refused where it cannot fit."""

import re

import numpy as np
import pytest
from commands import run
from test_methods import CONFIG, INSERTED, LONG, PLAIN, prepared

from minillm.finetune.methods import Full, LoRA
from minillm.finetune.report import announcement, memory
from minillm.nn import GPT, IGNORE
from minillm.phases import finetune, pretrain
from minillm.train.costs import activation_bytes, activations_of
from minillm.train.optimizers import SGD, AdamW
from minillm.train.tasks import TextTask
from minillm.train.trainer import Trainer
from minillm.train.workers import even_pieces

every_setting = pytest.mark.parametrize("text", [*PLAIN, *INSERTED])


@pytest.fixture
def rows_read(monkeypatch):
    """The rows of each array of tokens that a model is given."""
    seen, embed = [], GPT.embed

    def counted(self, tokens, start=0):
        seen.append(len(tokens))
        return embed(self, tokens, start)

    monkeypatch.setattr(GPT, "embed", counted)
    return seen


# ---- what the layers keep

@every_setting
@pytest.mark.parametrize("config, T", [(CONFIG, 1), (CONFIG, 7), (LONG, 65), (LONG, 150)], ids=["1", "7", "65", "150"])
def test_what_layers_keep_grows_evenly_with_the_rows(text, config, T):
    """To the byte, for every method: so it need not be measured on a whole batch."""
    model = prepared(text, np.float32, config)
    for rows in (1, 2, 3, 8):
        assert activations_of(model, rows, T) == activation_bytes(model, np.zeros((rows, T), int)), rows


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2, 5])
@pytest.mark.parametrize("B", [1, 2, 7, 24])
def test_pieces_of_equal_length_are_known_without_a_batch(B, n, accumulate):
    workers = Trainer(prepared("full"), SGD(), workers=n, accumulate=accumulate).workers
    assert even_pieces(B, 6, n, accumulate) == workers.at_a_time(np.zeros((B, 6), int))


def test_of_texts_that_differ_in_length_no_more_is_counted_than_is_in_memory(rng):
    targets = rng.integers(0, 11, (12, 7))
    targets[np.arange(7) >= rng.integers(1, 8, 12)[:, None]] = IGNORE
    places = {}
    for accumulate in (1, 4):
        workers = Trainer(prepared("full"), SGD(), workers=2, accumulate=accumulate).workers
        pieces = workers.at_a_time(targets)
        places[accumulate] = sum(rows * T for rows, T in pieces)
        assert len(pieces) == 2 and all(T <= 7 for _, T in pieces)
    assert places[4] < places[1] < targets.size


def test_the_memory_of_a_training_is_told_for_what_is_in_work_at_a_time(rows_read):
    trainer = Trainer(prepared("lora", np.float32), AdamW(), workers=2, accumulate=50)
    found = memory(trainer, even_pieces(10_000, 7, 2, 50))
    assert found["activations"] == 2 * activations_of(trainer.model, 100, 7)
    lines = announcement(trainer, even_pieces(10_000_000, 7, 2))
    assert f"activations {activations_of(trainer.model, 10_000_000, 7) / 1e6:.1f}"[:8] in lines[-1] and max(rows_read) <= 2


def test_inspect_tells_it_of_any_batch(story, rows_read):
    found = {}
    for batch in (1000, 10_000_000):
        code, out, err = run("inspect", story / "pretrained.npz", "--method", "lora:rank=1", "--batch", batch)
        found[batch] = float(re.search(r"activations ([\d.]+)", out)[1])
        assert code == 0 and not err
    assert found[10_000_000] == pytest.approx(10_000 * found[1000], rel=0.01) and max(rows_read) <= 2


# ---- no more than that is taken

@pytest.fixture
def book(tmp_path, rng):
    (tmp_path / "book.txt").write_text("".join(rng.choice(list("abcdefgh "), 3000)))
    return TextTask(tmp_path / "book.txt", workers=1)


def test_with_accumulation_no_part_of_a_training_reads_more_than_a_piece(book, rows_read, tmp_path):
    """Nor does what is said before it, what is saved on the way, and the look at the end."""
    base = pretrain(book, {"context": 8, "n_layer": 1, "n_head": 2, "n_embd": 4}, tmp_path / "base.npz", optimizer=AdamW(),
                    steps=3, batch=1024, workers=1, accumulate=64, save_every=1)
    said = []
    for recipe in (Full(), LoRA(2)):
        finetune(base, tmp_path / "base.npz", book, recipe, tmp_path / f"{recipe.method}.npz", optimizer=AdamW(), steps=2,
                 batch=1024, workers=1, accumulate=64, save_every=1, announce=said.extend)
    assert max(rows_read) == 16 and any("activations" in line for line in said)


@pytest.mark.parametrize("workers, accumulate", [(1, 1), (2, 1), (1, 5), (3, 4)])
@pytest.mark.parametrize("total", [None, 17.5])
def test_the_loss_without_a_step_is_that_of_the_whole_batch(workers, accumulate, total, rng):
    tokens, targets = rng.integers(0, 11, (2, 9, 7))
    targets[np.arange(7) >= rng.integers(1, 8, 9)[:, None]] = IGNORE
    trainer = Trainer(prepared("full"), SGD(0.0), total=total, workers=workers, accumulate=accumulate)
    assert trainer.loss(tokens, targets) == pytest.approx(trainer.step(tokens, targets), rel=1e-12)
