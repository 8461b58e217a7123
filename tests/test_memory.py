"""What training takes in memory is said before, without taking it, and refused where it cannot fit."""

import re

import numpy as np
import pytest
from commands import assert_one_sentence, run
from test_methods import CONFIG, INSERTED, LONG, PLAIN, prepared

from minillm.finetune.adapters import Adapters
from minillm.finetune.methods import ALIASES, METHODS, Full, LoRA, recipe_of
from minillm.finetune.specialist import prepare
from minillm.finetune.summary import announcement, training_memory
from minillm.finetune.wrapper import inserted
from minillm.ground.arrays import read_arrays, write_arrays
from minillm.ground.files import CheckpointError
from minillm.nn import GPT, IGNORE, Config
from minillm.runs.finetuning import finetune
from minillm.runs.pretraining import pretrain
from minillm.runs.saved import load
from minillm.surface.curve import train_curve
from minillm.surface.directions import pca_plane
from minillm.surface.sharpness import Curvature, extremes
from minillm.surface.space import Space
from minillm.tasks.special import SpecialTask
from minillm.tasks.text import TextTask
from minillm.text.tokenizer import CharTokenizer
from minillm.train.blueprint import n_parameters
from minillm.train.checkpoint import save_model
from minillm.train.costs import activation_bytes, activations_of, check_memory
from minillm.train.optimizers import SGD, AdamW
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


def test_the_memory_of_a_training_is_reported_for_what_is_in_work_at_a_time(rows_read):
    trainer = Trainer(prepared("lora", np.float32), AdamW(), workers=2, accumulate=50)
    memory = training_memory(trainer, even_pieces(10_000, 7, 2, 50))
    assert memory["activations"] == 2 * activations_of(trainer.model, 100, 7)
    lines = announcement(trainer, even_pieces(10_000_000, 7, 2))
    assert f"activations {activations_of(trainer.model, 10_000_000, 7) / 1e6:.1f}"[:8] in lines[-1] and max(rows_read) <= 2


def test_inspect_tells_it_of_any_batch(story, rows_read):
    activations = {}
    for batch in (1000, 10_000_000):
        code, out, err = run("inspect", story / "pretrained.npz", "--method", "lora:rank=1", "--batch", batch)
        activations[batch] = float(re.search(r"activations ([\d.]+)", out)[1])
        assert code == 0 and not err
    assert activations[10_000_000] == pytest.approx(10_000 * activations[1000], rel=0.01) and max(rows_read) <= 2


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


# ---- what cannot fit is refused before it is begun

EVERY = [*METHODS, *ALIASES]


@pytest.mark.parametrize("text", [*PLAIN, *INSERTED, *EVERY])
def test_what_a_recipe_adds_is_known_without_building_it(text):
    for config in (Config(vocab_size=5, context=17, n_layer=3, n_head=2, n_embd=14), Config(3, 20, 2, 3, 12)):
        recipe, model = recipe_of(text), GPT(config, np.random.default_rng(0))
        body = model.parameters().keys()
        assert n_parameters(config) == sum(p.size for p in model.parameters().values())
        recipe.apply(model)
        assert recipe.adds(config) == sum(p.size for name, p in model.parameters().items() if name not in body)


def with_memory(monkeypatch, size):
    for place in ("minillm.train.costs.total_memory", "minillm.surface.sharpness.total_memory"):
        monkeypatch.setattr(place, lambda: int(size))


HUGE = ["adapter:bottleneck=10000000", "parallel:bottleneck=1000000", "houlsby:bottleneck=100000,blocks=-1"]


@pytest.mark.parametrize("text", HUGE)
def test_a_recipe_that_would_insert_too_much_inserts_nothing(text, monkeypatch):
    """Nor is anything made on the way: of arrays of that size, the first would be the end."""
    with_memory(monkeypatch, 20e6)
    monkeypatch.setattr("minillm.finetune.methods.bottleneck.Bottleneck", lambda *args: pytest.fail("it is built"))
    base = prepared("full", np.float32)
    shelf = Adapters(GPT(CONFIG, np.random.default_rng(0)))
    for action in (lambda: recipe_of(text).apply(base), lambda: prepare(base, recipe_of(text)),
                   lambda: shelf.add("huge", recipe_of(text))):
        with pytest.raises(ValueError, match=r"to train the [\d,]{7,} numbers that the method adapter would insert takes about "
                                             ".* GB of memory, and this machine has 0.020 GB; choose a smaller size"):
            action()
    assert not inserted(base) and base.trainable and not shelf.known


@pytest.mark.parametrize("text, message", [
    ("adapter:bottleneck=10000001", "above 10,000,000"), (f"adapter:bottleneck={10 ** 400}", "above 10,000,000"),
    (f"lora:rank={10 ** 400}", "above 10,000,000"), ("lora:rank=10000000", "larger than the matrix q"),
    (f"prefix:tokens={10 ** 400}", "above 10,000,000"), ("prefix:tokens=10000000", "do not fit into the context"),
    (f"prompt:tokens={10 ** 400}", "above 10,000,000"), ("prompt:tokens=10000000", "too long")])
def test_sizes_have_an_end_and_what_is_wrong_with_them_is_said(text, message, monkeypatch):
    with_memory(monkeypatch, 1e18)
    with pytest.raises(ValueError, match=message) as refused:
        recipe_of(text).apply(prepared("full"))
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("wrong, message", [
    ({"n_layer": 1001}, "n_layer is 1001, but must be a whole number from 1 to 1000"),
    ({"n_embd": 10 ** 400}, "n_embd is a whole number of more than 20 digits, but must be a whole number from 1 to 100000"),
    ({"n_head": 0}, "n_head is 0, but must be"), ({"n_head": 2.0}, "n_head is 2.0, but must be a whole number"),
    ({"n_head": True}, "n_head is True, but must be a whole"), ({"context": "7"}, "context is '7', but"),
    ({"vocab_size": None}, "vocab_size is None"), ({"context": [7]}, "whole number"),
    ({"vocab_size": float("nan")}, "whole number"), ({"context": 10 ** 7}, "context is 10000000, but")],
    ids=lambda case: str(case)[:40])
def test_the_shape_of_a_model_has_bounds(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**{"vocab_size": 5, "context": 7, "n_layer": 1, "n_head": 2, "n_embd": 4} | wrong)


def test_a_file_that_describes_a_model_larger_than_memory_is_refused_before_that_is_built(tmp_path, monkeypatch):
    path, model = tmp_path / "model.npz", GPT(Config(2, 9, 1, 2, 8), np.random.default_rng(0))
    save_model(path, model, CharTokenizer.of("ab"))
    arrays, meta = read_arrays(path)
    write_arrays(path, arrays, meta | {"config": meta["config"] | {"n_layer": 1000, "n_embd": 100_000}})
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="the sizes in its meta.json are not those of"):
        patch.setattr("minillm.train.checkpoint.GPT", lambda *args: pytest.fail("it is built"))
        load(path)
    write_arrays(path, arrays, meta)
    with monkeypatch.context() as patch, pytest.raises(CheckpointError, match="a model of [0-9,]* parameters takes about"):
        patch.setattr("minillm.train.costs.total_memory", lambda: 1000)
        load(path)
    assert load(path).tokenizer.tokens == ["a", "b"]


def needed(*args, **options):
    """Bytes that `check_memory` counts: where it begins to refuse."""
    low, high = 0, 1 << 60
    with pytest.MonkeyPatch.context() as patch:
        while low < high:
            middle = (low + high) // 2
            patch.setattr("minillm.train.costs.total_memory", lambda: middle)
            try:
                check_memory(*args, **options)
                high = middle
            except ValueError:
                low = middle + 1
    return low


def test_it_is_counted_what_a_training_has_in_memory():
    P = n_parameters(CONFIG)
    one = needed(CONFIG, 1, workers=1)
    assert needed(CONFIG, 3, workers=3) - 3 * (one - 4 * 4 * P) == 4 * (1 + 3 + 2) * P        # a gradient for each; the pieces
    assert needed(CONFIG, 64, 64, workers=1) == one and needed(CONFIG, 64, 32, workers=2) == needed(CONFIG, 2, workers=2)
    assert needed(CONFIG, 1, workers=1, trains=0) == one - 4 * 3 * P
    assert needed(CONFIG, 1, workers=1, adds=10, trains=10) == one - 4 * 3 * P + 4 * (10 + 3 * 10)
    assert needed(CONFIG, 1, workers=1, others=100) == one + 400
    assert one > 4 * 4 * P + activations_of(prepared("full", np.float32), 1, CONFIG.context)


def test_a_fine_tuning_too_large_is_refused_before_anything_is_built(story, monkeypatch, tmp_path):
    base = load(story / "pretrained.npz")
    monkeypatch.setattr("minillm.runs.finetuning.prepare", lambda *args: pytest.fail("it is built"))
    for recipe, size in ((recipe_of("adapter:bottleneck=100000"), 1e9), (Full(), 2e6)):
        with_memory(monkeypatch, size)
        with pytest.raises(ValueError, match="to train .* of .* parameters with batches of 4 x 112 tokens and 2 workers takes"):
            finetune(base, story / "pretrained.npz", SpecialTask("novel", 2, 8), recipe, tmp_path / "x.npz", optimizer=AdamW(),
                     steps=12, batch=4, workers=2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [
    ["finetune", "--method", "adapter:bottleneck=10000000"], ["inspect", "--method", "adapter:bottleneck=10000000"],
    ["compare", "--methods", "adapter:bottleneck=10000000"], ["compare", "--methods", "full", "--batch", "10000000"],
    ["finetune", "--batch", "10000000"]], ids=lambda command: command[0])
def test_commands_say_so_in_one_sentence(command, story, tmp_path, monkeypatch):
    with_memory(monkeypatch, 1e9)
    monkeypatch.setattr("minillm.finetune.methods.bottleneck.Bottleneck", lambda *args: pytest.fail("it is built"))
    base = [story / "pretrained.npz"] if command[0] == "inspect" else ["--base", story / "pretrained.npz", "--out", tmp_path]
    code, _, err = run(*command, *base)
    assert_one_sentence(code, err, command[0], ["GB of memory, and this machine has 1.0 GB"])


# ---- eigenvalues, curves, components

def quadratic(n):
    return lambda v: np.arange(1, n + 1) * v


def test_eigenvalues_take_half_of_the_memory_at_most_and_tell_how_far_they_are_known(monkeypatch):
    n, rng = 1000, np.random.default_rng(0)
    (exact,), _ = extremes(quadratic(n), n, rng, tolerance=1e-6, most=200)
    with_memory(monkeypatch, 2 * 8 * n * 12)
    seen = []
    (top,), _ = extremes(quadratic(n), n, np.random.default_rng(0), tolerance=1e-6, progress=lambda m, value: seen.append(m))
    assert seen[-1] == 12 and top.error > exact.error and abs(top.value - n) <= top.error
    with_memory(monkeypatch, 2 * 8 * n * 8 - 1)
    with pytest.raises(ValueError, match="to find eigenvalues of a matrix of 1,000 rows takes about 0.000 GB of memory"):
        extremes(quadratic(n), n, rng)


def test_a_surface_that_does_not_fit_is_refused_before_it_is_begun(monkeypatch, rng):
    model = prepared("full")
    n = n_parameters(CONFIG)
    tokens = rng.integers(0, 11, (2, 7))
    Curvature(model, [(tokens, tokens)], workers=1)
    space, points = Space(model), [rng.normal(size=n) for _ in range(5)]
    monkeypatch.setattr("minillm.surface.sharpness.copy.deepcopy", lambda model: pytest.fail("it is begun"))
    with_memory(monkeypatch, 8 * 5 * n)
    curve = lambda: train_curve(space, space.start, space.start, None, 3, rng, workers=1, title=None)
    for action, what in ((lambda: Curvature(model, [(tokens, tokens)], workers=1), "the curvature of a loss over [0-9,]* param"),
                         (curve, "a curve through"), (lambda: pca_plane([points], [[*range(5)]], "end"), "of 5 times")):
        with pytest.raises(ValueError, match=f"{what}.* takes about .* GB of memory, and this machine has .* GB; "):
            action()


def test_only_what_trains_takes_less(monkeypatch, rng):
    model, tokens = prepared("lora:rank=1,targets=q"), rng.integers(0, 11, (2, 7))
    with_memory(monkeypatch, 8 * 2 * n_parameters(CONFIG))
    Curvature(model, [(tokens, tokens)], trainable=True, workers=1)
    with pytest.raises(ValueError, match="or only what trains"):
        Curvature(model, [(tokens, tokens)], workers=1)
