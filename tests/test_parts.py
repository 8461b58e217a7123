"""A model of other parts than GPT-2 is a model like any other: it trains, writes, is saved, adapted, merged and drawn."""

from dataclasses import replace

import numpy as np
import pytest
from commands import TINY, answer, refused, run
from mixtures import mixtures
from tables import mergeable_methods

from minillm.finetune.adapter_file import save_specialist
from minillm.finetune.adapters import Adapters
from minillm.finetune.merge import merge
from minillm.finetune.methods import ALIASES, METHODS, recipe_of
from minillm.finetune.wrapper import linear_maps
from minillm.gradcheck import perturb
from minillm.inference.decoder import Decoder, is_plain, stepper
from minillm.inference.generate import generate, generate_batch
from minillm.inference.kv_cache import KVCache
from minillm.nn import GPT, MLP, Config, Linear, Parameter
from minillm.nn.block import ACTIVATIONS, MLPS, NORMS
from minillm.nn.config import ARCHITECTURES, PARTS
from minillm.runs import load
from minillm.text.tokenizer import CharTokenizer
from minillm.train.blueprint import NoNumbers, blueprint, n_parameters
from minillm.train.checkpoint import fingerprint, save_model
from minillm.train.costs import buffers, cached_by_block
from minillm.train.optimizers import AdamW
from minillm.train.parts import parameter_kinds
from minillm.train.trainer import Trainer

USUAL = Config(vocab_size=11, context=7, n_layer=2, n_head=3, n_embd=12)
LLAMA = replace(USUAL, **ARCHITECTURES["llama"])
OTHER = replace(LLAMA, n_kv_head=1, n_hidden=10, tied=False, rope_base=50.0, norm_eps=1e-3)
# That one, in which all parts are others, goes through everything here; and each other part once, with the usual ones around it.
CONFIGS = {"usual": USUAL, "llama": LLAMA, "all others": OTHER, "untied": replace(USUAL, tied=False),
           "grouped": replace(USUAL, n_kv_head=1), "hidden": replace(USUAL, n_hidden=10)} | {
    f"{part} {name}": replace(USUAL, **{part: name}) for part, choices in PARTS.items() for name in choices
    if name != getattr(USUAL, part)} | {f"mixture {i}": config for i, config in enumerate(mixtures(6, seed=3))}
OTHERS = {name: config for name, config in CONFIGS.items() if config != USUAL}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
every_other = pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
EACH = ["prefix:tokens=4" if method == "prefix" else method for method in METHODS]


def model_of(config, method=None):
    """The same on every call."""
    rng = np.random.default_rng(5)
    model = GPT(config, rng, np.float64)
    perturb(model, rng, 0.2)
    if method:
        recipe_of(method).apply(model, rng)
        perturb(model, rng, 0.1)
    return model


def linears(module):
    return [layer for _, layer in module.modules() if isinstance(layer, Linear)]


def test_a_config_names_the_parts_and_refuses_others():
    assert OTHER != USUAL
    for config in CONFIGS.values():
        block = model_of(config).blocks[0]
        assert type(block.ln_1) is type(block.ln_2) is NORMS[config.norm] and type(block.mlp) is MLPS[config.mlp]
        assert block.mlp.activation or ACTIVATIONS[config.activation] in [type(module) for _, module in block.mlp.modules()]
    assert "blocks.0.ln_1.bias" not in model_of(replace(USUAL, norm="rmsnorm")).parameters()
    for part, choices in PARTS.items():
        with pytest.raises(ValueError, match=f"{part} is 'nonsense', but must be one of {', '.join(choices)}"):
            replace(USUAL, **{part: "nonsense"})
        with pytest.raises(ValueError, match=f"{part} is 1, but must be one of"):
            replace(USUAL, **{part: 1})


@pytest.mark.parametrize("mlp", MLPS)
def test_every_mlp_can_be_made_by_default_and_tells_methods_what_they_ask(mlp):
    x = np.random.default_rng(1).normal(size=(2, 3, 12))
    made, block = MLPS[mlp](12, np.random.default_rng(0)), model_of(replace(USUAL, mlp=mlp)).blocks[0]
    assert made.forward(x.astype(np.float32))[0].shape == x.shape and made.kind == "MLP"
    maps = linear_maps(block)
    # (IA)^3 scales the inputs of the map whose outputs are those of the MLP: what its bias grows by, they grow by.
    before = block.mlp.forward(x)[0]
    maps[block.mlp.output].bias.data += np.arange(12)
    np.testing.assert_allclose(block.mlp.forward(x)[0], before + np.arange(12), rtol=0, atol=1e-12)
    # A map without a name, or two of one name, would be passed over by LoRA.
    assert all(name for linear in linears(block) for name in linear.maps)
    assert len(maps) == sum(len(linear.maps) for linear in linears(block))


@every_config
def test_parameters_are_counted_and_sorted_without_names_being_asked(config):
    model = model_of(config)
    assert n_parameters(config) == sum(p.size for p in model.parameters().values())
    kinds = parameter_kinds(model)
    assert {kind for name, kind in kinds.items() if ".ln_" in name or name.startswith("ln_f")} == {"norm"}
    assert {kind for name, kind in kinds.items() if ".mlp." in name} == {"MLP"}
    assert all(kinds[name] == "embedding" for name in kinds if name in ("wte.weight", "wpe.weight"))
    assert kinds.get("lm_head.weight", "head") == "head"
    assert kinds["wte.weight"] == "embedding" and kinds["blocks.0.attn.qkv.weight"] == "attention"


@pytest.mark.parametrize("method", [*EACH, *(alias for alias in ALIASES if alias != "bitfit")])      # which needs biases
def test_every_method_knows_what_it_adds_and_trains(method):
    base, model, recipe = model_of(OTHER), GPT(OTHER, np.random.default_rng(0)), recipe_of(method)
    assert recipe.apply(model) is model
    assert recipe.adds(OTHER) == sum(p.size for name, p in model.parameters().items() if name not in base.parameters())
    before = {name: p.data.copy() for name, p in model.parameters().items()}
    tokens = np.random.default_rng(1).integers(0, 11, (4, 7))
    trainer = Trainer(model, AdamW(1e-2), workers=1)
    losses = [trainer.step(tokens[:, :-1], tokens[:, 1:]) for _ in range(30)]
    assert losses[-1] < losses[0]
    for name, p in model.parameters().items():
        assert p.trainable or np.array_equal(p.data, before[name]), name


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("config, method", [(OTHER, method) for method in EACH] + [(config, None) for config in OTHERS.values()])
def test_text_is_read_on_as_it_is_read_anew(config, method, batch):
    model, tokens = model_of(config, method), np.random.default_rng(1).integers(0, 11, (batch, 7))
    expected = model.logits(tokens)
    for first in (0, 1, 4):                                 # so many at once, and the others one by one
        kv_caches = [KVCache(model, batch)]
        steps = [stepper(model, kv_caches[0])]
        if is_plain(model):                                 # then the first way was the folded one
            kv_caches.append(KVCache(model, batch))
            steps.append(lambda token: model.forward_cached(token[:, None], kv_caches[1])[:, 0])
        for step, kv_cache in zip(steps, kv_caches):
            logits = [*np.moveaxis(model.forward_cached(tokens[:, :first], kv_cache), 1, 0)] if first else []
            logits = np.stack(logits + [step(tokens[:, t]) for t in range(first, 7)], axis=1)
            np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@every_other
def test_what_is_folded_is_as_exact_in_single_precision(config):
    model, tokens = model_of(config), np.random.default_rng(1).integers(0, 11, (2, 7))
    expected = model.logits(tokens)
    for p in model.parameters().values():
        p.data = p.data.astype(np.float32)
    step = stepper(model, KVCache(model, 2))
    logits = np.stack([step(tokens[:, t]) for t in range(7)], axis=1)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_every_mixture_without_a_relu_is_folded():
    for config in OTHERS.values():
        model = model_of(config)
        folded = isinstance(getattr(stepper(model, KVCache(model)), "__self__", None), Decoder)
        assert folded == (config.mlp == "swiglu" or config.activation == "gelu"), config


@pytest.mark.parametrize("config", [LLAMA, OTHER], ids=["llama", "all others"])
def test_text_is_written_on_beyond_the_context(config):
    """Then the last tokens are read anew, each at another position."""
    model, ids = model_of(config), [3, 1, 4]
    expected = list(ids)
    for _ in range(15):
        expected.append(int(model.logits(np.array([expected[-config.context:]]))[0, -1].argmax()))
    assert generate(model, ids, 15, np.random.default_rng(0), temperature=0) == expected
    assert generate_batch(model, [ids, ids], 15, np.random.default_rng(0), temperature=0) == [expected] * 2


@every_config
def test_its_memory_is_known_before_it_is_built(config):
    _, cache = GPT(config, np.random.default_rng(0)).blocks[0].forward(np.zeros((1, config.context, config.n_embd), np.float32))
    assert cached_by_block(config) == pytest.approx(sum(buffers(cache).values()) / (4 * config.context), rel=1e-9)
    for method in METHODS:
        recipe, n = recipe_of(method), n_parameters(config)
        recipe = replace(recipe, **{name: 2 for name in ("rank", "tokens") if hasattr(recipe, name)})
        assert recipe.adds(config) == sum(p.size for p in recipe.apply(GPT(config, NoNumbers())).parameters().values()) - n


@pytest.mark.parametrize("method", mergeable_methods())
@every_other
def test_what_can_be_merged_is_merged(config, method):
    model, tokens = model_of(config, method), np.random.default_rng(1).integers(0, 11, (2, 7))
    expected = model.logits(tokens)
    merge(model)
    assert model.parameters().keys() == model_of(config).parameters().keys()
    np.testing.assert_allclose(model.logits(tokens), expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@every_config
def test_a_checkpoint_remembers_the_parts(config, tmp_path):
    config = replace(config, vocab_size=2)
    model = GPT(config, np.random.default_rng(0))
    save_model(tmp_path / "model.npz", model, CharTokenizer.of("ab"))
    loaded = load(tmp_path / "model.npz").model
    assert loaded.config == config
    tokens = np.array([[0, 1, 1]])
    assert np.array_equal(loaded(tokens), model(tokens))


def test_several_specialists_share_it_and_each_comes_back_from_its_file(tmp_path):
    text, tokens = CharTokenizer.of("abcdefghijk"), np.random.default_rng(1).integers(0, 11, (2, 7))
    base, logits = GPT(OTHER, np.random.default_rng(5)), {}
    save_model(tmp_path / "base.npz", base, text, task={"kind": "text"})
    expected, kinds = base.logits(tokens), [method for method in EACH if not recipe_of(method).stands_alone]
    for method in kinds:
        model, recipe = load(tmp_path / "base.npz").model, recipe_of(method)
        recipe.apply(model)
        for p in model.trainable_parameters().values():
            p.data += 0.1 * np.random.default_rng(p.size).normal(size=p.shape).astype(np.float32)
        logits[method] = model.logits(tokens)
        save_specialist(tmp_path / f"{method[:4]}.npz", model, text, recipe, tmp_path / "base.npz", fingerprint(base))
    adapters = Adapters(base)
    for method in kinds:
        path = tmp_path / f"{method[:4]}.npz"
        adapters.load(method, path)
        assert np.array_equal(base.logits(tokens), logits[method]) and np.array_equal(load(path).model(tokens), logits[method])
    for method in [*reversed(kinds), *kinds]:
        adapters.use(method)
        assert np.array_equal(base.logits(tokens), logits[method]) and not np.array_equal(logits[method], expected)
        with adapters.disabled():
            assert np.array_equal(base.logits(tokens), expected)


@pytest.mark.parametrize("method", ["head", "head:norm=no", "frozen:train=lm_head.*", "frozen:train=wte.*"])
def test_an_output_table_of_its_own_learns_by_itself(method):
    model = model_of(replace(LLAMA, tied=False), method)
    tokens, chosen = np.random.default_rng(1).integers(0, 11, (4, 7)), "wte.weight" if "wte" in method else "lm_head.weight"
    assert {name for name in model.trainable_parameters() if name != "ln_f.weight"} == {chosen}
    before = {name: p.data.copy() for name, p in model.parameters().items()}
    trainer = Trainer(model, AdamW(1e-2), workers=1)
    losses = [trainer.step(tokens[:, :-1], tokens[:, 1:]) for _ in range(10)]
    moved = {name for name, p in model.parameters().items() if not np.array_equal(p.data, before[name])}
    assert losses[-1] < losses[0] and moved == set(model.trainable_parameters())
    assert all((p.grad is not None) == p.trainable for p in model.parameters().values())


def test_a_tied_table_has_the_sum_of_the_gradients_of_two_that_are_not(rng):
    tied, two = model_of(LLAMA), model_of(replace(LLAMA, tied=False))
    two.load_state_dict(tied.state_dict() | {"lm_head.weight": tied.wte.weight.data})
    tokens, dlogits = rng.integers(0, 11, (2, 7)), rng.normal(size=(2, 7, 11))
    for model in (tied, two):
        logits, cache = model.forward(tokens)
        model.zero_grad()
        model.backward(dlogits, cache)
    assert np.array_equal(tied.logits(tokens), two.logits(tokens))
    gradients = [{name: p.grad for name, p in model.parameters().items()} for model in (tied, two)]
    np.testing.assert_allclose(gradients[1].pop("lm_head.weight") + gradients[1]["wte.weight"], gradients[0]["wte.weight"],
                               rtol=1e-12, atol=1e-13)
    assert not gradients[1]["wte.weight"][np.setdiff1d(range(11), tokens)].any()       # what was not read
    assert all(np.array_equal(gradients[0][name], gradients[1][name]) for name in gradients[1] if name != "wte.weight")


BY_OPTIONS = {"each part": ([word for part, choices in PARTS.items() if part != "activation"
                             for word in (f"--{part}", getattr(OTHER, part))], {part: getattr(OTHER, part) for part in PARTS}),
              "llama": (["--arch", "llama", "--kv-heads", 1, "--hidden", 10, "--untied", "--rope-base", 50],
                        ARCHITECTURES["llama"] | {"n_kv_head": 1, "n_hidden": 10, "tied": False, "rope_base": 50.0})}


@pytest.mark.parametrize("chosen, fields", BY_OPTIONS.values(), ids=BY_OPTIONS)
def test_commands_pretrain_fine_tune_judge_and_draw_it(chosen, fields, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the owl took the ring to the mill and the fox took it home . " * 30, encoding="utf-8")
    folder = tmp_path / "runs"
    common = ["--workers", 1, "--steps", 3]
    code, *_ = run("pretrain", "--text", text, "--context", 8, *TINY, *common, *chosen, "--out", folder)
    assert code == 0
    base = folder / "pretrained.npz"
    assert all(getattr(load(base).model.config, name) == value for name, value in fields.items())
    for method in ("full", "lora:rank=2", "adapter:bottleneck=2"):
        code, *_ = run("finetune", "--base", base, "--text", text, "--method", method, "--batch", 3, *common)
        assert code == 0
    code, out, _ = run("inspect", base)
    assert code == 0 and all(fields[part] in out for part in fields.keys() & PARTS if part != "activation")
    assert answer("generate", folder / "full.npz", "--prompt", "the owl", "--tokens", 5)["texts"]
    assert answer("evaluate", folder / "lora.npz", "--workers", 1)["loss"] > 0
    assert answer("surface", folder, "--grid", 3, "--workers", 1, "--plots", tmp_path / "plots")["gap"] < 1e-5
    assert answer("sharpness", folder / "full.npz", "--workers", 1, "--top", 1)["top"]
    code, _, err = run("merge", folder / "lora.npz", "--out", folder / "merged.npz")
    assert code == 0 and load(folder / "merged.npz").model.config == load(base).model.config, err


COMPARED = ["--seeds", 1, "--rates", 1, "--steps", 1, "--batch", 2, "--test-documents", 2, "--samples", 0, "--workers", 1,
            "--no-scratch"]


@pytest.mark.parametrize("methods", [
    ["--methods", "full", "frozen", "adapter:bottleneck=2", "lora:rank=2", "ia3"],
    []],
    ids=["some", "the usual"])
def test_methods_are_compared_on_it(methods, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the owl took the ring to the mill . " * 30, encoding="utf-8")
    run("pretrain", "--text", text, "--context", 8, *TINY, "--steps", 1, "--workers", 1, "--arch", "llama", "--out", tmp_path)
    code, out, err = run("compare", "--base", tmp_path / "pretrained.npz", "--text", text, *COMPARED, *methods, "--out",
                         tmp_path / "compared")
    assert code == 0, err
    assert all(method in out for method in methods[1:])


def test_parts_that_are_none_are_refused_in_one_sentence(tmp_path):
    refused(tmp_path, "pretrain", "--norm", "batchnorm", words=["--norm", ", ".join(map(repr, NORMS))])


# ---- what an MLP of one's own must promise

def of_another_mlp(monkeypatch, mlp):
    monkeypatch.setitem(MLPS, "other", mlp)
    blueprint.cache_clear()
    return GPT(replace(USUAL, mlp="other"), np.random.default_rng(0))


class InTuple(MLP):
    def __init__(self, n_embd, rng, *args):
        super().__init__(n_embd, rng, *args)
        self.more = (Linear(n_embd, {"more": n_embd}, rng),)


class Namesake(MLP):
    """Its last linear map has the name of one in the attention."""

    output = "o"

    def __init__(self, *args):
        super().__init__(*args)
        self.proj.maps = ("o",)


class OtherDraw(MLP):
    def __init__(self, n_embd, rng, *args):
        super().__init__(n_embd, rng, *args)
        self.gate = Parameter(rng.standard_normal(n_embd))


@pytest.mark.parametrize("method", ["lora", "adapter"])
def test_layers_in_a_tuple_are_refused_where_something_is_to_be_inserted(method, monkeypatch):
    model = of_another_mlp(monkeypatch, InTuple)
    assert "blocks.0.mlp.more.0.weight" in model.parameters()
    with pytest.raises(ValueError, match=r"^blocks.0.mlp.more is a tuple of layers, .*; make it a list$"):
        recipe_of(method).apply(model)


def test_two_linear_maps_of_one_name_are_refused(monkeypatch):
    model = of_another_mlp(monkeypatch, Namesake)
    for method in ("lora", "ia3"):
        with pytest.raises(ValueError, match="^two Linear layers of a Block have a map named 'o': rename one$"):
            recipe_of(method).apply(model)


def test_a_layer_that_is_used_twice_has_its_names_once(monkeypatch, rng):
    model = model_of(USUAL)
    model.blocks[0].again = model.blocks[0].mlp.fc
    assert list(linear_maps(model.blocks[0])) == ["q", "k", "v", "o", "fc", "proj"]


def test_weights_that_are_drawn_in_another_way_are_named(monkeypatch):
    of_another_mlp(monkeypatch, OtherDraw)
    with pytest.raises(AttributeError, match="must be drawn with rng.normal or rng.uniform, not with rng.standard_normal:"):
        n_parameters(replace(USUAL, mlp="other"))
    for draw in (NoNumbers().normal, NoNumbers().uniform):
        assert not draw(-1, 1, size=(2, 3)).any()
