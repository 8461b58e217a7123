"""Every way to fine-tune: right gradients, no change at insertion, and in training what is frozen keeps every bit."""

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from tables import DECAYING

from minillm.finetune.methods import METHODS, LoRA, recipe_of
from minillm.finetune.methods.bottleneck import Bottleneck, ParallelAdapter, SequentialAdapter
from minillm.finetune.methods.dora import DoRALinear, norms_held
from minillm.finetune.methods.ia3 import Scale, ScaledInputs, ScaledOutputs
from minillm.finetune.methods.lora import LoRALinear, LowRank
from minillm.finetune.methods.prefix import Prefix, PrefixedHeads
from minillm.finetune.methods.prompt import Prompt, Prompted
from minillm.finetune.summary import parameter_counts, trainable_table
from minillm.finetune.wrapper import inserted
from minillm.gradcheck import TOLERANCE, check_layer, gradcheck, perturb
from minillm.inference.generate import generate, generate_batch
from minillm.inference.kv_cache import KVCache
from minillm.nn import GPT, MLP, Block, CausalSelfAttention, Config, Linear
from minillm.nn.config import ARCHITECTURES
from minillm.train.optimizers import OPTIMIZERS, SGD, AdamW
from minillm.train.optimizers.muon import Muon
from minillm.train.trainer import Trainer

CONFIG = Config(vocab_size=11, context=7, n_layer=2, n_head=3, n_embd=12)
B, T, H, D, V, C, L = 2, 5, 3, 4, 11, 12, 2
LONG = Config(vocab_size=11, context=150, n_layer=2, n_head=3, n_embd=12)      # its attention goes through several tiles


def small_gpt(dtype=np.float64, config=CONFIG):
    """The same model on every call, with every weight off its starting value.

    Its tables are large enough for a step of finite differences to be small beside them, wherever it reaches a norm.
    """
    rng = np.random.default_rng(5)
    model = GPT(config, rng, dtype)
    perturb(model, rng, 0.1)
    for table in filter(None, (model.wte, model.wpe)):
        table.weight.data *= 4
    return model


def prepared(text, dtype=np.float64, config=CONFIG):
    """The same specialist on every call, as it is when its training begins."""
    model = small_gpt(dtype, config)
    recipe = recipe_of(text) if isinstance(text, str) else text
    recipe.apply(model, np.random.default_rng(6))
    return model


def shaken(text, dtype=np.float64, config=CONFIG):
    """The same, with every weight off its starting value."""
    model = prepared(text, dtype, config)
    perturb(model, np.random.default_rng(7), 0.1)
    return model


def some_tokens(rng, batch=B, length=T):
    return rng.integers(0, V, (batch, length))


def gradients(model, tokens, dlogits):
    """One forward and backward pass: {name: gradient or None}"""
    _, cache = model.forward(tokens)
    model.zero_grad()
    model.backward(dlogits, cache)
    return {name: p.grad for name, p in model.parameters().items()}


# ---- all settings, each with the names of what trains and their count

BODY = {name: p.shape for name, p in small_gpt().parameters().items()}
NORMS = {name for name in BODY if ".ln_" in name or name.startswith("ln_f.")}
BLOCK = 12 * C * C + 13 * C                        # 4 matrices of 12 C^2, their biases 9 C, two norms 4 C
M = 5                                              # of the adapters
ADAPTER = 2 * C * M + C + M
PLACES = {"q": "attn.qkv.{}.q", "k": "attn.qkv.{}.k", "v": "attn.qkv.{}.v", "o": "attn.proj.{}", "fc": "mlp.fc.{}",
          "proj": "mlp.proj.{}"}
IN_AND_OUT = {"q": 2 * C, "k": 2 * C, "v": 2 * C, "o": 2 * C, "fc": 5 * C, "proj": 5 * C}
OUT = {"q": C, "k": C, "v": C, "o": C, "fc": 4 * C, "proj": C}
TARGETS = tuple(PLACES)


def body(*starts):
    return {name for name in BODY if name.startswith(starts)}


def at(blocks, *names):
    return {f"blocks.{i}.{name}" for i in blocks for name in names}


def adapters(places=("attn", "mlp"), blocks=range(L)):
    return at(blocks, *(f"{place}.adapter.{layer}.{kind}" for place in places for layer in ("down", "up")
                        for kind in ("weight", "bias")))


def low_rank(label, targets, blocks=range(L)):
    parts = ("A", "B", "m") if label == "dora" else ("A", "B")
    return at(blocks, *(f"{PLACES[target].format(label)}.{part}" for target in targets for part in parts))


def numbers(rank, targets):
    return sum(rank * IN_AND_OUT[target] for target in targets)


def lengths(targets):
    return sum(OUT[target] for target in targets)


def prefix(*parts, blocks=range(L)):
    return at(blocks, *(f"attn.heads.prefix.{part}" for part in parts))


PLAIN = {
    "full": (set(BODY), L * BLOCK + (V + CONFIG.context) * C + 2 * C),
    "full:decay=2.6,gradual=yes": (set(BODY), L * BLOCK + (V + CONFIG.context) * C + 2 * C),
    "frozen": (body("blocks.1.", "ln_f."), BLOCK + 2 * C),
    "frozen:train=last-2": (body("blocks.", "ln_f."), 2 * BLOCK + 2 * C),
    "frozen:train=first": (body("blocks.0."), BLOCK),
    "frozen:train=first-2": (body("blocks."), 2 * BLOCK),
    "frozen:train=middle": (body("blocks.1."), BLOCK),
    "frozen:train=block-0": (body("blocks.0."), BLOCK),
    "frozen:train=attention": ({name for name in BODY if ".attn." in name}, L * (4 * C * C + 4 * C)),
    "frozen:train=mlp": ({name for name in BODY if ".mlp." in name}, L * (8 * C * C + 5 * C)),
    "frozen:train=biases": ({name for name in BODY if name.endswith(".bias")}, L * 11 * C + C),
    "frozen:train=norms": (NORMS, (4 * L + 2) * C),
    "frozen:train=tables": ({"wte.weight", "wpe.weight"}, (V + CONFIG.context) * C),
    "frozen:train=blocks.-1.*": (body("blocks.1."), BLOCK),
    "frozen:train=blocks.*.attn.*+ln_f.bias": (body("blocks.0.attn", "blocks.1.attn", "ln_f.bias"), L * (4 * C * C + 4 * C) + C),
    "frozen:train=wpe.*": ({"wpe.weight"}, CONFIG.context * C),
}
INSERTED = {
    "head": ({"wte.head.weight", "ln_f.weight", "ln_f.bias"}, V * C + 2 * C),
    "head:norm=no": ({"wte.head.weight"}, V * C),
    "adapter:bottleneck=5": (adapters() | NORMS, 2 * L * ADAPTER + (4 * L + 2) * C),
    "adapter:bottleneck=5,norms=no": (adapters(), 2 * L * ADAPTER),
    "adapter:bottleneck=5,places=attn": (adapters(["attn"]) | NORMS, L * ADAPTER + (4 * L + 2) * C),
    "adapter:bottleneck=5,places=mlp,norms=no": (adapters(["mlp"]), L * ADAPTER),
    "adapter:bottleneck=5,scale=0.7": (adapters() | NORMS, 2 * L * ADAPTER + (4 * L + 2) * C),
    "adapter:bottleneck=5,blocks=1,norms=no": (adapters(blocks=[1]), 2 * ADAPTER),
    "adapter:bottleneck=5,form=parallel": (adapters() | NORMS, 2 * L * ADAPTER + (4 * L + 2) * C),
    "adapter:bottleneck=5,form=parallel,norms=no": (adapters(), 2 * L * ADAPTER),
    "adapter:bottleneck=5,form=parallel,places=attn,norms=no": (adapters(["attn"]), L * ADAPTER),
    "adapter:bottleneck=5,form=parallel,places=mlp": (adapters(["mlp"]) | NORMS, L * ADAPTER + (4 * L + 2) * C),
    "adapter:bottleneck=5,form=parallel,scale=0.7": (adapters() | NORMS, 2 * L * ADAPTER + (4 * L + 2) * C),
    "adapter:bottleneck=5,form=parallel,blocks=-2": (adapters(blocks=[0]) | NORMS, 2 * ADAPTER + (4 * L + 2) * C),
    "lora": (low_rank("lora", TARGETS), L * numbers(4, TARGETS)),
    "lora:rank=1,targets=q+v": (low_rank("lora", "qv"), L * numbers(1, "qv")),
    "lora:rank=3,alpha=5,rs=yes": (low_rank("lora", TARGETS), L * numbers(3, TARGETS)),
    "lora:rank=12,targets=o": (low_rank("lora", "o"), L * numbers(12, "o")),
    "lora:rank=2,blocks=1,targets=k+fc": (low_rank("lora", ["k", "fc"], [1]), numbers(2, ["k", "fc"])),
    "lora:rank=2,blocks=0+-1,targets=v+v": (low_rank("lora", "v"), L * numbers(2, "v")),
    "dora": (low_rank("dora", TARGETS), L * (numbers(4, TARGETS) + lengths(TARGETS))),
    "dora:rank=2,targets=q+v+proj": (low_rank("dora", ["q", "v", "proj"]), L * (numbers(2, ["q", "v", "proj"]) + 3 * C)),
    "dora:rank=3,alpha=5,rs=yes,targets=k+o": (low_rank("dora", "ko"), L * (numbers(3, "ko") + 2 * C)),
    "dora:rank=2,targets=fc,blocks=-1": (low_rank("dora", ["fc"], [1]), numbers(2, ["fc"]) + 4 * C),
    "ia3": (at(range(L), "attn.qkv.ia3.k.l", "attn.qkv.ia3.v.l", "mlp.proj.ia3.l"), L * 6 * C),
    "ia3:targets=k": (at(range(L), "attn.qkv.ia3.k.l"), L * C),
    "ia3:targets=v": (at(range(L), "attn.qkv.ia3.v.l"), L * C),
    "ia3:targets=mlp": (at(range(L), "mlp.proj.ia3.l"), L * 4 * C),
    "ia3:targets=k+mlp": (at(range(L), "attn.qkv.ia3.k.l", "mlp.proj.ia3.l"), L * 5 * C),
    "ia3:targets=k+v,blocks=0": (at([0], "attn.qkv.ia3.k.l", "attn.qkv.ia3.v.l"), 2 * C),
    "prefix:tokens=4": (prefix("keys", "values", "gate"), L * (2 * 4 * C + H)),
    "prefix:tokens=4,gate=no": (prefix("keys", "values"), L * 2 * 4 * C),
    "prefix:tokens=1,blocks=1": (prefix("keys", "values", "gate", blocks=[1]), 2 * C + H),
    "prefix:tokens=7,blocks=0,gate=no": (prefix("keys", "values", blocks=[0]), 2 * 7 * C),
    "prompt:tokens=4": ({"blocks.0.prompt.vectors"}, 4 * C),
    "prompt:tokens=1,start=noise": ({"blocks.0.prompt.vectors"}, C),
    "prompt:tokens=9,start=noise": ({"blocks.0.prompt.vectors"}, 9 * C),      # more than the context holds
}
CHANGED = [text for text in INSERTED if text.startswith("prompt") or "gate=no" in text]      # these are no identity at first
UNCHANGED = [text for text in [*PLAIN, *INSERTED] if text not in CHANGED]
ONE_OF_EACH = ["full", "frozen", "head", "adapter:bottleneck=5", "adapter:bottleneck=5,form=parallel,norms=no", "lora", "dora",
               "ia3", "prefix:tokens=4", "prefix:tokens=4,gate=no", "prompt:tokens=4"]
SUBSETS = [subset for n in range(1, 7) for subset in combinations(TARGETS, n)]

every_setting = pytest.mark.parametrize("text", [*PLAIN, *INSERTED])
every_insertion = pytest.mark.parametrize("text", INSERTED)
every_method = pytest.mark.parametrize("text", ONE_OF_EACH)
every_subset = pytest.mark.parametrize("targets", SUBSETS, ids="+".join)


def test_every_method_is_here():
    for texts in ([*PLAIN, *INSERTED], ONE_OF_EACH):
        assert {recipe_of(text).method for text in texts} == set(METHODS)
    assert [name for name, recipe in METHODS.items() if recipe.stands_alone] == ["full"]


# ---- gradients of layers

def layer_errors(layer, rng, n_in=C):
    perturb(layer, rng, 0.1)
    return check_layer(layer, rng.normal(size=(B, T, n_in)), rng)


def assert_right(errors, names):
    assert errors.keys() == names
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("scale", [1, 0.7])
def test_gradients_of_a_bottleneck(scale, rng):
    errors = layer_errors(Bottleneck(C, M, scale, rng, np.float64), rng)
    assert_right(errors, {"x", "down.weight", "down.bias", "up.weight", "up.bias"})


@pytest.mark.parametrize("form", [SequentialAdapter, ParallelAdapter])
@pytest.mark.parametrize("scale", [1, 4])
def test_gradients_of_an_adapted_sublayer(form, scale, rng):
    layer = form(MLP(C, rng, dtype=np.float64), Bottleneck(C, M, scale, rng, np.float64))
    assert_right(layer_errors(layer, rng), {"x", "fc.weight", "fc.bias", "proj.weight", "proj.bias", "adapter.down.weight",
                                            "adapter.down.bias", "adapter.up.weight", "adapter.up.bias"})


def test_gradients_of_a_map_of_low_rank(rng):
    layer = LowRank(7, 5, 2, 1.7, rng, np.float64)
    perturb(layer, rng, 0.1)
    rows = rng.normal(size=(6, 7))
    assert_right(check_layer(layer, rows, rng), {"x", "A", "B"})


def stacked(kind, chosen, rng):
    """A linear layer of three thirds, those that are chosen with a low-rank map beside them."""
    columns = {name: slice(i * 4, (i + 1) * 4) for i, name in enumerate("qkv") if name in chosen}
    return kind(Linear(7, 12, rng, 0.3, np.float64), {name: LowRank(7, 4, 2, 1.7, rng, np.float64) for name in columns}, columns)


@pytest.mark.parametrize("chosen", ["q", "k", "v", "qk", "qv", "kv", "qkv"])
@pytest.mark.parametrize("kind", [LoRALinear, DoRALinear])
def test_gradients_of_lora_and_dora_beside_chosen_columns(kind, chosen, rng):
    layer = stacked(kind, chosen, rng)
    perturb(layer, rng, 0.1)
    if kind is DoRALinear:
        layer.held_norms = {name: layer.norms(name) for name in layer.parts}
    parts = ("A", "B", "m") if kind is DoRALinear else ("A", "B")
    errors = check_layer(layer, rng.normal(size=(B, T, 7)), rng)
    assert_right(errors, {"x", "weight", "bias", *(f"{kind.label}.{name}.{part}" for name in chosen for part in parts)})


def test_dora_takes_the_length_of_its_columns_as_a_constant(rng):
    """As the paper does. With the length moving along, finite differences find another gradient, of A and B but not of m."""
    layer = stacked(DoRALinear, "qkv", rng)
    errors = layer_errors(layer, rng, 7)
    assert min(errors["dora.k.A"], errors["dora.k.B"], errors["weight"]) > 1e-3
    assert max(errors["dora.k.m"], errors["x"], errors["bias"]) < TOLERANCE


@pytest.mark.parametrize("make, names", [
    (lambda rng: Scale(C, np.float64), {"x", "l"}),
    (lambda rng: ScaledInputs(Linear(C, 5, rng, 0.3, np.float64), Scale(C, np.float64)), {"x", "weight", "bias", "ia3.l"}),
    (lambda rng: ScaledOutputs(Linear(C, 9, rng, 0.3, np.float64), {"k": Scale(3, np.float64), "v": Scale(3, np.float64)},
                               {"k": slice(3, 6), "v": slice(6, 9)}), {"x", "weight", "bias", "ia3.k.l", "ia3.v.l"}),
    (lambda rng: ScaledOutputs(Linear(C, 9, rng, 0.3, np.float64), {"v": Scale(3, np.float64)}, {"v": slice(6, 9)}),
     {"x", "weight", "bias", "ia3.v.l"}),
], ids=["scale", "inputs", "outputs", "some outputs"])
def test_gradients_of_scaled_activations(make, names, rng):
    assert_right(layer_errors(make(rng), rng), names)


@pytest.mark.parametrize("gate", [True, False])
def test_gradients_of_attention_with_a_prefix(gate, rng):
    attn = CausalSelfAttention(C, H, rng, 0.3, 0.3, np.float64)
    attn.heads = PrefixedHeads(attn.heads, Prefix(*rng.normal(size=(2, H, 4, D)), H, gate))
    if gate:
        attn.heads.prefix.gate.data += rng.normal(size=H)
    errors = layer_errors(attn, rng)
    own = {f"heads.prefix.{name}" for name in ("keys", "values", *["gate"] * gate)}
    assert_right(errors, {"x", "qkv.weight", "qkv.bias", "proj.weight", "proj.bias"} | own)


def test_gradients_of_a_block_with_a_prompt(rng):
    layer = Prompted(Block(C, H, rng, 0.1, 0.1, np.float64), Prompt(rng.normal(size=(4, C))), first=True, last=True)
    errors = layer_errors(layer, rng)
    assert_right(errors, {"x", "prompt.vectors", *layer.inner.parameters()})


@pytest.mark.parametrize("make", [
    lambda rng: Bottleneck(7, 3, 0.7, rng, np.float64), lambda rng: LowRank(7, 5, 2, 1.7, rng, np.float64),
    lambda rng: Scale(7, np.float64), lambda rng: Prompt(rng.normal(size=(2, 7))),
], ids=["bottleneck", "low rank", "scale", "prompt"])
def test_backward_adds_to_the_gradient_leaves_its_inputs_alone_and_makes_no_dx_that_nobody_wants(make, rng):
    layer = make(rng)
    perturb(layer, rng)
    x = rng.normal(size=(B, T, 7)) if isinstance(layer, Prompt) else rng.normal(size=(T, 7))
    out, cache = layer.forward(x, False)
    dout = rng.normal(size=out.shape)
    kept_x, kept_dout = x.copy(), dout.copy()
    layer.zero_grad()
    assert layer.backward(dout, cache) is None
    once = {name: p.grad.copy() for name, p in layer.parameters().items()}
    assert all(gradient.any() for gradient in once.values())
    assert layer.backward(dout, layer.forward(x, True)[1]).shape == x.shape
    for name, p in layer.parameters().items():
        np.testing.assert_allclose(p.grad, 2 * once[name], rtol=1e-12, err_msg=name)
    assert np.array_equal(x, kept_x) and np.array_equal(dout, kept_dout)


# ---- gradients of whole models

def model_errors(model, rng, entries):
    """The gradient check of all that trains. The biases of q, k and v apart: without a prefix or rotary positions, that of k has
    none.
    """
    tokens, parameters, config = some_tokens(rng), model.trainable_parameters(), model.config
    ends = [config.n_embd, config.n_embd + config.kv_heads * config.head_dim]

    def parts(arrays):
        kept = {}
        for name, array in arrays.items():
            thirds = np.split(array, ends) if name.endswith("qkv.bias") else [array]
            k_matters = config.positions == "rotary" or name.replace("qkv.bias", "heads.prefix.keys") in model.parameters()
            kept |= {f"{name} {third}": part for third, part in enumerate(thirds) if third != 1 or k_matters}
        return kept

    def backward(dlogits, cache):
        model.zero_grad()
        model.backward(dlogits, cache)
        return parts({name: p.grad for name, p in parameters.items()})

    arrays = parts({name: p.data for name, p in parameters.items()})
    with norms_held(model):
        return gradcheck(lambda: model.forward(tokens), backward, arrays, rng, entries)


@every_setting
def test_gradients_of_all_that_trains(text, rng):
    model = shaken(text)
    errors = model_errors(model, rng, 4)
    assert {name.split()[0] for name in errors} == set(model.trainable_parameters())
    assert max(errors.values()) < TOLERANCE, errors


@every_insertion
def test_gradients_where_the_body_trains_as_well(text, rng):
    model = shaken(text)
    model.trainable = True
    errors = model_errors(model, rng, 2)
    assert max(errors.values()) < TOLERANCE, errors


@every_subset
def test_gradients_of_lora_at_every_subset_of_its_targets(targets, rng):
    errors = model_errors(shaken(LoRA(rank=2, targets=targets)), rng, 1)
    assert len(errors) == 2 * L * len(targets) and max(errors.values()) < TOLERANCE, errors


@every_setting
def test_gradients_with_a_frozen_body_are_those_of_a_fully_trainable_twin(text, rng):
    model, twin = shaken(text), shaken(text)
    twin.trainable = True
    tokens, dlogits = some_tokens(rng), rng.normal(size=(B, T, V))
    kept = dlogits.copy()
    some, every = (gradients(m, tokens, dlogits) for m in (model, twin))
    for name, p in model.parameters().items():
        assert every[name].any(), name
        if p.trainable:
            np.testing.assert_allclose(some[name], every[name], rtol=1e-10, atol=1e-12, err_msg=name)
        else:
            assert some[name] is None, name
    assert np.array_equal(dlogits, kept)


@every_insertion
def test_gradients_of_any_single_parameter_are_those_of_a_fully_trainable_twin(text, rng):
    """Whatever lies frozen before it, behind it and beside it."""
    model, twin = shaken(text), shaken(text)
    twin.trainable = True
    tokens, dlogits = some_tokens(rng), rng.normal(size=(B, T, V))
    every = gradients(twin, tokens, dlogits)
    for chosen in model.parameters():
        model.trainable = False
        model.parameters()[chosen].trainable = True
        actual = gradients(model, tokens, dlogits)
        assert [name for name, gradient in actual.items() if gradient is not None] == [chosen]
        np.testing.assert_allclose(actual[chosen], every[chosen], rtol=1e-10, atol=1e-12, err_msg=chosen)


@every_method
def test_two_forward_passes_before_the_first_backward_do_not_disturb_each_other(text, rng):
    """What backward needs travels in the cache."""
    model = shaken(text)
    first, second = some_tokens(rng), some_tokens(rng, 3, 4)
    d_first, d_second = rng.normal(size=(B, T, V)), rng.normal(size=(3, 4, V))
    one, other = ({name: g.copy() for name, g in gradients(model, tokens, dlogits).items() if g is not None}
                  for tokens, dlogits in ((first, d_first), (second, d_second)))
    (_, cache_1), (_, cache_2) = model.forward(first), model.forward(second)
    model.zero_grad()
    model.backward(d_first, cache_1)
    model.backward(d_second, cache_2)
    for name, p in model.trainable_parameters().items():
        np.testing.assert_allclose(p.grad, one[name] + other[name], rtol=1e-10, atol=1e-12, err_msg=name)


def bytes_in(cache):
    if isinstance(cache, np.ndarray):
        return cache.nbytes
    return sum(map(bytes_in, cache)) if isinstance(cache, (tuple, list)) else 0


@pytest.mark.parametrize("text", ["frozen", "head", "head:norm=no", "adapter:blocks=1,norms=no",
                                  "adapter:blocks=1,norms=no,form=parallel", "lora:blocks=1", "dora:blocks=-1", "ia3:blocks=1",
                                  "prefix:tokens=4,blocks=1", "prefix:tokens=4,blocks=1,gate=no"])
def test_a_block_below_all_that_trains_keeps_nothing_and_does_nothing(text, rng, monkeypatch):
    model = shaken(text)
    logits, cache = model.forward(some_tokens(rng))
    assert bytes_in(cache.layers[0]) == 0 < bytes_in(cache)
    monkeypatch.setattr(model.blocks[0], "backward", None)
    model.zero_grad()
    model.backward(rng.normal(size=logits.shape), cache)
    assert all(p.grad.any() for p in model.trainable_parameters().values())


# ---- beside other parts than those of GPT-2

LLAMA = replace(CONFIG, **ARCHITECTURES["llama"], n_head=4, n_embd=16, n_kv_head=2, rope_base=20.0)
OTHERS = {"llama": LLAMA,
          "turned, with biases, untied": replace(CONFIG, positions="rotary", tied=False, n_kv_head=1, rope_base=20.0),
          "three heads for each of two": replace(CONFIG, n_head=6, n_embd=24, n_kv_head=2, mlp="swiglu", biases="mlp")}
every_other_config = pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)


@every_method
@every_other_config
def test_gradients_beside_other_parts(text, config, rng):
    model = shaken(text, config=config)
    errors = model_errors(model, rng, 2)
    assert {name.split()[0] for name in errors} == set(model.trainable_parameters())
    assert max(errors.values()) < TOLERANCE, errors


@every_method
@every_other_config
def test_a_frozen_body_beside_other_parts(text, config, rng):
    """The gradients are those of a twin in which all trains."""
    model, twin = shaken(text, config=config), shaken(text, config=config)
    twin.trainable = True
    tokens, dlogits = some_tokens(rng), rng.normal(size=(B, T, V))
    some, every = (gradients(m, tokens, dlogits) for m in (model, twin))
    for name, p in model.parameters().items():
        assert every[name].any() and (some[name] is not None) == p.trainable, name
        if p.trainable:
            np.testing.assert_allclose(some[name], every[name], rtol=1e-10, atol=1e-12, err_msg=name)


@every_method
@every_other_config
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_insertion_beside_other_parts(text, config, dtype, rng):
    tokens, model = some_tokens(rng), prepared(text, dtype, config)
    expected = small_gpt(dtype, config).logits(tokens)
    assert np.array_equal(model.logits(tokens), expected) == (text not in CHANGED) and model.logits(tokens).dtype == dtype


@pytest.mark.parametrize("text", ["head", "dora:rank=2", "prefix:tokens=4"])
def test_any_single_parameter_beside_other_parts(text, rng):
    """Its gradient is that of a fully trainable twin, whatever lies frozen around it."""
    config = replace(LLAMA, biases="all", n_layer=1)
    model, twin = shaken(text, config=config), shaken(text, config=config)
    twin.trainable = True
    tokens, dlogits = some_tokens(rng), rng.normal(size=(B, T, V))
    every = gradients(twin, tokens, dlogits)
    for chosen in model.parameters():
        model.trainable = False
        model.parameters()[chosen].trainable = True
        alone = gradients(model, tokens, dlogits)[chosen]
        np.testing.assert_allclose(alone, every[chosen], rtol=1e-10, atol=1e-12, err_msg=chosen)


@pytest.mark.parametrize("text", ["frozen", "lora:blocks=1", "prefix:tokens=4,blocks=1"])
def test_a_block_of_other_parts_below_all_that_trains_keeps_nothing(text, rng, monkeypatch):
    model = shaken(text, config=LLAMA)
    logits, cache = model.forward(some_tokens(rng))
    assert bytes_in(cache.layers[0]) == 0 < bytes_in(cache)
    monkeypatch.setattr(model.blocks[0], "backward", None)
    model.zero_grad()
    model.backward(rng.normal(size=logits.shape), cache)
    assert all(p.grad.any() for p in model.trainable_parameters().values())


@pytest.mark.parametrize("text", ["frozen:train=biases", "bitfit"])
def test_where_there_are_no_biases_none_can_be_trained(text):
    with pytest.raises(ValueError, match="^this model has no biases that could train$"):
        prepared(text, config=LLAMA)


@pytest.mark.parametrize("text", ["lora:targets=fc", "dora:targets=q+proj"])
def test_a_map_that_this_mlp_does_not_have_is_no_target(text):
    with pytest.raises(ValueError, match="q, k, v, o, gate, up,? (and|or)?,? ?down"):
        prepared(text, config=LLAMA)


# ---- a prefix, many tiles long

def plain_prefix(layer, x, dout):
    """One sequence and one head at a time: softmax over [prefix keys; keys] at once, and its gradient."""
    prefix = layer.heads.prefix
    keys, values = prefix.keys.data, prefix.values.data
    n, T = keys.shape[1], x.shape[1]
    qkv, qkv_cache = layer.qkv.forward(x)
    do = dout @ layer.proj.weight.data.T
    o, dqkv = np.zeros_like(x), np.zeros_like(qkv)
    grads = {"heads.prefix.keys": np.zeros_like(keys), "heads.prefix.values": np.zeros_like(values)}
    mask = np.concatenate([np.zeros((T, n)), np.triu(np.full((T, T), -np.inf), 1)], axis=1)
    for b in range(len(x)):
        for h in range(H):
            columns = [slice(part * C + h * D, part * C + (h + 1) * D) for part in range(3)]
            q, k, v = (qkv[b][:, part] for part in columns)
            k, v = np.concatenate([keys[h], k]), np.concatenate([values[h], v])
            S = q @ k.T / math.sqrt(D) + mask
            P = np.exp(S - S.max(axis=1, keepdims=True))
            P /= P.sum(axis=1, keepdims=True)
            o[b][:, columns[0]] = P @ v
            do_h = do[b][:, columns[0]]
            dP = do_h @ v.T
            dS = P * (dP - (dP * P).sum(axis=1, keepdims=True)) / math.sqrt(D)
            dk, dv = dS.T @ q, P.T @ do_h
            for part, gradient in zip(columns, (dS @ k, dk[n:], dv[n:])):
                dqkv[b][:, part] = gradient
            grads["heads.prefix.keys"][h] += dk[:n]
            grads["heads.prefix.values"][h] += dv[:n]
    out, proj_cache = layer.proj.forward(o)
    layer.zero_grad()
    layer.proj.backward(dout, proj_cache)
    dx = layer.qkv.backward(dqkv, qkv_cache)
    return out, dx, grads | {name: p.grad.copy() for name, p in layer.parameters().items() if "prefix" not in name}


@pytest.mark.parametrize("scale", [0.3, 3.0], ids=["moderate scores", "scores beyond the range of exp"])
@pytest.mark.parametrize("length", [6, 150])
@pytest.mark.parametrize("gate", ["no gate", "a gate of one"])
def test_a_prefix_is_a_softmax_over_its_keys_and_those_of_the_text(gate, length, scale, rng):
    prefix = Prefix(*scale * rng.normal(size=(2, H, 4, D)), H, gate == "a gate of one")
    if prefix.gate:
        prefix.gate.data[:] = 1
    layer = CausalSelfAttention(C, H, rng, scale, 0.3, np.float64)
    layer.heads = PrefixedHeads(layer.heads, prefix)
    x, dout = rng.normal(size=(2, 5, length, C))
    plain_out, plain_dx, plain = plain_prefix(layer, x, dout)
    layer.zero_grad()
    out, cache = layer.forward(x)
    dx = layer.backward(dout, cache)
    assert len(cache.heads.heads.P) == (1 if length == 6 else 4)      # tiles: of sequences, and of the queries of each
    actual = {name: p.grad for name, p in layer.parameters().items()} | {"out": out, "dx": dx}
    for name, expected in (plain | {"out": plain_out, "dx": plain_dx}).items():
        assert np.abs(actual[name] - expected).max() < 1e-11 * np.abs(expected).max(), name


# ---- at insertion

@pytest.mark.parametrize("text", UNCHANGED)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_insertion_the_logits_are_those_of_the_base_bit_for_bit(text, dtype, rng):
    base, model, tokens = small_gpt(dtype), prepared(text, dtype), some_tokens(rng)
    assert np.array_equal(base.logits(tokens), model.logits(tokens))
    assert np.array_equal(base.forward(tokens)[0], model.forward(tokens)[0])


@pytest.mark.parametrize("text", CHANGED)
def test_a_prompt_or_a_prefix_without_a_gate_changes_the_logits_at_once(text, rng):
    tokens = some_tokens(rng)
    assert np.abs(prepared(text).logits(tokens) - small_gpt().logits(tokens)).max() > 1e-4


@pytest.mark.parametrize("text", [text for text in ONE_OF_EACH if text not in CHANGED])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_so_they_are_where_attention_goes_through_many_tiles(text, dtype, rng):
    tokens = some_tokens(rng, 5, 150)
    base, model = small_gpt(dtype, LONG), prepared(text, dtype, LONG)
    assert np.array_equal(base.logits(tokens), model.logits(tokens))
    assert np.array_equal(base.forward(tokens)[0], model.forward(tokens)[0])


@every_method
def test_trained_or_not_a_pass_for_training_and_one_for_reading_find_the_same(text, rng):
    model, tokens = shaken(text, config=LONG), some_tokens(rng, 2, 150)
    assert np.array_equal(model.logits(tokens), model.forward(tokens)[0])
    assert np.abs(model.logits(tokens) - small_gpt(config=LONG).logits(tokens)).max() > 1e-3


@every_setting
def test_exactly_the_chosen_parameters_train_and_the_base_keeps_its_names_and_values(text):
    names, count = (PLAIN | INSERTED)[text]
    model, old = prepared(text), small_gpt().state_dict()
    new = model.state_dict()
    assert model.trainable_parameters().keys() == names
    total = sum(array.size for array in new.values())
    assert parameter_counts(model) == {"trainable_parameters": count, "total_parameters": total}
    assert [name for name in new if name in old] == list(old) and new.keys() - old.keys() == names - old.keys()
    assert all(np.array_equal(new[name], old[name]) for name in old)


@every_subset
def test_lora_at_every_subset_of_its_targets(targets, rng):
    base, model, tokens = small_gpt(np.float32), prepared(LoRA(rank=2, targets=targets), np.float32), some_tokens(rng)
    assert model.trainable_parameters().keys() == low_rank("lora", targets)
    assert parameter_counts(model)["trainable_parameters"] == L * numbers(2, targets)
    assert np.array_equal(base.logits(tokens), model.logits(tokens))


@pytest.mark.parametrize("blocks, numbers", [((), [0, 1, 2, 3]), ((-1,), [3]), ((-4, 1), [0, 1]), ((3, -1, 3), [3])])
@pytest.mark.parametrize("method", ["adapter", "lora", "dora", "ia3", "prefix"])
def test_blocks_can_be_chosen_and_counted_from_the_end(method, blocks, numbers, rng):
    model = GPT(Config(V, 16, 4, H, C), rng)
    METHODS[method](blocks=blocks).apply(model, rng)
    assert sorted({int(slot.path.split(".")[1]) for slot in inserted(model)}) == numbers


@every_insertion
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_that_of_the_base(text, dtype, rng):
    model = shaken(text, dtype)
    assert {p.data.dtype for p in model.parameters().values()} == {np.dtype(dtype)}
    assert model.logits(some_tokens(rng)).dtype == dtype


@every_insertion
def test_the_same_seed_makes_the_same_parameters_and_no_two_of_them_start_alike(text):
    again, other = prepared(text), small_gpt()
    recipe_of(text).apply(other, np.random.default_rng(66))
    random = {name: p.data for name, p in prepared(text).trainable_parameters().items()
              if name.endswith((".A", "down.weight", ".prompt.vectors", ".prefix.keys"))}
    for name, array in random.items():
        assert np.array_equal(array, again.parameters()[name].data), name
        assert not np.array_equal(array, other.parameters()[name].data), name
    arrays = list(random.values())
    assert not any(np.array_equal(x, y) for i, x in enumerate(arrays) for y in arrays[i + 1:])


def test_what_parameters_are_at_first(rng):
    wide = Bottleneck(400, 300, 1.0, rng)
    assert wide.down.weight.data.std() == pytest.approx(400 ** -0.5, rel=0.02) and abs(wide.down.weight.data.mean()) < 1e-3
    assert not any(p.data.any() for p in (wide.down.bias, wide.up.weight, wide.up.bias))
    low = LowRank(400, 70, 30, 2, rng)
    assert np.abs(low.A.data).max() == pytest.approx(1 / 20, rel=0.01) and abs(low.A.data.mean()) < 1e-3 and not low.B.data.any()
    model = prepared("dora")
    for block in model.blocks:
        lengths = np.linalg.norm(block.attn.qkv.inner.weight.data, axis=0)
        for i, name in enumerate("qkv"):
            np.testing.assert_allclose(block.attn.qkv.parts[name].m.data, lengths[i * C:(i + 1) * C], rtol=1e-12)
    assert all((p.data == 1).all() for p in prepared("ia3").trainable_parameters().values())
    way_in, way_out = (p.data for name, p in prepared("head").parameters().items() if name.startswith("wte."))
    assert np.array_equal(way_in, way_out) and not np.shares_memory(way_in, way_out)
    table = small_gpt().wte.weight.data
    words = prepared("prompt:tokens=4").blocks[0].prompt.vectors.data
    assert all((table == word).all(axis=1).any() for word in words)
    assert prepared("prompt:tokens=70,start=noise").blocks[0].prompt.vectors.data.std() == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize("text, scale", [("lora", 8 / 4), ("lora:rank=2,alpha=3", 3 / 2), ("lora:rank=9,alpha=6,rs=yes", 2),
                                         ("dora:rank=4,alpha=1,rs=yes", 1 / 2)])
def test_the_change_of_a_matrix_is_scaled_by_alpha_over_the_rank(text, scale):
    part = shaken(text).blocks[1].mlp.fc.parts[""]
    np.testing.assert_allclose(part.product(), scale * part.A.data @ part.B.data, rtol=1e-12)


@pytest.mark.parametrize("text, scale", [("adapter", 1), ("adapter:form=parallel", 4), ("adapter:scale=0.7", 0.7),
                                         ("adapter:scale=1,form=parallel", 1)])
def test_what_an_adapter_adds_is_scaled(text, scale, rng):
    adapted = shaken(text).blocks[0].mlp
    x = rng.normal(size=(B, T, C))
    h = adapted.inner.forward(x)[0]
    seen = x if "parallel" in text else h
    added = adapted.adapter.up.forward(adapted.adapter.act.forward(adapted.adapter.down.forward(seen)[0])[0])[0]
    np.testing.assert_allclose(adapted.forward(x)[0], h + scale * added, rtol=1e-10)


def test_a_prefix_starts_as_the_keys_and_values_of_words(rng):
    """Of the same random words in every block, and so as a KV cache holds them that has just read them."""
    model, base = prepared("prefix:tokens=4"), small_gpt()
    words = np.random.default_rng(6).integers(0, V, (1, 4))
    kv_cache = KVCache(base)
    base.forward_cached(words, kv_cache)
    for i, block in enumerate(model.blocks):
        assert np.array_equal(block.attn.heads.prefix.keys.data, kv_cache.keys[i, 0, :, :4])
        assert np.array_equal(block.attn.heads.prefix.values.data, kv_cache.values[i, 0, :, :4])


# ---- reading on and writing

@every_setting
@pytest.mark.parametrize("sizes", [(7,), (1, 2, 4), (3, 1, 1, 2)], ids=str)
def test_reading_on_is_reading_anew(text, sizes, rng):
    model, tokens = shaken(text), some_tokens(rng, 2, 7)
    expected = model.logits(tokens)
    kv_cache = KVCache(model, 2)
    parts = np.split(tokens, np.cumsum(sizes)[:-1], axis=1)
    actual = np.concatenate([model.forward_cached(part, kv_cache) for part in parts], axis=1)
    assert kv_cache.length == 7 and np.abs(actual - expected).max() < 1e-10 * max(1, np.abs(expected).max())
    kv_cache.length = 0
    assert np.abs(model.forward_cached(tokens, kv_cache) - expected).max() < 1e-10 * max(1, np.abs(expected).max())
    kv_cache.length = 3                                   # back to an earlier point, and on from there
    read_on = model.forward_cached(tokens[:, 3:], kv_cache)
    assert np.abs(read_on - expected[:, 3:]).max() < 1e-10 * max(1, np.abs(expected).max())


@every_setting
def test_text_is_written_also_beyond_the_context(text, rng):
    model, start = shaken(text), [3, 8]
    expected = list(start)
    for _ in range(9):
        expected.append(int(model.logits(np.array([expected[-CONFIG.context:]]))[0, -1].argmax()))
    assert generate(model, start, 9, rng, temperature=0) == expected
    assert generate_batch(model, [start, [5], start], 9, rng, temperature=0)[::2] == [expected, expected]


# ---- training

def first_at_rest(name):
    """What has no gradient in the first step, since what it is multiplied by is still zero."""
    return name.endswith((".A", ".adapter.down.weight", ".adapter.down.bias", ".prefix.keys", ".prefix.values"))


@pytest.mark.parametrize("text", [text for text in [*PLAIN, *INSERTED] if text not in CHANGED])
def test_in_the_first_backward_some_have_no_gradient_yet(text, rng):
    model = prepared(text)
    for name, gradient in gradients(model, some_tokens(rng), rng.normal(size=(B, T, V))).items():
        if gradient is not None:
            assert gradient.any() != first_at_rest(name), name


def example(rng):
    """A batch that is easily learned: one line, four times."""
    line = rng.integers(0, V, CONFIG.context)
    return np.tile(line, (4, 1)), np.tile(np.roll(line, -1), (4, 1))


@every_setting
def test_training_moves_all_that_trains_and_no_bit_of_the_rest(text, rng):
    model = prepared(text, np.float32)
    trains = set(model.trainable_parameters())
    before = {name: array.copy() for name, array in model.state_dict().items()}
    trainer = Trainer(model, AdamW(1e-2, weight_decay=0), workers=1)
    tokens, targets = example(rng)
    losses = [trainer.step(tokens, targets)]
    for name, array in model.state_dict().items():
        at_rest = name not in trains or first_at_rest(name) and text not in CHANGED
        assert np.array_equal(array, before[name]) == at_rest, name
    losses += [trainer.step(tokens, targets) for _ in range(5)]
    assert losses[-1] < losses[0]
    for name, array in model.state_dict().items():
        assert np.array_equal(array, before[name]) != (name in trains), name


@every_method
def test_two_workers_learn_what_one_does(text, rng):
    tokens, targets = example(rng)
    tokens[1:3], targets[1:3] = rng.integers(0, V, (2, 2, 7))
    states = []
    for workers in (1, 2):
        model = prepared(text)
        trainer = Trainer(model, AdamW(1e-2), workers=workers)
        for _ in range(3):
            trainer.step(tokens, targets)
        states.append(model.state_dict())
    for name, array in states[0].items():
        if name.endswith("qkv.bias"):                   # the keys' part moves along rounding, for its gradient is zero
            array, states[1][name] = (np.delete(state[name], np.s_[C:2 * C]) for state in states)
        np.testing.assert_allclose(states[1][name], array, rtol=0, atol=1e-8, err_msg=name)


@every_setting
def test_gradients_and_optimizer_state_are_as_large_as_what_trains(text, rng):
    count = (PLAIN | INSERTED)[text][1]
    for kind, copies in ((SGD, 1), (AdamW, 2), (Muon, None)):
        trainer = Trainer(prepared(text), kind(), workers=2)
        assert trainer.flat.data.size == trainer.flat.grad.size == count
        assert [gradient.size for gradient in trainer.workers.gradients] == [count, count]
        n = trainer.flat.n_matrices
        held = sum(array.size for array in trainer.optimizer.state_dict().values() if array.ndim)
        assert held == (n + 2 * (count - n) if copies is None else copies * count)
    trainer = Trainer(prepared(text), SGD(), workers=1)
    trainer.step(*example(rng))
    with_gradient = {name for name, p in trainer.model.parameters().items() if p.grad is not None}
    assert with_gradient == (PLAIN | INSERTED)[text][0]


@every_setting
def test_what_is_a_matrix_is_said_by_its_owner(text):
    """Linear maps are; tables of vectors, words or learned ones, are none, whatever their shape and name."""
    tables = ("wte.weight", "wpe.weight", "wte.head.weight", "prompt.vectors", "heads.prefix.keys", "heads.prefix.values")
    parameters = shaken(text).parameters()
    for name, p in parameters.items():
        expected = p.data.ndim > 1 and not name.endswith(tables)
        assert p.matrices == ((12, 12, 12) if name.endswith("attn.qkv.weight") else p.shape[1:] if expected else ()), name


@every_setting
def test_only_matrices_decay(text):
    for rule in DECAYING.values():
        optimizer = rule(0.5, weight_decay=0.2)
        trainer = Trainer(shaken(text), optimizer, workers=1)
        before = {name: p.data.copy() for name, p in trainer.flat.parameters.items()}
        optimizer.step()                                # along a gradient of zero
        for name, p in trainer.flat.parameters.items():
            np.testing.assert_allclose(p.data, before[name] * (0.9 if p.matrices else 1), rtol=1e-12, err_msg=name)


RATES = {"sgd": {"lr": 0.01}, "adamw": {"lr": 1e-2}}            # of the others, the default


@every_method
def test_every_optimizer_lowers_the_loss(text, rng):
    tokens, targets = example(rng)
    for optimizer in (rule(**RATES.get(name, {})) for name, rule in OPTIMIZERS.items()):
        trainer = Trainer(prepared(text, np.float32), optimizer, workers=1)
        losses = [trainer.step(tokens, targets) for _ in range(6)]
        assert losses[-1] < losses[0], optimizer


def test_a_head_that_is_untied_learns_without_changing_what_is_read(rng):
    """The gradient of the tied table is the sum over both ways; untied, each way has its own."""
    tied, untied = small_gpt(), prepared("head")
    untied.trainable = True
    tokens, dlogits = some_tokens(rng), rng.normal(size=(B, T, V))
    whole, parts = gradients(tied, tokens, dlogits), gradients(untied, tokens, dlogits)
    np.testing.assert_allclose(parts["wte.weight"] + parts["wte.head.weight"], whole["wte.weight"], rtol=1e-10, atol=1e-12)
    assert parts["wte.weight"].any() and parts["wte.head.weight"].any()


# ---- refusals

def snapshot(model):
    return {name: (p.data.copy(), p.trainable) for name, p in model.parameters().items()}, [slot.path for slot in inserted(model)]


def assert_untouched(model, before):
    parameters, paths = before
    assert list(model.parameters()) == list(parameters) and [slot.path for slot in inserted(model)] == paths
    for name, p in model.parameters().items():
        assert np.array_equal(p.data, parameters[name][0]) and p.trainable == parameters[name][1], name


@pytest.mark.parametrize("text, message", [
    ("adapter:bottleneck=0", "bottleneck is 0, but must be at least 1"),
    ("adapter:bottleneck=-20", "bottleneck is -20"),
    ("adapter:form=series", "no form of an adapter 'series'; choose from sequential, parallel"),
    ("adapter:places=mlp+atn", "no sublayer 'atn'; choose from attn, mlp"),
    ("adapter:places=mlp+mlp", "each sublayer can be named once, not mlp mlp"),
    ("adapter:places=qkv", "no sublayer 'qkv'"),
    ("adapter:blocks=2", "no block 2; its blocks are 0 to 1"),
    ("lora:blocks=0+-3", "no block -3; its blocks are 0 to 1"),
    ("lora:rank=0", "rank is 0, but must be at least 1"),
    ("lora:rank=13,targets=fc", "rank 13 is larger than the matrix fc .12 x 48. can have; choose at most 12"),
    ("lora:rank=13,targets=v", "rank 13 is larger than the matrix v .12 x 12."),
    ("lora:targets=q+w", "no target 'w'; choose from q, k, v, o, fc, proj"),
    ("dora:rank=13", "rank 13 is larger than the matrix q "),
    ("dora:rank=-1", "rank is -1"),
    ("ia3:targets=q", "no target 'q'; choose from k, v, mlp"),
    ("ia3:blocks=7", "no block 7"),
    ("prefix:tokens=0", "number of tokens is 0"),
    ("prefix:tokens=8", "8 tokens do not fit into the context of 7"),
    ("prefix:tokens=2,blocks=-3", "no block -3"),
    ("prompt:tokens=0", "number of tokens is 0"),
    ("prompt:start=silence", "no start 'silence'; choose from words, noise"),
    ("full:decay=0.5", "decay is 0.5, but must be at least 1"),
])
def test_what_cannot_be_is_refused_in_a_sentence_and_nothing_has_changed(text, message):
    model = small_gpt()
    model.blocks[0].trainable = False
    before = snapshot(model)
    with pytest.raises(ValueError, match=message):
        recipe_of(text).apply(model, np.random.default_rng(6))
    assert_untouched(model, before)


@pytest.mark.parametrize("recipe", [METHODS["adapter"](places=()), METHODS["lora"](targets=()), METHODS["dora"](targets=()),
                                    METHODS["ia3"](targets=()), METHODS["frozen"](train=())], ids=lambda recipe: recipe.method)
def test_nothing_at_all_to_insert_or_train_is_refused(recipe):
    model = small_gpt()
    before = snapshot(model)
    with pytest.raises(ValueError, match="''"):
        recipe.apply(model, np.random.default_rng(6))
    assert_untouched(model, before)


@pytest.mark.parametrize("first, second, label", [
    ("lora", "lora", "lora"), ("lora:targets=q", "dora:targets=v", "lora"), ("dora", "ia3:targets=k", "dora"),
    ("ia3:targets=v", "lora", "ia3"), ("ia3", "ia3", "ia3"), ("lora:blocks=1", "lora", "lora"),
    ("adapter", "adapter", "adapter"), ("adapter:places=mlp", "adapter", "adapter"),
    ("prefix:tokens=2", "prefix:tokens=2,gate=no", "prefix"),
    ("prompt:tokens=2", "prompt:tokens=3", "prompt"), ("prompt:tokens=2", "adapter", "prompt"),
    ("prompt:tokens=2", "prefix:tokens=2", "prompt"), ("head", "head", "head")])
def test_a_second_one_in_the_same_place_is_refused_and_nothing_has_changed(first, second, label, rng):
    model = shaken(first)
    before = snapshot(model)
    advice = "merge it into the weights, or begin from the base" if label in ("lora", "dora", "ia3") else "begin from the base"
    with pytest.raises(ValueError, match=f"has an? {label} already; {advice}$"):
        recipe_of(second).apply(model, rng)
    assert_untouched(model, before)


@pytest.mark.parametrize("first, second", [
    ("adapter:places=attn", "prefix:tokens=2"), ("prefix:tokens=2", "adapter:norms=no"),
    ("lora", "prefix:tokens=3"),
    ("prefix:tokens=3", "dora"), ("adapter:bottleneck=3", "lora"), ("head", "ia3"),
    ("ia3", "prompt:tokens=3")])
def test_in_other_places_a_second_one_goes_on_top_of_the_first(first, second, rng):
    model = shaken(first)
    old = model.state_dict()
    recipe_of(second).apply(model, rng)
    assert all(np.array_equal(model.state_dict()[name], array) for name, array in old.items())
    assert not model.trainable_parameters().keys() & old.keys() and model.trainable
    perturb(model, rng, 0.1)
    model.trainable = True
    assert max(model_errors(model, rng, 2).values()) < TOLERANCE
    kv_cache, tokens = KVCache(model, 2), some_tokens(rng)
    logits = [model.forward_cached(part, kv_cache) for part in (tokens[:, :2], tokens[:, 2:])]
    np.testing.assert_allclose(np.concatenate(logits, axis=1), model.logits(tokens), rtol=0, atol=1e-10)


@every_setting
def test_a_recipe_returns_the_model_and_starts_the_same_each_time_without_a_random_generator(text):
    model, other = small_gpt(), small_gpt()
    assert recipe_of(text).apply(model) is model and recipe_of(text).apply(other, rng=None) is other
    assert model.trainable_parameters().keys() == other.trainable_parameters().keys() == (PLAIN | INSERTED)[text][0]
    assert all(np.array_equal(array, other.state_dict()[name]) for name, array in model.state_dict().items())


class Renamed(Block):
    """A block whose attributes have other names; what its modules say of themselves is the same."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.attn.projections, self.attn.last = self.attn.qkv, self.attn.proj
        self.mlp.wide, self.mlp.narrow = self.mlp.fc, self.mlp.proj
        del self.attn.qkv, self.attn.proj, self.mlp.fc, self.mlp.proj


@pytest.mark.parametrize("text", ["lora", "dora:targets=q+v+proj", "ia3", "ia3:targets=mlp"])
def test_recipes_find_layers_by_their_linear_maps_and_not_by_the_names_of_attributes(text, rng):
    model = small_gpt()
    model.blocks = [Renamed(C, H, rng, dtype=np.float64) for _ in range(L)]
    recipe_of(text).apply(model, rng)
    assert inserted(model) and parameter_counts(model) == parameter_counts(prepared(text))
    names = {"projections": "qkv", "wide": "fc", "narrow": "proj", "last": "proj"}
    paths = {".".join(names.get(part, part) for part in slot.path.split(".")) for slot in inserted(model)}
    assert paths == {slot.path for slot in inserted(prepared(text))}


def test_a_recipe_thaws_what_an_earlier_one_froze():
    model = prepared("frozen")
    recipe_of("full").apply(model)
    assert model.trainable_parameters().keys() == BODY.keys()
    recipe_of("frozen:train=wpe.*").apply(model)
    assert model.trainable_parameters().keys() == {"wpe.weight"}


def test_a_prompt_in_a_model_of_a_single_block(rng):
    """The first block is the last."""
    model = prepared("prompt:tokens=4", config=Config(V, 7, 1, H, C))
    perturb(model, rng, 0.1)
    model.trainable = True
    assert max(model_errors(model, rng, 3).values()) < TOLERANCE
    kv_cache, tokens = KVCache(model, 2), some_tokens(rng)
    logits = [model.forward_cached(part, kv_cache) for part in (tokens[:, :1], tokens[:, 1:])]
    np.testing.assert_allclose(np.concatenate(logits, axis=1), model.logits(tokens), rtol=0, atol=1e-10)


def test_a_prompt_and_a_prefix_do_not_take_room_from_the_text(rng):
    for text in ("prompt:tokens=9", "prefix:tokens=7,gate=no"):
        model = shaken(text)
        assert model.logits(some_tokens(rng, 2, 7)).shape == (2, 7, V)
        with pytest.raises(ValueError, match="a text of 8 tokens does not fit into the context of 7"):
            model.logits(some_tokens(rng, 2, 8))


def test_a_prompt_is_as_if_words_without_a_position_stood_before_the_text(rng):
    """Read by the base itself: the table of positions moved up by the prompt, and zero there."""
    model, n = shaken("prompt:tokens=3"), 3
    longer = GPT(Config(V + n, CONFIG.context + n, L, H, C), rng, np.float64)
    state = {name: array for name, array in model.state_dict().items() if not name.endswith(".vectors")}
    prompt = model.blocks[0].prompt.vectors.data
    longer.load_state_dict(state | {"wte.weight": np.concatenate([state["wte.weight"], prompt]),
                               "wpe.weight": np.concatenate([np.zeros((n, C)), state["wpe.weight"]])})
    tokens = some_tokens(rng)
    expected = longer.logits(np.concatenate([np.tile(np.arange(V, V + n), (B, 1)), tokens], axis=1))[:, n:, :V]
    np.testing.assert_allclose(model.logits(tokens), expected, rtol=0, atol=1e-12)


def test_a_gate_may_differ_from_head_to_head(rng):
    """With two gates closed, only the third head looks at its prefix."""
    model, tokens = shaken("prefix:tokens=4"), some_tokens(rng)
    logits = []
    for gate in ([0, 0, 0], [0, 0, 1]):
        for block in model.blocks:
            block.attn.heads.prefix.gate.data[:] = gate
        logits.append(model.logits(tokens))
        for block in model.blocks:
            block.attn.heads.prefix.values.data[:2] += 1
        np.testing.assert_allclose(model.logits(tokens), logits[-1], rtol=0, atol=1e-12)
    assert np.abs(logits[1] - logits[0]).max() > 1e-3


# ---- what will train, in numbers

@every_setting
def test_the_table_of_what_trains_adds_up_and_names_everything(text):
    names, count = (PLAIN | INSERTED)[text]
    lines = trainable_table(prepared(text))
    total = parameter_counts(prepared(text))["total_parameters"]
    assert any(f"{count:,d}" in line and f"{total:,d}" in line and f"{100 * count / total:.1f} %" in line for line in lines)
    for name in names:
        kind = name.split(".", 2)[2] if name.startswith("blocks.") else name
        assert any(kind in line for line in lines), name
