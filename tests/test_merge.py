"""Merged into the weights, an adapter does the same without taking any room; taken out again, the old bits are back."""

import numpy as np
import pytest
from tables import mergeable_methods

from minillm.finetune.merge import merge
from minillm.finetune.methods import recipe_of
from minillm.finetune.wrapper import inserted
from minillm.gradcheck import perturb
from minillm.inference.decoder import is_plain
from minillm.inference.generate import generate
from minillm.nn import GPT, Config
from minillm.train.optimizers import AdamW
from minillm.train.trainer import Trainer

CONFIG = Config(vocab_size=11, context=7, n_layer=2, n_head=3, n_embd=12)
MERGEABLE = [*mergeable_methods(), "lora:rank=2,targets=q+v,rs=yes", "lora:blocks=1,targets=k+fc", "lora:targets=o+proj,alpha=1",
             "dora:rank=1,targets=v+proj,blocks=0", "ia3:targets=k", "ia3:targets=v+mlp,blocks=-1"]

every_mergeable = pytest.mark.parametrize("text", MERGEABLE)
both_precisions = pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-12)])


def small_gpt(dtype=np.float32):
    """The same model on every call, with logits of order 1."""
    rng = np.random.default_rng(5)
    model = GPT(CONFIG, rng, dtype)
    perturb(model, rng, 0.2)
    return model


def specialist(text, dtype=np.float32):
    """The same on every call, and its new parameters do something."""
    model = small_gpt(dtype)
    recipe_of(text).apply(model, np.random.default_rng(6))
    for p in model.trainable_parameters().values():
        p.data += 0.1 * np.random.default_rng(p.size).normal(size=p.shape)
    return model


def tokens_of(rng):
    return rng.integers(0, 11, (3, 7))


def test_what_the_paper_of_each_says_can_be_merged_is_among_them():
    """A method that no longer says so of itself would drop out of the list, and out of the tests of it."""
    assert {"lora", "dora", "ia3"} <= {*mergeable_methods()}


@every_mergeable
@both_precisions
def test_merged_or_not_the_logits_are_the_same(text, dtype, tolerance, rng):
    model, tokens = specialist(text, dtype), tokens_of(rng)
    before = model.logits(tokens)
    merge(model)
    assert not inserted(model) and is_plain(model) and model.parameters().keys() == small_gpt().parameters().keys()
    after = model.logits(tokens)
    assert after.dtype == dtype and np.abs(after - before).max() < tolerance * max(1, np.abs(before).max())
    assert np.abs(after - small_gpt(dtype).logits(tokens)).max() > 0.01


@every_mergeable
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_undone_every_bit_is_as_it_was(text, dtype, rng):
    model, tokens = specialist(text, dtype), tokens_of(rng)
    logits, before = model.logits(tokens), {name: array.copy() for name, array in model.state_dict().items()}
    trains = model.trainable_parameters()
    merged = merge(model)
    merged.undo()
    assert np.array_equal(model.logits(tokens), logits)
    after = model.state_dict()
    assert list(after) == list(before) and all(np.array_equal(after[name], before[name]) for name in before)
    assert model.trainable_parameters() == trains
    merged.undo()                                       # a second time it has nothing to do
    assert np.array_equal(model.logits(tokens), logits)


@every_mergeable
def test_no_other_weights_change_than_those_with_something_beside_them(text):
    """And of their biases only those of outputs that are scaled."""
    model = specialist(text)
    paths = [slot.path for slot in inserted(model)]
    expected = {f"{path}.weight" for path in paths} | {f"{path}.bias" for path in paths if "ia3" in text and "qkv" in path}
    merge(model)
    after = model.state_dict()
    assert {name for name, array in small_gpt().state_dict().items() if not np.array_equal(after[name], array)} == expected


def test_columns_of_other_targets_keep_their_bits():
    for text in ("lora:targets=k", "dora:targets=k", "ia3:targets=k"):
        model = specialist(text)
        merge(model)
        for ours, base in zip(model.blocks, small_gpt().blocks):
            same = [np.array_equal(x, y) for x, y in zip(*(np.split(b.attn.qkv.weight.data, 3, axis=1) for b in (ours, base)))]
            assert same == [True, False, True]


@pytest.mark.parametrize("text", mergeable_methods())
def test_untrained_it_changes_nothing_when_merged(text, rng):
    model, tokens = small_gpt(), tokens_of(rng)
    recipe_of(text).apply(model, rng)
    merge(model)
    assert np.abs(model.logits(tokens) - small_gpt().logits(tokens)).max() < 1e-6


def test_after_the_undoing_it_can_be_trained_and_merged_again(rng):
    model, tokens = specialist("lora"), tokens_of(rng)
    merge(model).undo()
    trainer = Trainer(model, AdamW(1e-2), workers=1)
    losses = [trainer.step(tokens, np.roll(tokens, -1, axis=1)) for _ in range(5)]
    assert losses[-1] < losses[0]
    logits = model.logits(tokens)
    merge(model)
    assert np.abs(model.logits(tokens) - logits).max() < 1e-6 * max(1, np.abs(logits).max())


def test_a_merged_model_may_be_the_base_of_the_next(rng):
    model, tokens = specialist("lora"), tokens_of(rng)
    merge(model)
    logits = model.logits(tokens)
    recipe_of("ia3").apply(model, rng)
    assert np.array_equal(model.logits(tokens), logits)


def test_two_kinds_in_one_model_are_merged_both(rng):
    model, tokens = specialist("lora:targets=fc+o", np.float64), tokens_of(rng)
    recipe_of("ia3").apply(model, rng)
    for p in model.trainable_parameters().values():
        p.data += 0.1 * rng.normal(size=p.shape)
    logits = model.logits(tokens)
    merge(model)
    assert is_plain(model)
    np.testing.assert_allclose(model.logits(tokens), logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("text, label, path", [
    ("adapter:bottleneck=3", "adapter", "blocks.0.attn"), ("adapter:form=parallel,blocks=1", "adapter", "blocks.1.attn"),
    ("prefix:tokens=2", "prefix", "blocks.0.attn.heads"), ("prompt:tokens=2", "prompt", "blocks.0"), ("head", "head", "wte")])
@pytest.mark.parametrize("beside", [None, "lora:targets=fc"])
def test_what_is_no_linear_function_is_refused_and_nothing_has_changed(text, label, path, beside, rng):
    """Also if something else in the model could be merged."""
    model = specialist(beside) if beside else small_gpt()
    recipe_of(text).apply(model, rng)
    perturb(model, rng, 0.1)
    before, tokens = {name: array.copy() for name, array in model.state_dict().items()}, tokens_of(rng)
    logits, slots = model.logits(tokens), [slot.path for slot in inserted(model)]
    with pytest.raises(ValueError, match=f"the {label} at {path} cannot be merged"):
        merge(model)
    assert [slot.path for slot in inserted(model)] == slots and np.array_equal(model.logits(tokens), logits)
    assert all(np.array_equal(model.state_dict()[name], before[name]) for name in before)


@pytest.mark.parametrize("text", [None, "full", "frozen:train=biases"])
def test_where_nothing_was_inserted_there_is_nothing_to_merge(text):
    model = specialist(text) if text else small_gpt()
    with pytest.raises(ValueError, match="nothing to merge"):
        merge(model)


def test_a_merged_model_writes_what_the_specialist_wrote(rng):
    model = specialist("dora")
    written = generate(model, [3, 5], 9, rng, temperature=0)
    merge(model)
    assert generate(model, [3, 5], 9, rng, temperature=0) == written
