"""Reading on with a KV cache finds what reading anew finds, for every model; and the decoder is the model, only quicker."""

from dataclasses import dataclass

import numpy as np
import pytest

from minillm.finetune.methods import BottleneckAdapter
from minillm.gradcheck import perturb
from minillm.inference.decoder import Decoder, folding_is_right, in_small, is_plain, stepper
from minillm.inference.kv_cache import KVCache
from minillm.nn import GELU, GPT, MLP, AttentionHeads, CausalSelfAttention, Config, Linear, Module

CONFIG = Config(vocab_size=11, context=7, n_layer=2, n_head=3, n_embd=12)
T = CONFIG.context

both_precisions = pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-10)])
one_text_and_three = pytest.mark.parametrize("batch", [1, 3])
every_model = pytest.mark.parametrize("places", [(), ("attn", "mlp"), ("mlp",), ("attn",)], ids=["plain", "both", "mlp", "attn"])


def gpt(dtype=np.float64, places=(), scale=0.3):
    """Every weight off its starting value; adapters where asked for, and these do something."""
    rng = np.random.default_rng(5)
    model = GPT(CONFIG, rng, dtype)
    if places:
        BottleneckAdapter(5, places).apply(model, rng)
    perturb(model, rng, scale)
    return model


def texts(rng, batch):
    return rng.integers(0, CONFIG.vocab_size, (batch, T))


def read(step, tokens):
    """Token by token: the logits of each, (B, T, V)"""
    return np.stack([step(column).copy() for column in tokens.T], axis=1)


def assert_close(actual, expected, tolerance):
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    assert np.abs(actual - expected).max() <= tolerance * max(1, np.abs(expected).max())


# ---- any model

@every_model
@both_precisions
@one_text_and_three
@pytest.mark.parametrize("first", range(1, T + 1))
def test_reading_on_is_reading_anew(first, batch, dtype, tolerance, places, rng):
    """A prompt of any length at once, then one by one."""
    model, tokens = gpt(dtype, places), texts(rng, batch)
    kv_cache = KVCache(model, batch)
    logits = [model.forward_cached(tokens[:, :first], kv_cache)]
    logits += [model.forward_cached(tokens[:, t:t + 1], kv_cache) for t in range(first, T)]
    assert kv_cache.length == T
    assert_close(np.concatenate(logits, axis=1), model.logits(tokens), tolerance)


@every_model
@pytest.mark.parametrize("sizes", [(2, 3, 2), (1, 4, 2), (3, 4), (1, 1, 5)])
def test_several_positions_at_once_in_the_midst_of_a_text(sizes, places, rng):
    """The new positions see all earlier ones, and of each other only those before."""
    model, tokens = gpt(places=places), texts(rng, 2)
    kv_cache = KVCache(model, 2)
    logits = [model.forward_cached(part, kv_cache) for part in np.split(tokens, np.cumsum(sizes)[:-1], axis=1)]
    assert_close(np.concatenate(logits, axis=1), model.logits(tokens), 1e-10)


def test_two_texts_in_turn_do_not_disturb_each_other(rng):
    model, pair = gpt(), [texts(rng, 1), texts(rng, 1)]
    kv_caches = [KVCache(model), KVCache(model)]
    logits = [[model.forward_cached(tokens[:, t:t + 1], kv_cache) for tokens, kv_cache in zip(pair, kv_caches)] for t in range(T)]
    for tokens, parts in zip(pair, zip(*logits)):
        assert_close(np.concatenate(parts, axis=1), model.logits(tokens), 1e-10)


@pytest.mark.parametrize("make", [lambda model, kv_cache: lambda tokens: model.forward_cached(tokens[:, None], kv_cache)[:, -1],
                                  lambda model, kv_cache: Decoder(model, kv_cache).step], ids=["extend", "decoder"])
def test_beyond_the_context_nothing_is_read_and_nothing_is_lost(make, rng):
    model, tokens = gpt(), texts(rng, 2)
    kv_cache = KVCache(model, 2)
    step = make(model, kv_cache)
    read(step, tokens)
    with pytest.raises(ValueError, match="a text of 8 tokens does not fit into the context of 7"):
        step(tokens[:, 0])
    assert kv_cache.length == T
    kv_cache.length = 4                                               # back to an earlier point, and on from there in another way
    other = np.concatenate([tokens[:, :4], (tokens[:, 4:] + 1) % 11], axis=1)
    assert_close(read(step, other[:, 4:]), model.logits(other)[:, 4:], 1e-10)


def test_a_prompt_longer_than_the_context_is_refused(rng):
    model = gpt()
    kv_cache = KVCache(model, 2)
    model.forward_cached(texts(rng, 2)[:, :5], kv_cache)
    with pytest.raises(ValueError, match="a text of 8 tokens"):
        model.forward_cached(texts(rng, 2)[:, :3], kv_cache)
    assert kv_cache.length == 5


# ---- the decoder

@both_precisions
@one_text_and_three
@pytest.mark.parametrize("scale", [0.01, 0.3, 3.0])
def test_the_decoder_is_the_model(scale, batch, dtype, tolerance, rng):
    """Also where scores are so large that exp would overflow: that is what a scale of 3 is for."""
    model, tokens = gpt(dtype, scale=scale), texts(rng, batch)
    logits = read(Decoder(model, KVCache(model, batch)).step, tokens)
    assert_close(logits, model.logits(tokens), tolerance)


@pytest.mark.parametrize("first", range(1, T))
@one_text_and_three
def test_the_decoder_goes_on_where_the_model_stopped_and_the_model_where_the_decoder_did(first, batch, rng):
    model, tokens = gpt(), texts(rng, batch)
    expected = model.logits(tokens)
    kv_cache = KVCache(model, batch)
    model.forward_cached(tokens[:, :first], kv_cache)
    assert_close(read(Decoder(model, kv_cache).step, tokens[:, first:]), expected[:, first:], 1e-10)
    kv_cache = KVCache(model, batch)
    read(Decoder(model, kv_cache).step, tokens[:, :first])
    assert_close(model.forward_cached(tokens[:, first:], kv_cache), expected[:, first:], 1e-10)


def test_neither_weights_nor_their_means_are_touched(rng):
    model = gpt()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    read(Decoder(model, KVCache(model, 2)).step, texts(rng, 2))
    assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())


@every_model
def test_every_model_has_a_step(places, rng):
    model, tokens = gpt(places=places), texts(rng, 3)
    assert_close(read(stepper(model, KVCache(model, 3)), tokens), model.logits(tokens), 1e-10)


class Twice(MLP):
    """Something of someone's own in the place of an MLP, with the very same parameters."""

    def forward(self, x, needs_dx=True):
        out, cache = super().forward(x, needs_dx)
        return 2 * out, cache


class Doubled(Linear):
    """The same, deep inside a sublayer."""

    def forward(self, x, needs_dx=True):
        y, cache = super().forward(x, needs_dx)
        return 2 * y, cache


@pytest.mark.parametrize("insert", [
    lambda model: BottleneckAdapter(5, ("mlp",)).apply(model, np.random.default_rng(0)),
    lambda model: setattr(model.blocks[1], "mlp", Twice(12, np.random.default_rng(0), dtype=np.float64)),
    lambda model: setattr(model.blocks[1].attn, "qkv", Doubled(12, 36, np.random.default_rng(0), dtype=np.float64)),
], ids=["adapter", "sublayer", "linear"])
def test_what_was_inserted_is_never_left_out(insert, rng):
    model, tokens = gpt(), texts(rng, 2)
    plain = model.logits(tokens)
    assert is_plain(model)
    insert(model)
    perturb(model, rng)
    assert not is_plain(model)
    logits = read(stepper(model, KVCache(model, 2)), tokens)
    assert_close(logits, model.logits(tokens), 1e-10)
    assert np.abs(logits - plain).max() > 1e-3


def test_a_layer_that_was_edited_is_not_folded_and_that_is_said(monkeypatch, rng):
    """As if somebody had changed the activation in its file."""
    right = GELU.forward
    monkeypatch.setattr(GELU, "forward", lambda self, x, needs_dx=True: right(self, 1.1 * x, needs_dx))
    folding_is_right.cache_clear()
    model, tokens = gpt(), texts(rng, 2)
    with pytest.warns(UserWarning, match="does not fold what the layers compute now"):
        logits = read(stepper(model, KVCache(model, 2)), tokens)
    assert_close(logits, model.logits(tokens), 1e-10)
    folding_is_right.cache_clear()


@dataclass(frozen=True)
class SharperConfig(Config):
    sharper: bool = False


@pytest.fixture
def sharper(monkeypatch):
    """The class AttentionHeads scales q where the Config of a model says so."""
    split, init = AttentionHeads.split, GPT.__init__

    def splitting(self, qkv):
        q, k, v = split(self, qkv)
        return (1.5 * q if getattr(self, "sharper", False) else q), k, v

    def making(self, config, *args):
        init(self, config, *args)
        for block in self.blocks:
            block.attn.heads.sharper = config.sharper

    monkeypatch.setattr(AttentionHeads, "split", splitting)
    monkeypatch.setattr(GPT, "__init__", making)


def sharper_gpt(sharper):
    rng = np.random.default_rng(5)
    model = GPT(SharperConfig(11, 7, 2, 3, 12, sharper=sharper), rng, np.float64)
    perturb(model, rng, 0.3)
    return model


def test_a_part_that_a_config_switches_on_in_a_known_layer_is_not_folded(sharper, rng):
    model, tokens = sharper_gpt(True), texts(rng, 2)
    assert is_plain(model) and np.abs(model.logits(tokens) - sharper_gpt(False).logits(tokens)).max() > 1e-3
    with pytest.warns(UserWarning, match="does not fold what the layers compute now"):
        step = stepper(model, KVCache(model, 2))
    assert_close(read(step, tokens), model.logits(tokens), 1e-10)
    plain = sharper_gpt(False)
    assert isinstance(stepper(plain, KVCache(plain)).__self__, Decoder)      # and what is off is folded as ever


@pytest.mark.parametrize("error", [AttributeError, ValueError])
def test_what_cannot_be_folded_at_all_is_written_the_plain_way(error, monkeypatch, rng):
    def fold(block, D, centred):
        raise error("no such matrix")

    monkeypatch.setattr("minillm.inference.decoder.fold", fold)
    folding_is_right.cache_clear()
    model, tokens = gpt(), texts(rng, 2)
    with pytest.warns(UserWarning, match="does not fold what the layers compute now"):
        assert_close(read(stepper(model, KVCache(model, 2)), tokens), model.logits(tokens), 1e-10)
    folding_is_right.cache_clear()


@pytest.mark.parametrize("n_head, n_embd, width", [(3, 12, 12), (12, 768, 48), (6, 6, 6), (1, 2, 2)])
def test_the_folding_is_tried_in_small(n_head, n_embd, width):
    small = in_small(Config(50_000, 1024, 12, n_head, n_embd, norm="rmsnorm"))
    assert small == Config(5, 4, 2, n_head, width, norm="rmsnorm") and folding_is_right(in_small(Config(9, 9, 1, n_head, n_embd)))


class OwnAttention(Module):
    """It does not say how it reads on."""

    kind = "attention"

    def __init__(self, n_embd, n_head, rng):
        self.inner = CausalSelfAttention(n_embd, n_head, rng, dtype=np.float64)

    def forward(self, x, needs_dx=True):
        return self.inner.forward(x, needs_dx)


def test_an_attention_that_does_not_say_how_it_reads_on_writes_no_text(rng):
    """With `forward` in the place of it, each token would see nothing but itself."""
    model = gpt()
    model.blocks[1].attn = OwnAttention(12, 3, rng)
    with pytest.raises(NotImplementedError, match="OwnAttention does not say how it reads on .*: add forward_cached"):
        read(stepper(model, KVCache(model)), texts(rng, 1))
