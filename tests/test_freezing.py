"""Frozen means: no gradient *for* a parameter, never none *through* it, and no work where nothing below trains."""

import numpy as np
import pytest
from parts import parts

from minillm.gradcheck import perturb
from minillm.nn import GPT, Block, Config, LayerNorm, Linear
from minillm.nn.module import NO_BACKWARD

CONFIG = Config(vocab_size=11, context=7, n_layer=3, n_head=3, n_embd=12)
PARTS = parts(12, 3)
every_part = pytest.mark.parametrize("name", PARTS)


def small_gpt(dtype=np.float64):
    """The same model on every call."""
    rng = np.random.default_rng(5)
    model = GPT(CONFIG, rng, dtype)
    perturb(model, rng)
    return model


def train_only(model, chosen):
    """Freeze every parameter but those whose name satisfies `chosen`."""
    for name, p in model.parameters().items():
        p.trainable = chosen(name)


def gradients(model, rng):
    """One forward and backward pass on data that depends on rng alone: {name: gradient or None}."""
    logits, cache = model.forward(rng.integers(0, 11, (2, 5)))
    model.zero_grad()
    model.backward(rng.normal(size=logits.shape), cache)
    return {name: p.grad for name, p in model.parameters().items()}


def bytes_in(cache):
    """Memory that a cache holds on to; arrays that are views of one array count once."""
    owners = {}

    def walk(part):
        if isinstance(part, np.ndarray):
            owner = part if part.base is None else part.base
            owners[id(owner)] = owner.nbytes
        elif isinstance(part, (tuple, list)):
            for inner in part:
                walk(inner)

    walk(cache)
    return sum(owners.values())


PATTERNS = {
    "only ln_f": lambda name: name.startswith("ln_f."),
    "only the last block": lambda name: name.startswith("blocks.2."),
    "only the last block and ln_f": lambda name: name.startswith(("blocks.2.", "ln_f.")),
    "only the first block": lambda name: name.startswith("blocks.0."),
    "only the biases": lambda name: name.endswith(".bias"),
    "only the norms": lambda name: ".ln_" in name or name.startswith("ln_f."),
    "only one MLP": lambda name: name.startswith("blocks.1.mlp."),
    "only one attention's proj": lambda name: name.startswith("blocks.1.attn.proj."),
    "only one attention's qkv bias": lambda name: name == "blocks.1.attn.qkv.bias",
    "only wpe": lambda name: name.startswith("wpe."),
    "only the embedding": lambda name: name.startswith("wte."),
    "all but the embedding": lambda name: not name.startswith("wte."),
    "nothing": lambda name: False,
}


def random_pattern(seed):
    rng = np.random.default_rng(seed)
    share = rng.choice([0.03, 0.1, 0.5, 0.9])
    drawn = {name for name in small_gpt().parameters() if rng.random() < share}
    return lambda name: name in drawn


ALL_PATTERNS = [pytest.param(chosen, id=name) for name, chosen in PATTERNS.items()]
ALL_PATTERNS += [pytest.param(random_pattern(seed), id=f"random {seed}") for seed in range(40)]
every_pattern = pytest.mark.parametrize("chosen", ALL_PATTERNS)


@every_pattern
def test_gradients_equal_those_of_a_fully_trainable_twin(chosen):
    model, twin = small_gpt(), small_gpt()
    train_only(model, chosen)
    some, every = (gradients(m, np.random.default_rng(6)) for m in (model, twin))
    for name in model.parameters():
        if chosen(name):
            np.testing.assert_allclose(some[name], every[name], rtol=1e-10, atol=1e-12, err_msg=name)
        else:
            assert some[name] is None, name


@every_pattern
def test_backward_does_no_work_below_the_lowest_trainable_parameter(chosen, monkeypatch):
    model = small_gpt()
    train_only(model, chosen)
    returned = {}

    def recording(backward):
        def recorded(self, dout, cache):
            returned[self] = backward(self, dout, cache)
            return returned[self]
        return recorded

    monkeypatch.setattr(Linear, "backward", recording(Linear.backward))
    monkeypatch.setattr(LayerNorm, "backward", recording(LayerNorm.backward))
    gradients(model, np.random.default_rng(6))

    something_below_trains = model.wte.trainable or model.wpe.trainable
    in_order = [layer for block in model.blocks for layer in
                (block.ln_1, block.attn.qkv, block.attn.proj, block.ln_2, block.mlp.fc, block.mlp.proj)]
    for layer in [*in_order, model.ln_f]:
        assert (layer in returned) == (something_below_trains or layer.trainable)      # called only if it is of use
        assert (returned.get(layer) is not None) == something_below_trains             # and dx only if someone wants it
        something_below_trains = something_below_trains or layer.trainable


@every_pattern
def test_freezing_changes_no_logits(chosen):
    model, twin = small_gpt(), small_gpt()
    train_only(model, chosen)
    tokens = np.random.default_rng(6).integers(0, 11, (2, 5))
    assert np.array_equal(model.forward(tokens)[0], twin.forward(tokens)[0])


def test_freezing_drops_the_gradient_and_it_stays_dropped(rng):
    model = small_gpt()
    gradients(model, rng)
    frozen = model.blocks[1].mlp.fc.weight
    assert frozen.grad is not None
    frozen.trainable = False
    assert frozen.grad is None
    gradients(model, rng)
    assert frozen.grad is None


def test_thawing_brings_the_gradient_back(rng):
    model = small_gpt()
    model.trainable = False
    assert not model.trainable and not model.trainable_parameters()
    model.ln_f.trainable = True
    assert model.trainable_parameters().keys() == {"ln_f.weight", "ln_f.bias"}
    assert gradients(model, rng)["ln_f.weight"].any()


def test_a_frozen_linear_keeps_no_input_and_passes_dx(rng):
    layer, x, dout = Linear(3, 4, rng, dtype=np.float64), rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    _, cache = layer.forward(x)
    layer.zero_grad()
    dx = layer.backward(dout, cache)
    layer.weight.trainable = False
    _, frozen_cache = layer.forward(x)
    assert cache.x is not None and frozen_cache.x is None
    assert np.array_equal(layer.backward(dout, frozen_cache), dx)


def test_a_frozen_table_keeps_no_input_for_the_tied_head(rng):
    model = small_gpt()
    model.wte.trainable = False
    logits, cache = model.forward(rng.integers(0, 11, (2, 5)))
    assert cache.head.x is None


def test_every_linear_of_a_frozen_block_keeps_no_input(rng):
    block = Block(12, 3, rng, dtype=np.float64)
    block.trainable = False
    _, cache = block.forward(rng.normal(size=(2, 5, 12)))
    attention, (fc, _, proj) = cache.attn[1], cache.mlp[1]
    assert [linear.x for linear in (attention.qkv, attention.proj, fc, proj)] == [None] * 4


def test_dx_through_a_frozen_block_is_that_of_a_trainable_one(rng):
    block, x = Block(12, 3, rng, std=0.3, proj_std=0.3, dtype=np.float64), rng.normal(size=(2, 5, 12))
    dout = rng.normal(size=x.shape)
    block.zero_grad()
    dx = block.backward(dout, block.forward(x)[1])
    block.trainable = False
    np.testing.assert_allclose(block.backward(dout, block.forward(x)[1]), dx, rtol=1e-12)


def test_a_block_that_nothing_needs_keeps_no_array(rng):
    block = Block(12, 3, rng)
    block.trainable = False
    out, cache = block.forward(rng.normal(size=(2, 5, 12)).astype(np.float32), needs_dx=False)
    assert bytes_in(cache) == 0
    assert block.backward(np.ones_like(out), cache) is None


@every_part
def test_a_part_that_nothing_needs_keeps_no_array(name, rng):
    part, x = PARTS[name](rng, np.float32), rng.normal(size=(2, 5, 12)).astype(np.float32)
    assert bytes_in(part.forward(x)[1]) > 0
    assert bytes_in(part.forward(x, NO_BACKWARD)[1]) == 0          # only read, though it could train
    part.trainable = False
    assert bytes_in(part.forward(x, needs_dx=False)[1]) == 0


@every_part
def test_dx_through_a_frozen_part_is_that_of_a_trainable_one(name, rng):
    part, x = PARTS[name](rng, np.float64), rng.normal(size=(2, 5, 12))
    perturb(part, rng)
    dout = rng.normal(size=part.forward(x)[0].shape)
    part.zero_grad()
    dx = part.backward(dout, part.forward(x)[1])
    part.trainable = False
    np.testing.assert_allclose(part.backward(dout, part.forward(x)[1]), dx, rtol=1e-10, atol=1e-12)
    assert all(p.grad is None for p in part.parameters().values())


def test_freezing_saves_memory(rng):
    model, tokens = small_gpt(), rng.integers(0, 11, (2, 5))
    full = bytes_in(model.forward(tokens)[1])
    train_only(model, PATTERNS["only the last block"])
    assert bytes_in(model.forward(tokens)[1]) < 0.5 * full
