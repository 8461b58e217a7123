"""Lower layers slower, or later: steps are smaller by just that factor, and until it is thawed nothing moves by a bit."""

from dataclasses import replace

import numpy as np
import pytest

from minillm.finetune.lr_multipliers import depths, gradual, layerwise
from minillm.finetune.methods import METHODS, Full, recipe_of
from minillm.gradcheck import perturb
from minillm.nn import GPT, Config
from minillm.train import optimizers
from minillm.train.checkpoint import load_training, save_training
from minillm.train.optimizers import SGD, AdamW
from minillm.train.trainer import Trainer

CONFIG = Config(vocab_size=11, context=7, n_layer=3, n_head=3, n_embd=12)
RATES = {"sgd": 0.05, "adamw": 1e-2, "muon": 0.02}
OPTIMIZERS = {name: (lambda rule=rule, name=name: rule(lr=RATES.get(name, 0.01))) for name, rule in optimizers.OPTIMIZERS.items()}

every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


def small_gpt(dtype=np.float64):
    """The same model on every call, with every weight off its starting value."""
    rng = np.random.default_rng(5)
    model = GPT(CONFIG, rng, dtype)
    perturb(model, rng)
    return model


NAMES = small_gpt().parameters().keys()


def copies(model):
    return {name: array.copy() for name, array in model.state_dict().items()}


def batch(step, rows=4):
    return np.random.default_rng([9, step]).integers(0, 11, (2, rows, 7))


# ---- what is frozen for a while

@pytest.mark.parametrize("forks", [True, False])
def test_what_is_frozen_in_a_step_has_no_gradient_array_and_zeros_in_the_vector(forks, monkeypatch):
    monkeypatch.setattr("minillm.ground.processes.CAN_FORK", forks)
    model = small_gpt()
    trainer = Trainer(model, SGD(0.05), workers=2, lr_multipliers=gradual(model, 6))
    for step in range(4):
        trainer.step(*batch(step))
        assert trainer.frozen or step == 3
        for name, view in trainer.flat.views(trainer.flat.grad).items():
            p = model.parameters()[name]
            assert (p.grad is None) == (name in trainer.frozen) and view.any() != (name in trainer.frozen), name
            assert name in trainer.frozen or np.shares_memory(p.grad, view)
    assert not trainer.frozen


# ---- the factors

@pytest.mark.parametrize("name, expected", [
    ("wte.weight", 0), ("wpe.weight", 0), ("blocks.0.ln_1.weight", 1), ("blocks.2.mlp.proj.bias", 3), ("ln_f.bias", 3),
    ("blocks.1.attn.qkv.lora.q.A", 2), ("blocks.1.mlp.adapter.down.weight", 2)])
def test_how_deep_a_parameter_lies(name, expected):
    model = small_gpt()
    recipe_of("lora" if "lora" in name else "adapter").apply(model)
    assert depths(model)[name] == expected


def test_an_output_table_of_its_own_lies_as_deep_as_the_final_norm():
    model = GPT(replace(CONFIG, tied=False), np.random.default_rng(0))
    assert depths(model)["wte.weight"] == 0 and depths(model)["lm_head.weight"] == depths(model)["ln_f.weight"] == 3


def test_blocks_beyond_the_ninth_are_deeper():
    deep = depths(GPT(replace(CONFIG, n_layer=12), np.random.default_rng(0)))
    assert deep["blocks.10.attn.proj.weight"] == 11 and deep["ln_f.weight"] == 12


def test_with_each_layer_towards_the_input_the_rate_is_that_many_times_less():
    expected = {"wte.": 1 / 8, "wpe.": 1 / 8, "blocks.0.": 1 / 4, "blocks.1.": 1 / 2, "blocks.2.": 1, "ln_f.": 1}
    factors = layerwise(small_gpt(), 2)
    assert factors.keys() == NAMES
    assert all(factor == expected[start] for start in expected for name, factor in factors.items() if name.startswith(start))
    assert layerwise(small_gpt(), 2.6)["blocks.1.ln_2.bias"] == pytest.approx(2.6 ** -1)


def thawed(at, step):
    """The first parts of the names of what moves."""
    factors = at(step)
    assert set(factors.values()) <= {0.0, 1.0} and factors.keys() == NAMES
    return {".".join(name.split(".")[:2 if name.startswith("blocks") else 1]) for name, factor in factors.items() if factor}


def test_block_after_block_joins_those_that_train_already():
    at = gradual(small_gpt(), 40)
    stages = [{"blocks.2", "ln_f"}, {"blocks.1"}, {"blocks.0"}, {"wte", "wpe"}]
    for step in range(40):
        assert thawed(at, step) == set().union(*stages[:1 + step // 6]), step


@pytest.mark.parametrize("steps, until", [(1, 0.5), (3, 0.5), (7, 0.5), (100, 0.1), (1000, 0.9), (8, 1.0)])
def test_all_has_thawed_when_it_should(steps, until):
    at = gradual(small_gpt(), steps, until)
    assert thawed(at, 0) == {"blocks.2", "ln_f"}
    sizes = [len(thawed(at, step)) for step in range(steps + 3)]
    assert sizes == sorted(sizes)
    assert sizes[max(3, round(until * steps))] == 6      # with too few steps for the stages, each has one


def test_slower_and_later_at_once():
    rates = Full(2.0, True).lr_multipliers(small_gpt(), 40)
    assert rates(0)["blocks.1.ln_1.weight"] == 0 and rates(6)["blocks.1.ln_1.weight"] == 1 / 2
    assert rates(0)["ln_f.weight"] == 1 and rates(18)["wte.weight"] == 1 / 8 and rates(39)["blocks.1.mlp.fc.bias"] == 1 / 2


def test_only_full_fine_tuning_that_asks_for_it_has_rates():
    assert [recipe().lr_multipliers(small_gpt(), 10) for recipe in METHODS.values()] == [None] * len(METHODS)
    assert recipe_of("full:decay=1").lr_multipliers(small_gpt(), 10) is None
    for text in ("full:decay=1.1", "full:gradual=yes", "ulmfit"):
        assert recipe_of(text).lr_multipliers(small_gpt(), 10)(0).keys() == NAMES
    assert set(recipe_of("full:decay=1.1").lr_multipliers(small_gpt(), 10)(3).values()) == {1.1 ** -n for n in range(4)}


# ---- slower

@every_optimizer
@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_step_of_each_parameter_is_that_many_times_shorter(optimizer, workers):
    steps = []
    for decay in (1.0, 2.6):
        model = small_gpt()
        before = copies(model)
        trainer = Trainer(model, optimizer(), workers=workers, lr_multipliers=Full(decay).lr_multipliers(model, 10))
        trainer.step(*batch(0))
        steps.append({name: array - before[name] for name, array in model.state_dict().items()})
    for name, factor in layerwise(small_gpt(), 2.6).items():
        np.testing.assert_allclose(steps[1][name], factor * steps[0][name], rtol=1e-9, atol=1e-14, err_msg=name)
        assert steps[1][name].any(), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_with_plain_descent_exactly_so(dtype):
    """theta - (lr factor) g to the last bit, the gradient being that of a step without factors."""
    plain, model = small_gpt(dtype), small_gpt(dtype)
    before = copies(model)
    trainer = Trainer(plain, SGD(0.25, momentum=0), clip=None, workers=1)
    trainer.step(*batch(0))
    multipliers = Full(2.0).lr_multipliers(model, 10)
    Trainer(model, SGD(0.25, momentum=0), clip=None, workers=1, lr_multipliers=multipliers).step(*batch(0))
    for name, factor in layerwise(model, 2.0).items():
        g = plain.parameters()[name].grad
        assert np.array_equal(plain.state_dict()[name], before[name] - 0.25 * g), name
        assert np.array_equal(model.state_dict()[name], before[name] - 0.25 * factor * g), name


@every_optimizer
def test_factors_of_one_change_nothing(optimizer):
    states = []
    for rates in (None, lambda step: dict.fromkeys(NAMES, 1.0)):
        model = small_gpt(np.float32)
        trainer = Trainer(model, optimizer(), workers=1, lr_multipliers=rates)
        for step in range(3):
            trainer.step(*batch(step))
        states.append(copies(model))
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_the_factors_of_a_step_are_those_of_its_number():
    seen = []

    def rates(step):
        seen.append(step)
        return dict.fromkeys(NAMES, 1.0)

    trainer = Trainer(small_gpt(), SGD(), workers=1, lr_multipliers=rates)
    for step in range(3):
        trainer.step(*batch(step))
    assert seen == [0, 1, 2]


# ---- later

@every_optimizer
@pytest.mark.parametrize("workers", [1, 2])
def test_until_it_is_thawed_nothing_moves_by_a_bit_and_then_all_does(optimizer, workers):
    """16 steps: a stage takes two."""
    model = small_gpt(np.float32)
    rates = Full(gradual=True).lr_multipliers(model, 16)
    trainer = Trainer(model, optimizer(), workers=workers, lr_multipliers=rates)
    for step in range(10):
        before = copies(model)
        trainer.step(*batch(step))
        for name, factor in rates(step).items():
            assert np.array_equal(model.state_dict()[name], before[name]) == (factor == 0), (step, name)
            gradient = trainer.flat.views(trainer.flat.grad)[name]
            assert gradient.any() == (factor > 0), (step, name)
    assert all(p.trainable for p in model.parameters().values())


def test_while_a_block_is_frozen_its_gradient_is_not_computed(monkeypatch):
    model = small_gpt()
    trainer = Trainer(model, AdamW(), workers=1, lr_multipliers=Full(gradual=True).lr_multipliers(model, 16))
    for step in range(4):
        with monkeypatch.context() as patch:
            patch.setattr(model.blocks[0], "backward", None)
            trainer.step(*batch(step))
        starts = ("blocks.2", "ln_f") if step < 2 else ("blocks.1", "blocks.2", "ln_f")
        assert set(model.trainable_parameters()) == {name for name in NAMES if name.startswith(starts)}
    monkeypatch.setattr(model.blocks[0], "backward", None)
    with pytest.raises(TypeError):
        trainer.step(*batch(4))


def test_what_is_frozen_gathers_no_momentum():
    model = small_gpt()
    trainer = Trainer(model, AdamW(), workers=1, lr_multipliers=Full(gradual=True).lr_multipliers(model, 16))
    for step in range(2):
        trainer.step(*batch(step))
    for vector in (trainer.optimizer.m, trainer.optimizer.v):
        for name, view in trainer.flat.views(vector).items():
            assert view.any() == name.startswith(("blocks.2", "ln_f")), name


# ---- both, as they are used

@every_optimizer
@pytest.mark.parametrize("text", ["ulmfit", "full:decay=2.6", "full:gradual=yes"])
def test_two_workers_learn_what_one_does(optimizer, text):
    states = []
    for workers in (1, 2):
        model = small_gpt()
        trainer = Trainer(model, optimizer(), workers=workers, lr_multipliers=recipe_of(text).lr_multipliers(model, 10))
        for step in range(8):
            trainer.step(*batch(step))
        states.append(model.state_dict())
    for name, array in states[0].items():
        other = states[1][name]
        if name.endswith("qkv.bias"):      # the keys' part moves along rounding, for its gradient is zero
            array, other = (np.delete(x, np.s_[12:24]) for x in (array, other))
        assert np.abs(other - array).max() < 1e-6, name


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_was_interrupted_thaws_on_bit_for_bit(workers, tmp_path):
    def trainer():
        model = small_gpt(np.float32)
        return Trainer(model, AdamW(1e-2), workers=workers, lr_multipliers=Full(2.6, True).lr_multipliers(model, 16))

    whole, first, second = trainer(), trainer(), trainer()
    for step in range(10):
        whole.step(*batch(step))
        if step < 5:
            first.step(*batch(step))
    save_training(tmp_path / "run.npz", first)
    load_training(tmp_path / "run.npz", second)
    for step in range(5, 10):
        second.step(*batch(step))
    assert np.array_equal(second.flat.data, whole.flat.data)


def test_it_learns():
    model = small_gpt(np.float32)
    trainer = Trainer(model, AdamW(1e-2), workers=1, lr_multipliers=recipe_of("ulmfit").lr_multipliers(model, 20))
    line = np.tile(np.arange(7), (2, 1))
    losses = [trainer.step(line, np.roll(line, -1, axis=1)) for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]
