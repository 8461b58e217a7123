"""Adapters as folders of peft, both ways."""

import json
import logging
import time
import warnings

import numpy as np
import pytest
from commands import answer, refused, run
from hub_folders import (
    FAMILIES,
    arrays_in,
    difference,
    folder_of,
    loaded,
    model_of,
    same,
    settings,
    tokens_for,
    with_safetensors,
    write_arrays_as,
)

import minillm as ml
from minillm.finetune.adapter_file import save_specialist
from minillm.finetune.methods import from_json, recipe_of
from minillm.finetune.specialist import prepare
from minillm.hub.folders import export, from_pretrained
from minillm.hub.peft_config import values_of
from minillm.train.checkpoint import fingerprint, save_model

pytestmark = with_safetensors
SIZES = {"vocab_size": 23, "context": 9, "n_layer": 2, "n_head": 4, "n_embd": 16, "n_hidden": 24}
LINEAR = ["lora:rank=2", "lora:rank=3,rs=yes,targets=q+v,alpha=5", "lora:rank=2,targets=k+o,blocks=1", "dora:rank=2,targets=k+v",
          "dora:rank=1", "ia3", "ia3:targets=k+mlp", "ia3:targets=v,blocks=0"]
BEFORE = ["prefix:tokens=3,gate=no", "prompt:tokens=4"]      # the text; with rotary positions only
ADAPTERS = [(family, method) for family in FAMILIES for method in LINEAR + (BEFORE if family != "gpt2" else [])]

every_adapter = pytest.mark.parametrize("family, method", ADAPTERS)


def base_of(family):
    return model_of(family, **SIZES | {} if family == "gpt2" else SIZES | {"n_kv_head": 2})


def specialist(base, method):
    """With every number of it off its starting value."""
    model, rng = prepare(base, recipe_of(method)), np.random.default_rng(4)
    for p in model.trainable_parameters().values():
        p.data += 0.1 * rng.normal(size=p.shape).astype(p.data.dtype)
    return model


def imported(folder, family):
    """An adapter in a folder, put on its base."""
    return from_pretrained(folder, loaded(base_of(family)))


@pytest.fixture
def peft():
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    transformers.logging.disable_progress_bar()
    transformers.logging.enable_propagation()
    return pytest.importorskip("peft")


def logits_of(theirs, tokens):
    import torch

    ids = torch.tensor(tokens)
    return theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.detach().numpy()[:, -tokens.shape[1]:]


# ---- there and back

@every_adapter
def test_an_adapter_comes_back(family, method, tmp_path):
    """Bit for bit; the keys of a prefix, which are turned on the way, up to rounding."""
    model = specialist(base_of(family), method)
    assert export(loaded(model), tmp_path / "a") == "adapter"
    back = imported(tmp_path / "a", family)
    if method.startswith("prefix"):
        assert difference(back.model.logits(tokens_for(model)), model.logits(tokens_for(model))) < 1e-6
    else:
        assert same(back.model, model)
    recipe = from_json(back.meta["recipe"])
    assert recipe.method == recipe_of(method).method and recipe.adds(model.config) == recipe_of(method).adds(model.config)
    export(back, tmp_path / "b")
    assert (tmp_path / "a" / "adapter_config.json").read_text() == (tmp_path / "b" / "adapter_config.json").read_text()


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_that_was_trained_on_is_never_overwritten(name, tmp_path):
    export(loaded(specialist(base_of("llama"), "lora:rank=2")), tmp_path)
    export(loaded(specialist(base_of("llama"), "lora:rank=2")), tmp_path)
    content = (tmp_path / name).read_bytes() + b" "
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is not as minillm has written it"):
        export(loaded(specialist(base_of("llama"), "lora:rank=2")), tmp_path)
    assert (tmp_path / name).read_bytes() == content


@every_adapter
def test_peft_computes_the_same_both_ways(family, method, tmp_path, peft, caplog):
    import transformers

    base = folder_of(tmp_path / "base", family, **SIZES | ({} if family == "gpt2" else {"n_kv_head": 2}))
    model, tokens = specialist(base, method), tokens_for(base)
    export(loaded(model), tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error", UserWarning)
        theirs = peft.PeftModel.from_pretrained(theirs, tmp_path / "ours")
    assert not caplog.records
    logits = logits_of(theirs, tokens)
    assert difference(model.logits(tokens), logits) < 2e-6
    assert difference(base.logits(tokens), logits) > 0.01                   # or else nothing was compared
    theirs.save_pretrained(tmp_path / "theirs")
    assert difference(imported(tmp_path / "theirs", family).model.logits(tokens), logits) < 2e-6


@every_adapter
def test_a_base_that_went_out_and_came_back_is_the_same(family, method, tmp_path):
    """Also with biases of zeros, which its file needs, and with a smaller context."""
    more = SIZES | {"biases": "all" if family == "llama" else "attention"}
    base = folder_of(tmp_path / "base", family, **more)
    export(loaded(specialist(base, method)), tmp_path / "adapter")
    for context in (None, 5):
        from_pretrained(tmp_path / "adapter", from_pretrained(tmp_path / "base", context=context))
    with pytest.raises(ml.CheckpointError, match="is an adapter for another base"):
        from_pretrained(tmp_path / "adapter", loaded(model_of(family, 1, **more | {
            name: getattr(base.config, name) for name in ("tied", "activation", "norm_eps", "rope_base", "n_kv_head")})))


GPT2_MODULES, LLAMA_MODULES = ["c_attn", "c_proj", "c_fc"], ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]


@pytest.mark.parametrize("family, kind, options", [
    ("gpt2", "LoraConfig", {"r": 4, "target_modules": GPT2_MODULES, "fan_in_fan_out": True}),
    ("gpt2", "LoraConfig", {"r": 3, "lora_alpha": 7, "target_modules": ["c_attn"], "fan_in_fan_out": True, "use_dora": True}),
    ("gpt2", "IA3Config", {"target_modules": ["c_attn", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"],
                           "fan_in_fan_out": True}),
    ("llama", "LoraConfig", {"r": 4, "target_modules": LLAMA_MODULES, "rank_pattern": {"q_proj": 2, "layers.1.mlp.gate_proj": 3},
                             "alpha_pattern": {"v_proj": 5}}),
    ("llama", "LoraConfig", {"r": 4, "lora_alpha": 3, "target_modules": "all-linear", "use_rslora": True,
                             "rank_pattern": {"k_proj": 1}}),
    ("llama", "LoraConfig", {"r": 2, "target_modules": ["q_proj", "up_proj"], "use_dora": True, "layers_to_transform": [1]}),
    ("llama", "IA3Config", {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}),
    ("llama", "PrefixTuningConfig", {"num_virtual_tokens": 5}), ("llama", "PromptTuningConfig", {"num_virtual_tokens": 2}),
    ("starcoder2", "LoraConfig", {"r": 2, "target_modules": ["c_fc", "mlp.c_proj", "k_proj"]})])
def test_adapters_that_peft_made(family, kind, options, tmp_path, peft):
    """q of GPT-2, scaled by (IA)^3, scales the keys instead; ranks and scales that differ become one."""
    import torch
    import transformers

    base = folder_of(tmp_path / "base", family, **SIZES | ({} if family == "gpt2" else {"n_kv_head": 2}))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    torch.manual_seed(2)
    theirs = peft.get_peft_model(theirs, getattr(peft, kind)(task_type="CAUSAL_LM", **options)).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            if p.requires_grad:
                p.add_(0.2 * torch.randn_like(p))
    theirs.save_pretrained(tmp_path / "theirs")
    tokens = tokens_for(base)
    logits = logits_of(theirs, tokens)
    back = imported(tmp_path / "theirs", family)
    assert difference(back.model.logits(tokens), logits) < 2e-6 and difference(base.logits(tokens), logits) > 0.01
    export(back, tmp_path / "ours")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    again = peft.PeftModel.from_pretrained(theirs, tmp_path / "ours")
    assert difference(logits_of(again, tokens), logits) < 2e-6


# ---- without peft

def test_patterns_are_gone_through_once():
    """However many modules there are: a file of patterns may be long."""
    modules = [f"model.layers.{i}.self_attn.{name}_proj" for i in range(100) for name in "qkvo"]
    patterns = {f"m{i}": i for i in range(200_000)}
    patterns |= {"^q_proj": 1, "7.self_attn.q_proj": 2, "q_proj": 3, "^layers.8.self_attn.k_proj": 4}
    start = time.process_time()
    values = values_of(patterns, modules)
    assert time.process_time() - start < 10
    assert [values.get(modules[i]) for i in (0, 4 * 7, 4 * 8 + 1, 1)] == [3, 2, 4, None] and len(values) == 101


def test_what_a_low_rank_map_of_fused_columns_becomes(tmp_path):
    """x (A B) for all of q, k, v at once, as peft trains it for c_attn: each has A, and its columns of B."""
    base, rng = base_of("gpt2"), np.random.default_rng(0)
    export(loaded(specialist(base, "lora:rank=2,targets=q+k+v")), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    A, B = rng.normal(size=(2, 2, 16)).astype(np.float32), rng.normal(size=(2, 48, 2)).astype(np.float32)
    write_arrays_as(path, {f"base_model.model.transformer.h.{i}.attn.c_attn.lora_{name}.weight": table[i]
                           for i in range(2) for name, table in (("A", A), ("B", B))})
    settings(tmp_path / "adapter_config.json", r=2, lora_alpha=6, rank_pattern={}, alpha_pattern={})
    plain = base_of("gpt2")
    for i, block in enumerate(plain.blocks):
        block.attn.qkv.weight.data += 3 * (B[i] @ A[i]).T
    back, tokens = imported(tmp_path, "gpt2").model, tokens_for(base)
    assert difference(back.logits(tokens), plain.logits(tokens)) < 2e-6


def test_an_adapter_that_was_not_trained_yet_changes_nothing(tmp_path):
    base, tokens = base_of("gpt2"), tokens_for(base_of("gpt2"))
    export(loaded(prepare(base, recipe_of("lora:rank=2"))), tmp_path)
    back = imported(tmp_path, "gpt2").model
    assert np.array_equal(back.logits(tokens), base.logits(tokens))
    assert np.abs(back.parameters()["blocks.0.attn.qkv.lora.q.A"].data).max() > 0       # it can be trained


@pytest.mark.parametrize("method, words", [
    ("prefix:tokens=3", "has gates"), ("prefix:tokens=3,gate=no,blocks=0", "is in 1 of 2 blocks"), ("adapter", "the adapter at")])
def test_what_peft_does_not_have(method, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        export(loaded(specialist(base_of("llama"), method)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_base_that_trains_along_is_not_left_out_silently(tmp_path):
    model = specialist(base_of("llama"), "lora:rank=2")
    model.ln_f.trainable = True
    with pytest.raises(ValueError, match="ln_f.weight of the base trains as well"):
        export(loaded(model), tmp_path / "new")


def test_q_of_rotary_positions_cannot_be_scaled(tmp_path):
    export(loaded(specialist(base_of("llama"), "ia3:targets=k")), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    write_arrays_as(path, {name.replace("k_proj", "q_proj"): np.ones((16, 1)) for name in arrays_in(path)})
    settings(tmp_path / "adapter_config.json", target_modules=["q_proj"])
    with pytest.raises(ml.CheckpointError, match="it scales .*q_proj"):
        imported(tmp_path, "llama")


def test_the_commands(tmp_path):
    base = base_of("llama")
    save_model(tmp_path / "base.npz", base, loaded(base).tokenizer)
    recipe = "lora:rank=2,targets=q+v"
    model = specialist(base, recipe)
    save_specialist(tmp_path / "lora.npz", model, None, recipe_of(recipe), tmp_path / "base.npz", fingerprint(base))
    assert answer("export", tmp_path / "lora.npz", "--out", tmp_path / "hub") == {"kind": "adapter"}
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "minillm.json"]
    written = json.loads((tmp_path / "hub" / "adapter_config.json").read_text())
    assert written["target_modules"] == sorted(f"model.layers.{i}.self_attn.{name}_proj" for i in (0, 1) for name in "qv")
    code, _, err = run("import", tmp_path / "hub", "--base", tmp_path / "base.npz", "--out", tmp_path / "back.npz")
    assert code == 0, err
    assert same(ml.load(tmp_path / "back.npz").model, model)
    assert run("export", tmp_path / "lora.npz", "--out", tmp_path / "hub")[0] == 0                    # an earlier export
    refused(tmp_path, "export", tmp_path / "base.npz", "--out", tmp_path / "hub", words=("no earlier export of this kind",))
    refused(tmp_path, "import", tmp_path / "hub", "--out", tmp_path / "new.npz", words=("is an adapter", "with --base"))
    refused(tmp_path, "import", tmp_path / "hub", "--base", tmp_path / "base.npz", "--out", tmp_path / "base.npz",
            words=("from which it is made",))
    refused(tmp_path, "import", tmp_path / "hub", "--base", tmp_path / "lora.npz", "--out", tmp_path / "new.npz",
            words=("is an adapter; fine-tune its base",))
