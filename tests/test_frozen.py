"""Parts by name or pattern: what they stand for in models of any depth, and a name of nothing is an error that helps."""

import numpy as np
import pytest

from minillm.finetune.methods import Frozen
from minillm.finetune.methods.frozen import PARTS, members
from minillm.gradcheck import perturb
from minillm.nn import GPT, Config
from minillm.train.parts import from_the_end


def small_gpt(n_layer=3):
    """The same model on every call, with every weight off its starting value."""
    rng = np.random.default_rng(5)
    model = GPT(Config(vocab_size=11, context=7, n_layer=n_layer, n_head=3, n_embd=12), rng)
    perturb(model, rng)
    return model


def chosen(*parts, n_layer=3):
    model = small_gpt(n_layer)
    Frozen(parts).apply(model)
    return list(model.trainable_parameters())


def names(*starts, n_layer=3):
    return [name for name in small_gpt(n_layer).parameters() if name.startswith(starts)]


@pytest.mark.parametrize("part, starts", [
    ("last", ["blocks.2.", "ln_f."]), ("last-1", ["blocks.2.", "ln_f."]), ("last-2", ["blocks.1.", "blocks.2.", "ln_f."]),
    ("last-3", ["blocks.", "ln_f."]), ("first", ["blocks.0."]), ("first-2", ["blocks.0.", "blocks.1."]), ("first-3", ["blocks."]),
    ("middle", ["blocks.1."]), ("middle-2", ["blocks.1.", "blocks.2."]), ("middle-3", ["blocks."]), ("block-0", ["blocks.0."]),
    ("block-2", ["blocks.2."]), ("tables", ["wte.", "wpe."]), ("blocks.0.*", ["blocks.0."]), ("blocks.-1.*", ["blocks.2."]),
    ("blocks.-3.attn.*", ["blocks.0.attn."]), ("blocks.[02].mlp.fc.*", ["blocks.0.mlp.fc.", "blocks.2.mlp.fc."]),
    ("wpe.weight", ["wpe."]), ("*", [""])])
def test_what_a_part_stands_for(part, starts):
    assert chosen(part) == names(*starts)


@pytest.mark.parametrize("part, wanted", [
    ("attention", lambda name: ".attn." in name),
    ("mlp", lambda name: ".mlp." in name),
    ("biases", lambda name: name.endswith(".bias")),
    ("norms", lambda name: ".ln_" in name or name.startswith("ln_f.")),
    ("*.qkv.weight", lambda name: name.endswith("qkv.weight"))])
def test_what_a_part_of_every_block_stands_for(part, wanted):
    assert chosen(part) == [name for name in small_gpt().parameters() if wanted(name)]


@pytest.mark.parametrize("n_layer, middle, two", [
    (1, [0], None), (2, [1], [0, 1]), (3, [1], [1, 2]), (4, [2], [1, 2]), (5, [2], [2, 3]), (6, [3], [2, 3])])
def test_the_middle_of_models_of_any_depth(n_layer, middle, two):
    assert chosen("middle", n_layer=n_layer) == names(*(f"blocks.{i}." for i in middle), n_layer=n_layer)
    if two:
        assert chosen("middle-2", n_layer=n_layer) == names(*(f"blocks.{i}." for i in two), n_layer=n_layer)


def test_several_parts_are_added_up():
    assert chosen("first", "last", "wpe.*") == names("wpe.", "blocks.0.", "blocks.2.", "ln_f.")
    assert chosen("biases", "*.bias") == chosen("biases")


def test_blocks_beyond_the_ninth_are_other_blocks():
    assert chosen("block-1", n_layer=11) == names("blocks.1.", n_layer=11)
    assert chosen("last", n_layer=11) == names("blocks.10.", "ln_f.", n_layer=11)
    assert chosen("blocks.-11.*", n_layer=11) == names("blocks.0.", n_layer=11)


def test_every_part_that_is_described_is_one():
    for part in PARTS:
        assert part == "head" or chosen(part.replace("N", "1"))


def test_a_part_that_a_model_lacks_is_said_to_be_lacking():
    assert members("head", GPT(Config(11, 7, 2, 3, 12, tied=False), np.random.default_rng(0))) == {"lm_head.weight"}
    with pytest.raises(ValueError, match="^this model has no head that could train; its output layer is tied"):
        chosen("head")


@pytest.mark.parametrize("pattern, absolute", [
    ("blocks.-1.*", "blocks.2.*"), ("blocks.-3.attn.*", "blocks.0.attn.*"), ("blocks.1.*", "blocks.1.*"),
    ("blocks.*", "blocks.*"), ("*.bias", "*.bias"), ("ln_f.*", "ln_f.*"), ("blocks.-x.*", "blocks.-x.*"), ("wte-1.*", "wte-1.*")])
def test_blocks_can_be_counted_from_the_end(pattern, absolute):
    assert from_the_end(pattern, 3) == absolute
    assert members(pattern, small_gpt(n_layer=3)) == members(absolute, small_gpt(n_layer=3))


@pytest.mark.parametrize("wrong", [
    "blocks.3.*", "blocks.-4.*", "block.0.*", "attn", "*.weights", "", "blocks.-1", "last-4", "last-0", "first-0", "first-9",
    "middle-4", "block", "block-3", "last-x", "Last", "bias"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_pattern_that_matches_nothing_is_named_and_nothing_has_changed(wrong, place):
    model = small_gpt()
    model.wte.trainable = False
    before = {name: (p.trainable, p.data.copy()) for name, p in model.parameters().items()}
    with pytest.raises(ValueError) as error:
        Frozen((wrong, "ln_f.*") if place == 0 else ("ln_f.*", wrong)).apply(model)
    assert f"the pattern {wrong!r} matches no parameter" in str(error.value)
    assert all(part in str(error.value) for part in PARTS)
    for name, p in model.parameters().items():
        assert p.trainable == before[name][0] and np.array_equal(p.data, before[name][1]), name


@pytest.mark.parametrize("wrong, meant", [("blocks.0.attn.qkv.wieght", "blocks.0.attn.qkv.weight"), ("atention", "attention"),
                                          ("bias", "biases"), ("lnf.weight", "ln_f.weight"), ("zzz", "wte.weight")])
def test_the_closest_names_are_reported(wrong, meant):
    with pytest.raises(ValueError) as error:
        Frozen((wrong,)).apply(small_gpt())
    near = str(error.value).split("close to it are ")[1].split(". Parts have names too")[0]
    assert meant in near.split(", ")
