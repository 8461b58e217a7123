"""Who would train weights that are no longer a model's says so, and changes nothing."""

import copy

import numpy as np
import pytest

from minillm.finetune.adapters import Adapters
from minillm.finetune.merge import merge
from minillm.finetune.methods import recipe_of
from minillm.gradcheck import perturb
from minillm.nn import GELU, GPT, Config, Linear
from minillm.surface.sharpness import Curvature
from minillm.surface.space import Space
from minillm.train.flat import FlatParameters
from minillm.train.optimizers import SGD, AdamW
from minillm.train.recorder import Recorder
from minillm.train.trainer import Trainer

TOKENS = np.random.default_rng(3).integers(0, 11, (4, 7))
TARGETS = np.roll(TOKENS, -1, axis=1)
REFUSED = "this Trainer cannot go on, for the model has changed since it was made"

every_count = pytest.mark.parametrize("workers", [1, 2])


def small_gpt(text="full", seed=5):
    rng = np.random.default_rng(seed)
    model = GPT(Config(11, 7, 2, 3, 12), rng)
    perturb(model, rng, 0.1)
    recipe_of(text).apply(model, np.random.default_rng(6))
    return model


def train(trainer, steps=2):
    return [trainer.step(TOKENS, TARGETS) for _ in range(steps)]


def refuses(trainer):
    """No step, no change: neither of the model nor of what the trainer remembers."""
    before = {name: array.copy() for name, array in trainer.model.state_dict().items()}
    state = {name: array.copy() for name, array in trainer.optimizer.state_dict().items()}
    done = trainer.steps_done
    with pytest.raises(ValueError, match=REFUSED):
        trainer.step(TOKENS, TARGETS)
    with pytest.raises(ValueError, match=REFUSED):
        Recorder(1)(trainer)
    assert trainer.steps_done == done
    assert all(np.array_equal(before[name], array) for name, array in trainer.model.state_dict().items())
    assert all(np.array_equal(state[name], array) for name, array in trainer.optimizer.state_dict().items())


@every_count
@pytest.mark.parametrize("text", ["full", "frozen", "lora", "adapter:bottleneck=3", "prompt:tokens=2"])
def test_of_two_trainers_of_a_model_only_the_newest_trains_it(text, workers):
    model = small_gpt(text)
    first = Trainer(model, AdamW(1e-2), workers=workers)
    train(first)
    second = Trainer(model, SGD(1e-2), workers=workers)
    refuses(first)
    losses = train(second, 4)
    assert losses[-1] < losses[0]
    refuses(first)


@every_count
def test_trainers_of_different_parts_of_a_model_do_not_train_side_by_side(workers):
    """Workers know what the other one has done only if they were forked after it."""
    model = small_gpt("lora")
    first = Trainer(model, AdamW(1e-2), workers=workers)
    train(first)
    model.trainable = False
    model.ln_f.trainable = True
    second = Trainer(model, AdamW(1e-2), workers=workers)
    train(second)
    refuses(first)


@every_count
def test_a_trainer_of_another_model_changes_nothing(workers):
    first, second = (Trainer(small_gpt(), AdamW(1e-2), workers=workers) for _ in range(2))
    assert train(first) == train(second) and np.array_equal(first.flat.data, second.flat.data)
    twin = copy.deepcopy(first.model)
    Trainer(twin, AdamW(), workers=1)
    train(first)


CHANGES = {
    "inserted": lambda model: recipe_of("ia3:targets=mlp").apply(model, np.random.default_rng(0)),
    "a layer replaced": lambda model: setattr(model.blocks[0].mlp, "act", GELU()),
    "a linear layer replaced": lambda model: setattr(model.blocks[1].attn, "proj", Linear(12, 12, np.random.default_rng(0))),
    "a block left out": lambda model: model.blocks.pop(),
    "a block more": lambda model: model.blocks.append(copy.deepcopy(model.blocks[0])),
    "blocks in another order": lambda model: model.blocks.reverse(),
    "frozen": lambda model: setattr(model.blocks[1].mlp.fc.weight, "trainable", False),
    "another array": lambda model: setattr(model.ln_f.bias, "data", model.ln_f.bias.data.copy()),
}


@every_count
@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_was_changed_is_not_trained_as_it_was(change, workers):
    model = small_gpt()
    trainer = Trainer(model, AdamW(1e-2), workers=workers)
    train(trainer)
    CHANGES[change](model)
    refuses(trainer)
    train(Trainer(model, AdamW(1e-2), workers=workers))


@every_count
def test_what_was_thawed_is_not_silently_left_alone(workers):
    model = small_gpt("lora")
    trainer = Trainer(model, AdamW(1e-2), workers=workers)
    model.trainable = True
    refuses(trainer)
    model.trainable = False
    refuses(trainer)


@every_count
def test_a_merged_model_is_trained_again_only_when_that_is_undone(workers):
    model = small_gpt("lora")
    trainer, other = (Trainer(m, AdamW(1e-2), workers=workers) for m in (model, small_gpt("lora")))
    train(trainer)
    merged = merge(model)
    refuses(trainer)
    merged.undo()
    train(other)
    assert train(trainer) == train(other)


@every_count
@pytest.mark.parametrize("text, other", [("lora", "frozen"), ("adapter:bottleneck=3", "adapter:bottleneck=3"), ("frozen", "ia3"),
                                         ("frozen", "frozen"), ("prompt:tokens=2", "adapter:bottleneck=3")])
def test_an_adapter_is_trained_by_its_own_trainer_and_only_while_it_is_on(text, other, workers):
    """Those that have the norms in common, too. And when it is on again, its training goes on to the same bits."""
    adapters, twin = Adapters(small_gpt()), Adapters(small_gpt())
    trainers = []
    for shelf in (twin, adapters):
        shelf.add("a", recipe_of(text), np.random.default_rng(6))
        trainers.append(Trainer(shelf.model, AdamW(1e-2), workers=workers))
        train(trainers[-1])
    alone, first = trainers
    adapters.add("b", recipe_of(other), np.random.default_rng(6))
    refuses(first)
    second = Trainer(adapters.model, AdamW(1e-2), workers=workers)
    train(second)
    refuses(first)
    adapters.use(None)
    refuses(first)
    refuses(second)
    adapters.use("a")
    refuses(second)
    assert train(first) == train(alone)
    assert np.array_equal(first.flat.data, alone.flat.data)
    with adapters.disabled():
        refuses(first)
    new = Trainer(adapters.model, AdamW(1e-2), workers=workers)
    refuses(first)
    train(new)


@every_count
def test_a_look_at_the_base_or_at_another_adapter_does_not_end_a_training(workers):
    states = []
    for look in (False, True):
        adapters = Adapters(small_gpt())
        adapters.add("other", recipe_of("frozen"))
        adapters.add("a", recipe_of("adapter:bottleneck=3"), np.random.default_rng(6))
        trainer = Trainer(adapters.model, AdamW(1e-2), workers=workers)
        for _ in range(3):
            train(trainer, 1)
            if look:
                adapters.use("other")
                adapters.use(None)
                adapters.use("a")
        states.append(adapters.model.state_dict())
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


@every_count
@pytest.mark.parametrize("text", ["full", "lora"])
def test_weights_that_are_loaded_meanwhile_are_those_that_every_worker_trains(text, workers):
    """The frozen ones, too: workers were forked before."""
    model, other = small_gpt(text), small_gpt(text, seed=8)
    trainer = Trainer(model, SGD(1e-2, momentum=0), workers=workers)
    train(trainer)
    model.load_state_dict(other.state_dict())
    fresh = Trainer(other, SGD(1e-2, momentum=0), workers=workers)
    assert train(trainer) == train(fresh)
    assert all(np.array_equal(other.state_dict()[name], array) for name, array in model.state_dict().items())


def test_the_loss_is_that_of_the_model_as_it_is():
    model = small_gpt()
    first = Trainer(model, AdamW(), workers=1)
    second = Trainer(model, AdamW(1e-2), workers=1)
    train(second)
    assert first.loss(TOKENS, TARGETS) == second.loss(TOKENS, TARGETS)


def test_an_optimizer_and_a_space_of_weights_that_are_anothers_by_now_refuse():
    model = small_gpt()
    flat, optimizer = FlatParameters(model.parameters()), AdamW()
    optimizer.start(flat)
    optimizer.step()
    FlatParameters(model.parameters())
    with pytest.raises(ValueError, match="laid into another vector"):
        optimizer.step()
    space = Space(model)
    space.put(space.start)
    Trainer(space.model, SGD(), workers=1)
    with pytest.raises(ValueError, match="laid into another vector"):
        space.put(space.start)
    curvature = Curvature(model, [(TOKENS, TARGETS)], workers=1)
    curvature.gradient(curvature.theta)
    Trainer(model, SGD(), workers=1)                    # which has a copy of its own
    curvature.gradient(curvature.theta)
    Trainer(curvature.model, SGD(), workers=1)
    with pytest.raises(ValueError, match="laid into another vector"):
        curvature.gradient(curvature.theta)
