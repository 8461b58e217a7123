"""The inserted layer: right gradients, exactly the identity at first, and nothing around it is touched."""

import numpy as np
import pytest

from minillm.finetune.adapter import Adapted, Adapter
from minillm.finetune.methods import BottleneckAdapter
from minillm.nn import GPT, MLP, Config, CrossEntropy
from minillm.nn.gradcheck import TOLERANCE, check_layer, check_model, shake
from minillm.train.optimizers import AdamW
from minillm.train.trainer import Trainer

CONFIG = Config(vocab_size=11, context=7, n_layer=2, n_head=3, n_embd=12)
PLACES = [("attn", "mlp"), ("mlp",), ("attn",)]
every_places = pytest.mark.parametrize("places", PLACES, ids="+".join)


def small_gpt(dtype=np.float32):
    """The same model on every call, with every weight off its starting value."""
    rng = np.random.default_rng(5)
    model = GPT(CONFIG, rng, dtype)
    shake(model, rng)
    return model


def adapted_gpt(places=("attn", "mlp"), norms=True, dtype=np.float32):
    model = small_gpt(dtype)
    BottleneckAdapter(5, places, norms).apply(model, np.random.default_rng(6))
    return model


def batch(rng):
    return rng.integers(0, 11, (2, 5)), rng.integers(0, 11, (2, 5))


def is_adapter(name):
    return ".adapter." in name


def is_norm(name):
    return ".ln_" in name or name.startswith("ln_f.")


# ---- gradients

def test_gradients_of_the_adapter(rng):
    adapter = Adapter(12, 5, rng, np.float64)
    shake(adapter, rng)
    errors = check_layer(adapter, rng.normal(size=(2, 5, 12)), rng)
    assert errors.keys() == {"x", "down.weight", "down.bias", "up.weight", "up.bias"}
    assert max(errors.values()) < TOLERANCE, errors


def test_gradients_of_an_adapted_sublayer(rng):
    adapted = Adapted(MLP(12, rng, dtype=np.float64), Adapter(12, 5, rng, np.float64))
    shake(adapted, rng)
    errors = check_layer(adapted, rng.normal(size=(2, 5, 12)), rng)
    assert errors.keys() == {"x", *adapted.parameters()}
    assert max(errors.values()) < TOLERANCE, errors


@every_places
def test_gradients_of_an_adapted_gpt(places, rng):
    model = adapted_gpt(places, dtype=np.float64)
    shake(model, rng)
    model.trainable = True
    errors = check_model(model, rng.integers(0, 11, (2, 5)), rng)
    assert sum(is_adapter(name) for name in errors) == 4 * len(places) * CONFIG.n_layer
    assert max(errors.values()) < TOLERANCE, errors


@every_places
@pytest.mark.parametrize("norms", [True, False])
def test_gradients_with_a_frozen_body_are_those_of_a_fully_trainable_twin(places, norms, rng):
    model, twin = adapted_gpt(places, norms, np.float64), adapted_gpt(places, norms, np.float64)
    for m in (model, twin):
        shake(m, np.random.default_rng(8))
    twin.trainable = True
    tokens, _ = batch(rng)
    dlogits = rng.normal(size=(2, 5, 11))
    for m in (model, twin):
        _, cache = m.forward(tokens)
        m.zero_grad()
        m.backward(dlogits, cache)
    for name, p in model.parameters().items():
        if p.trainable:
            np.testing.assert_allclose(p.grad, twin.parameters()[name].grad, rtol=1e-10, atol=1e-12, err_msg=name)
        else:
            assert p.grad is None, name


def test_backward_adds_to_the_gradient_and_leaves_its_inputs_alone(rng):
    adapter = Adapter(12, 5, rng, np.float64)
    shake(adapter, rng)
    h, dout = rng.normal(size=(2, 2, 5, 12))
    kept_h, kept_dout = h.copy(), dout.copy()
    _, cache = adapter.forward(h)
    adapter.zero_grad()
    adapter.backward(dout, cache)
    once = {name: p.grad.copy() for name, p in adapter.parameters().items()}
    adapter.backward(dout, cache)
    for name, p in adapter.parameters().items():
        np.testing.assert_allclose(p.grad, 2 * once[name], rtol=1e-12, err_msg=name)
    assert np.array_equal(h, kept_h) and np.array_equal(dout, kept_dout)


def test_no_dx_is_made_where_nobody_wants_it(rng):
    adapter = Adapter(12, 5, rng, np.float64)
    shake(adapter, rng)
    h, dout = rng.normal(size=(2, 2, 5, 12))
    gradients = []
    for needs_dx in (True, False):
        _, cache = adapter.forward(h, needs_dx)
        adapter.zero_grad()
        dx = adapter.backward(dout, cache)
        assert (dx is not None) == needs_dx
        gradients.append({name: p.grad.copy() for name, p in adapter.parameters().items()})
    assert all(np.array_equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_the_dtype_is_that_of_the_base(rng):
    for dtype in (np.float32, np.float64):
        model = adapted_gpt(dtype=dtype)
        assert {p.data.dtype for p in model.parameters().values()} == {np.dtype(dtype)}
        assert model.logits(batch(rng)[0]).dtype == dtype


# ---- at the start

@every_places
def test_at_insertion_the_logits_are_those_of_the_base_bit_for_bit(places, rng):
    base, model = small_gpt(), adapted_gpt(places)
    tokens, _ = batch(rng)
    assert np.array_equal(base.logits(tokens), model.logits(tokens))
    assert np.array_equal(base.forward(tokens)[0], model.forward(tokens)[0])


@every_places
@pytest.mark.parametrize("norms", [True, False])
def test_names_and_values_of_the_base_survive_the_insertion(places, norms):
    base, model = small_gpt(), adapted_gpt(places, norms)
    old, new = base.state(), model.state()
    assert [name for name in new if not is_adapter(name)] == list(old)
    assert all(np.array_equal(new[name], old[name]) for name in old)
    added = {f"blocks.{i}.{place}.adapter.{layer}.{kind}" for i in range(CONFIG.n_layer) for place in places
             for layer in ("down", "up") for kind in ("weight", "bias")}
    assert new.keys() - old.keys() == added
    wanted = added | ({name for name in old if is_norm(name)} if norms else set())
    assert model.trainable_parameters().keys() == wanted


def test_shapes_and_first_values(rng):
    model = adapted_gpt()
    adapter = model.blocks[1].mlp.adapter
    assert {name: p.shape for name, p in adapter.parameters().items()} == {
        "down.weight": (12, 5), "down.bias": (5,), "up.weight": (5, 12), "up.bias": (12,)}
    assert not adapter.up.weight.data.any() and not adapter.up.bias.data.any() and not adapter.down.bias.data.any()
    wide = Adapter(400, 300, rng).down.weight.data
    assert wide.std() == pytest.approx(400 ** -0.5, rel=0.02) and abs(wide.mean()) < 1e-3


def test_no_two_adapters_start_alike():
    model = adapted_gpt()
    down = [p.data for name, p in model.parameters().items() if name.endswith("adapter.down.weight")]
    assert len(down) == 4
    assert not any(np.array_equal(x, y) for i, x in enumerate(down) for y in down[i + 1:])


@every_places
def test_in_the_first_backward_only_the_way_up_has_a_gradient(places, rng):
    model = adapted_gpt(places)
    tokens, targets = batch(rng)
    logits, cache = model.forward(tokens)
    _, loss_cache = CrossEntropy().forward(logits, targets)
    model.zero_grad()
    model.backward(CrossEntropy().backward(1.0, loss_cache), cache)
    for name, p in model.trainable_parameters().items():
        assert p.grad.any() != (".adapter.down." in name), name


# ---- after training

@every_places
@pytest.mark.parametrize("norms", [True, False])
def test_training_moves_all_that_trains_and_no_bit_of_the_rest(places, norms, rng):
    model = adapted_gpt(places, norms)
    before = {name: array.copy() for name, array in model.state().items()}
    trains = set(model.trainable_parameters())
    trainer = Trainer(model, AdamW(1e-2), workers=2)
    tokens, targets = batch(rng)
    losses = [trainer.step(tokens, targets) for _ in range(5)]
    assert losses[-1] < losses[0]
    for name, array in model.state().items():
        assert np.array_equal(array, before[name]) != (name in trains), name
