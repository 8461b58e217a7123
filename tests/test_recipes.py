"""Recipes decide what trains. What they freeze keeps every bit, what they name moves, and a name of nothing is an error."""

import json

import numpy as np
import pytest

from minillm.finetune.adapter import Adapted
from minillm.finetune.methods import RECIPES, BottleneckAdapter, Full, Partial, from_json, from_the_end, to_json
from minillm.finetune.report import size, trainable_table
from minillm.nn import GPT, Config
from minillm.nn.gradcheck import shake
from minillm.train.muon import Muon
from minillm.train.optimizers import SGD, AdamW
from minillm.train.trainer import Trainer

CONFIG = Config(vocab_size=11, context=7, n_layer=3, n_head=3, n_embd=12)
C, M = CONFIG.n_embd, 5
BLOCK = 12 * C * C + 13 * C                       # 4 matrices of 12 C^2, their biases 9 C, two norms 4 C
BODY = CONFIG.n_layer * BLOCK + (CONFIG.vocab_size + CONFIG.context) * C + 2 * C


def small_gpt():
    """The same model on every call, with every weight off its starting value."""
    rng = np.random.default_rng(5)
    model = GPT(CONFIG, rng)
    shake(model, rng)
    return model


def prepared(recipe):
    model = small_gpt()
    recipe.apply(model, np.random.default_rng(6))
    return model


def is_norm(name):
    return ".ln_" in name or name.startswith("ln_f.")


def is_adapter(name):
    return ".adapter." in name


CASES = {
    "full": (Full(), lambda name: True, BODY),
    "the last block": (Partial(), lambda name: name.startswith(("blocks.2.", "ln_f.")), BLOCK + 2 * C),
    "biases": (Partial(("*.bias",)), lambda name: name.endswith(".bias"), 3 * (9 * C + 2 * C) + C),
    "norms": (Partial(("*.ln_?.*", "ln_f.*")), is_norm, 14 * C),
    "attention": (Partial(("blocks.*.attn.*",)), lambda name: ".attn." in name, 3 * (4 * C * C + 4 * C)),
    "first block": (Partial(("blocks.0.*",)), lambda name: name.startswith("blocks.0."), BLOCK),
    "last two": (Partial(("blocks.-1.*", "blocks.-2.*")), lambda name: name.startswith(("blocks.1.", "blocks.2.")), 2 * BLOCK),
    "embedding": (Partial(("wte.*",)), lambda name: name.startswith("wte."), CONFIG.vocab_size * C),
    "adapters": (BottleneckAdapter(M), lambda name: is_adapter(name) or is_norm(name), 6 * (2 * C * M + C + M) + 14 * C),
    "adapters alone": (BottleneckAdapter(M, norms=False), is_adapter, 6 * (2 * C * M + C + M)),
    "adapters behind the MLP": (BottleneckAdapter(M, ("mlp",), False), is_adapter, 3 * (2 * C * M + C + M)),
}
every_recipe = pytest.mark.parametrize("recipe, chosen, count", [pytest.param(*case, id=name) for name, case in CASES.items()])


# ---- what trains, and what does not

@every_recipe
def test_exactly_the_chosen_parameters_train(recipe, chosen, count):
    model = prepared(recipe)
    assert [name for name, p in model.parameters().items() if p.trainable] == list(filter(chosen, model.parameters()))
    assert size(model)["trainable_parameters"] == count
    assert size(model)["total_parameters"] == BODY + sum(p.size for name, p in model.parameters().items() if is_adapter(name))


@every_recipe
@pytest.mark.parametrize("workers", [1, 2])
def test_training_moves_the_chosen_and_no_bit_of_the_rest(recipe, chosen, count, workers, rng):
    model = prepared(recipe)
    before = {name: array.copy() for name, array in model.state().items()}
    trainer = Trainer(model, AdamW(1e-2), workers=workers)
    tokens = rng.integers(0, 11, (4, CONFIG.context))
    tokens[:, :] = np.r_[tokens[0, :6], tokens[0, :1]]
    targets = np.roll(tokens, -1, axis=1)
    losses = [trainer.step(tokens, targets) for _ in range(6)]
    assert losses[-1] < losses[0]
    for name, array in model.state().items():
        assert np.array_equal(array, before[name]) != chosen(name), name


@every_recipe
def test_gradients_and_optimizer_state_are_as_large_as_what_trains(recipe, chosen, count):
    arrays = {SGD: 1, AdamW: 2}
    for kind, copies in arrays.items():
        trainer = Trainer(prepared(recipe), kind(), workers=1)
        assert trainer.flat.data.size == trainer.flat.grad.size == count
        state = trainer.optimizer.state()
        assert sum(array.size for array in state.values() if array.ndim) == copies * count
    trainer = Trainer(prepared(recipe), Muon(), workers=1)
    n = trainer.flat.n_matrices
    assert sum(array.size for array in trainer.optimizer.state().values() if array.ndim) == n + 2 * (count - n)


@every_recipe
def test_only_what_trains_has_a_gradient(recipe, chosen, count, rng):
    trainer = Trainer(prepared(recipe), AdamW(1e-3), workers=2)
    tokens = rng.integers(0, 11, (4, 6))
    trainer.step(tokens, tokens)
    with_gradient = {name: p.grad.size for name, p in trainer.model.parameters().items() if p.grad is not None}
    assert all(chosen(name) for name in with_gradient) and sum(with_gradient.values()) == count
    assert [gradient.size for gradient in trainer.workers.gradients] == [count, count]


def test_a_recipe_thaws_what_an_earlier_one_froze():
    model = prepared(Partial())
    Full().apply(model)
    assert size(model)["trainable_parameters"] == BODY
    Partial(("wpe.*",)).apply(model)
    assert model.trainable_parameters().keys() == {"wpe.weight"}


# ---- patterns

@pytest.mark.parametrize("pattern, absolute", [
    ("blocks.-1.*", "blocks.2.*"), ("blocks.-3.attn.*", "blocks.0.attn.*"), ("blocks.1.*", "blocks.1.*"),
    ("blocks.*", "blocks.*"), ("*.bias", "*.bias"), ("ln_f.*", "ln_f.*"), ("blocks.-x.*", "blocks.-x.*"), ("wte-1.*", "wte-1.*")])
def test_blocks_can_be_counted_from_the_end(pattern, absolute):
    assert from_the_end(pattern, 3) == absolute


@pytest.mark.parametrize("wrong", ["blocks.3.*", "blocks.-4.*", "block.0.*", "attn", "*.weights", "", "blocks.-1"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_pattern_that_matches_nothing_is_named_and_nothing_has_changed(wrong, place):
    model = small_gpt()
    model.wte.trainable = False
    before = {name: (p.trainable, p.data.copy()) for name, p in model.parameters().items()}
    patterns = [wrong, "ln_f.*"] if place == 0 else ["ln_f.*", wrong]
    with pytest.raises(ValueError) as error:
        Partial(tuple(patterns)).apply(model)
    assert repr(wrong) in str(error.value) and "matches no parameter" in str(error.value)
    assert "wte.weight" in str(error.value)                    # an example of how names look
    for name, p in model.parameters().items():
        assert p.trainable == before[name][0] and np.array_equal(p.data, before[name][1]), name


@pytest.mark.parametrize("bottleneck", [0, -1, -20])
def test_a_bottleneck_below_one_is_refused_and_nothing_has_changed(bottleneck):
    model = small_gpt()
    with pytest.raises(ValueError, match=f"bottleneck is {bottleneck}"):
        BottleneckAdapter(bottleneck).apply(model, np.random.default_rng(6))
    assert list(model.parameters()) == list(small_gpt().parameters()) and size(model)["trainable_parameters"] == BODY


@pytest.mark.parametrize("place", ["atn", "mlps", "qkv", "", "parameters", "forward"])
def test_a_place_that_is_no_sublayer_is_refused_and_named(place):
    with pytest.raises(ValueError, match=f"no '{place}' to adapt"):
        BottleneckAdapter(M, ("mlp", place)).apply(small_gpt(), np.random.default_rng(6))


def test_a_refused_place_leaves_the_model_as_it_was():
    model = small_gpt()
    with pytest.raises(ValueError):
        BottleneckAdapter(M, ("mlp", "atn")).apply(model, np.random.default_rng(6))
    assert list(model.parameters()) == list(small_gpt().parameters()) and size(model)["trainable_parameters"] == BODY


def test_a_second_adapter_in_the_same_place_does_not_hide_the_first():
    """Either it is refused, or the parameters of both are found; hidden ones would be neither trained, nor frozen, nor saved."""
    try:
        model = prepared(BottleneckAdapter(M, ("mlp", "mlp"), False))
    except ValueError:
        return
    inserted, sublayer = 0, model.blocks[0].mlp
    while isinstance(sublayer, Adapted):
        inserted, sublayer = inserted + 1, sublayer.inner
    found = [name for name in model.parameters() if name.startswith("blocks.0.") and name.endswith("adapter.up.weight")]
    assert len(found) == inserted


# ---- as JSON

@pytest.mark.parametrize("recipe", [Full(), Partial(), Partial(("*.bias",)), BottleneckAdapter(),
                                    BottleneckAdapter(3, ("mlp",), False)], ids=str)
def test_recipes_survive_the_round_trip_through_json(recipe):
    facts = json.loads(json.dumps(to_json(recipe)))
    kept = dict(facts)
    again = from_json(facts)
    assert again == recipe and type(again) is type(recipe)
    assert facts == kept                                        # reading changes nothing
    assert prepared(again).trainable_parameters().keys() == prepared(recipe).trainable_parameters().keys()


def test_every_method_has_one_recipe():
    assert {"full": Full, "frozen": Partial, "adapter": BottleneckAdapter} == RECIPES
    assert [kind.stands_alone for kind in RECIPES.values()] == [True, True, False]


# ---- what will train, in numbers

def numbers_of(line):
    return [int(word.replace(",", "")) for word in line.split() if word.replace(",", "").isdigit()]


@every_recipe
def test_the_counts_of_the_table_add_up(recipe, chosen, count):
    model = prepared(recipe)
    first, *lines, last = trainable_table(model)
    assert first.startswith("this will train")
    assert sum(numbers_of(line)[-1] for line in lines) == count
    total = size(model)["total_parameters"]
    assert numbers_of(last) == [count, total]
    assert f"{100 * count / total:.1f} % of {total:,d}" in last


@every_recipe
def test_every_parameter_that_trains_stands_in_one_line_of_the_table(recipe, chosen, count):
    model = prepared(recipe)
    named = []
    for line in trainable_table(model)[1:-1]:
        name, *shape = line[:line.rindex(" ")].split()
        blocks = name.split(".")[1].split(",") if name.startswith("blocks.") else [None]
        for block in blocks:
            full = name if block is None else ".".join(["blocks", block, *name.split(".")[2:]])
            assert model.parameters()[full].shape == tuple(int(n) for n in shape if n != "x"), line
            named.append(full)
    assert sorted(named) == sorted(model.trainable_parameters())
