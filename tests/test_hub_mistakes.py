"""What is wrong in folders of others: hundreds of mistakes, each refused in one sentence, with nothing built from it."""

import json
import struct
import sys

import numpy as np
import pytest
from commands import assert_one_sentence, refused, run, run_apart, snapshot
from hub_folders import (
    FAMILIES,
    arrays_in,
    contents,
    folder_of,
    loaded,
    model_of,
    same,
    settings,
    with_safetensors,
    write_arrays_as,
    write_contents,
)

from minillm import CheckpointError, load
from minillm.finetune.methods import recipe_of
from minillm.finetune.specialist import prepare
from minillm.hub.folders import export, from_pretrained
from minillm.hub.safetensors_file import write_tensors
from minillm.train.checkpoint import save_model

WEIGHTS, CONFIG = "model.safetensors", "config.json"
SIZES = {"vocab_size": 13, "context": 7, "n_layer": 2, "n_head": 2, "n_embd": 8, "n_hidden": 12}
WRONG = (None, "four", "", -1, 0, 2.5, 10 ** 30, 1e300, True, [], [4], {}, {"a": 1}, "\0", "x" * 100_000)

every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture
def folder(tmp_path, request):
    """The folder of a tiny model, of the family that the test names, or of Llama."""
    path, chosen = tmp_path / "hub", getattr(request.node, "callspec", None)
    folder_of(path, chosen.params.get("family", "llama") if chosen else "llama", **SIZES)
    return path


@pytest.fixture
def adapter(tmp_path):
    """The folder of a tiny LoRA for the Llama of `base`."""
    path = tmp_path / "lora"
    export(loaded(prepare(base(), recipe_of("lora:rank=2,targets=q+v+gate"))), path)
    return path


def base():
    return model_of("llama", **SIZES)


def sentence(read, *words):
    """The message with which reading is refused; it is one sentence, without a trace of what happened inside."""
    with pytest.raises(CheckpointError) as caught:
        read()
    message = str(caught.value)
    assert 25 < len(message) < 600 and "\n" not in message and "Error" not in message.replace("CheckpointError", ""), message
    for word in words:
        assert word in message, message
    return message


def refused_or_harmless(read):
    """Is it refused, as `sentence` checks? If not, it must have been read in peace."""
    try:
        read()
    except ValueError:
        sentence(read)
        return True
    return False


# ---- without the package

def test_without_safetensors_the_commands_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    model = base()
    save_model(tmp_path / "base.npz", model, loaded(model).tokenizer)
    refused(tmp_path, "export", tmp_path / "base.npz", "--out", tmp_path / "new", words=("pip install 'minillm[hub]'",))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / CONFIG).write_text(json.dumps({
        "model_type": "gpt2", "vocab_size": 3, "n_positions": 3, "n_layer": 1, "n_head": 1, "n_embd": 2}))
    write_arrays_as(tmp_path / "new" / WEIGHTS, {"a": np.ones(3)})
    refused(tmp_path, "import", tmp_path / "new", "--out", tmp_path / "a.npz", words=("pip install 'minillm[hub]'",))


# ---- config.json

@with_safetensors
@every_family
def test_settings_of_a_wrong_type(family, folder):
    """Every setting, with every wrong value: none is read as something that it is not. Of those in `free`, any will do."""
    written = json.loads((folder / CONFIG).read_text())
    free = {"dtype", "bos_token_id", "pad_token_id", "attention_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"}
    model, tried = from_pretrained(folder).model, 0
    for name, right in written.items():
        for value in WRONG:
            (folder / CONFIG).write_text(json.dumps(written | {name: value}))
            if not refused_or_harmless(lambda: from_pretrained(folder)):
                right_kind = name == "eos_token_id" or type(value) is type(right) and value in (right, 2.5, [], {}, {"a": 1})
                assert name in free or value is None or right_kind, (name, value)
                assert same(from_pretrained(folder).model, model)
            tried += 1
    assert tried > 200


@with_safetensors
@pytest.mark.parametrize("change, words", [
    ({"model_type": "mamba"}, "its model_type is 'mamba', and minillm knows gpt2, llama"),
    ({"architectures": ["a\nb\x1b[31m"]}, r"it is a a\nb\x1b[31m, and minillm"),
    ({"model_type": "mixtral", "num_local_experts": 8}, "num_local_experts is 8: it is a mixture of experts"),
    ({"eos_token_id": "</s>"}, "eos_token_id"), ({"eos_token_id": [1, -2]}, "eos_token_id"),
    ({"model_type": "deep", "auto_map": {"AutoModel": "deep.Deep"}}, "it needs program code of its own"),
    ({"model_type": ...}, "its model_type is ''"),
    ({"architectures": ["LlamaForSequenceClassification"]}, "it is a LlamaForSequenceClassification"),
    ({"quantization_config": {"quant_method": "gptq"}}, "its weights are quantised"),
    ({"vision_config": {"a": 1}}, "more than text"),
    ({"pretraining_tp": 2}, "split for several machines"), ({"partial_rotary_factor": 0.5}, "only a part of each head"),
    ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "of the type 'llama3'"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "of the type 'linear'"),
    ({"rope_scaling": {"rope_type": "yarn"}}, "of the type 'yarn'"), ({"rope_scaling": [1]}, "must be a dictionary"),
    ({"sliding_window": 4}, "a sliding window of 4 tokens"), ({"layer_types": ["full_attention", "chunked"]}, "type 'chunked'"),
    ({"layer_types": ["sliding_attention"]}, "does not say how wide"), ({"hidden_act": "gelu"}, "its activation is 'gelu'"),
    ({"head_dim": 2}, "head_dim is 2"), ({"num_key_value_heads": 3}, "2 heads of queries cannot share 3"),
    ({"num_attention_heads": 3}, "cannot be split over 3 heads"), ({"hidden_size": ...}, "hidden_size is missing"),
    ({"vocab_size": 12}, "it should be (12, 8)"), ({"vocab_size": 14}, "it should be (14, 8)"),
    ({"num_hidden_layers": 3}, "its weights have 2 blocks, and its config.json says 3"),
    ({"num_hidden_layers": 1000, "hidden_size": 100_000, "head_dim": ...}, "it should be (13, 100000)"),
    ({"num_hidden_layers": 2000}, ": num_hidden_layers is 2000"), ({"hidden_size": 200_000}, ": hidden_size is 200000"),
    ({"num_attention_heads": 2000}, ": num_attention_heads is 2000"), ({"num_key_value_heads": 2000}, "_value_heads is 2000"),
    ({"intermediate_size": 2_000_000}, ": intermediate_size is 2000000"), ({"intermediate_size": None}, "_size is None"),
    ({"max_position_embeddings": 2_000_000}, ": max_position_embeddings is 2000000"),
    ({"max_position_embeddings": 2_000_000}, "--context N reads it with fewer tokens"),
    ({"is_causal": False}, "is_causal is False: its attention also looks ahead"), ({"is_causal": None}, "is_causal is None"),
    ({"attention_chunk_size": 4}, "cut into chunks"), ({"per_layer_config": {"0": {"skip": ["mlp"]}}}, "differ from each other"),
    ({"transformers_weights": "other.safetensors"}, "its weights are in another file"),
    ({"configuration_files": ["config.4.0.0.json"]}, "its settings are in another file"),
    ({"attribute_map": {"num_attention_heads": "num_hidden_layers"}}, "its settings have other names"),
    ({"rope_theta": 777}, "two values of rope_theta, "), ({"rope_scaling": {"rope_theta": 777}}, "two values of rope_theta, "),
    ({"rope_parameters": {"full_attention": {"rope_theta": 777}}}, "rope_parameters has 'full_attention', which minillm"),
    ({"rope_scaling": {"factor": 8}}, "rope_scaling has 'factor', which minillm does not know"),
    ({"rms_norm_eps": 0}, ": rms_norm_eps is 0,"), ({"rope_theta": -1.0, "rope_parameters": ...}, "rope_theta is -1.0"),
    ({"rope_theta": 0.5, "rope_parameters": ...}, ": rope_theta is 0.5"),
    ({"attention_bias": base().config.biases not in ("all", "attention")}, "weights 'model.layers.0.self_attn")])
def test_llamas_that_are_something_else(change, words, folder):
    settings(folder / CONFIG, **change)
    sentence(lambda: from_pretrained(folder), words)


@with_safetensors
@pytest.mark.parametrize("family", ["gpt2"])
@pytest.mark.parametrize("change, words", [
    ({"activation_function": "gelu"}, "GELU by the error function"), ({"activation_function": "silu"}, "activation is 'silu'"),
    ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
    ({"scale_attn_weights": False}, "scale_attn_weights is False"), ({"add_cross_attention": True}, "cross-attention"),
    ({"num_attention_heads": 4}, "n_head is 2, and num_attention_heads, another name for it, is 4"),
    ({"max_position_embeddings": None}, "n_positions is 7, and max_position_embeddings, another name for it, is None"),
    ({"sliding_window": 4}, "a sliding window of 4 tokens"), ({"is_causal": False}, "its attention also looks ahead"),
    ({"n_positions": 8}, "it should be (8, 8)"), ({"tie_word_embeddings": "yes"}, "must be true or false")])
def test_gpt_2s_that_are_something_else(family, change, words, folder):
    settings(folder / CONFIG, **change)
    sentence(lambda: from_pretrained(folder), words)


@with_safetensors
def test_what_is_no_config(folder):
    for content in (b"", b"[]", b"3", b"{", b"\xff\xfe", b"null", b'{"model_type": NaN}', b"[" * 100_000,
                    b'{"a":' * 2000 + b"1" + b"}" * 2000):
        (folder / CONFIG).write_bytes(content)
        sentence(lambda: from_pretrained(folder), "config.json")
    (folder / CONFIG).unlink()
    sentence(lambda: from_pretrained(folder), "there is no file")
    sentence(lambda: from_pretrained(folder / "nowhere"), "there is no folder")
    sentence(lambda: from_pretrained(folder / WEIGHTS), "is a file; give the folder")


# ---- model.safetensors

@with_safetensors
@every_family
def test_files_that_are_cut_short(family, folder):
    content = (folder / WEIGHTS).read_bytes()
    rng = np.random.default_rng(1)
    for length in [0, 1, 7, 8, 9, len(content) - 1, *rng.integers(10, len(content), 60)]:
        (folder / WEIGHTS).write_bytes(content[:length])
        sentence(lambda: from_pretrained(folder), "model.safetensors")
    (folder / WEIGHTS).write_bytes(content + b"more")
    sentence(lambda: from_pretrained(folder), "model.safetensors")


@with_safetensors
def test_headers_whose_length_lies(folder):
    content = (folder / WEIGHTS).read_bytes()
    for length in (0, 1, 2, 100, 10 ** 6, 10 ** 9, 2 ** 40, 2 ** 63, 2 ** 64 - 1):
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", length) + content[8:])
        sentence(lambda: from_pretrained(folder), "model.safetensors")


def spoiled(entry, name, header, rng):
    """One entry of a header with a mistake in it: the header, or what is not even one."""
    a, b = entry["data_offsets"]
    kinds = [{"data_offsets": [b, a]}, {"data_offsets": [a, b + 4]}, {"data_offsets": [a + 4, b + 4]}, {"data_offsets": [a]},
             {"data_offsets": [0, 2 ** 62]}, {"data_offsets": [-4, b]}, {"data_offsets": "all"}, {"data_offsets": None},
             {"shape": [*entry["shape"], 2]}, {"shape": [2 ** 40, 2 ** 40]}, {"shape": [-1]}, {"shape": []}, {"shape": None},
             {"shape": [1.5]}, {"shape": [10 ** 30]}, {"shape": ["8"]}, {"dtype": "F64"}, {"dtype": "F8_E4M3"}, {"dtype": "F16"},
             {"dtype": "I32"}, {"dtype": "C64"}, {"dtype": "nonsense"}, {"dtype": None}, {"dtype": 32}, {"dtype": ["F32"]}]
    which = int(rng.integers(len(kinds) + 4))
    if which < len(kinds):
        return header | {name: entry | kinds[which]}
    rest = {other: value for other, value in header.items() if other != name}
    return [rest, rest | {f"{name}x": entry}, rest | {name: [entry]}, header | {f"{name}.again": entry}][which - len(kinds)]


@with_safetensors
@every_family
def test_headers_that_lie(family, folder):
    header, body = contents(folder / WEIGHTS)
    names, rng = [name for name in header if name != "__metadata__"], np.random.default_rng(2)
    for _ in range(150):
        name = str(rng.choice(names))
        write_contents(folder / WEIGHTS, spoiled(header[name], name, header, rng), body)
        sentence(lambda: from_pretrained(folder))
    for text in (b"[]", b"{}", b"3", b'{"a": {}}', b"{" * 50_000, b'"' * 99, b"\xff" * 99):
        write_contents(folder / WEIGHTS, text, body)
        sentence(lambda: from_pretrained(folder))


@with_safetensors
@every_family
def test_bytes_that_flip(family, folder):
    """Anywhere in the header: refused, or the weights are what they were."""
    content, rng, model = (folder / WEIGHTS).read_bytes(), np.random.default_rng(3), from_pretrained(folder).model
    n, refusals = struct.unpack("<Q", content[:8])[0], 0
    for _ in range(150):
        spoilt = bytearray(content)
        spoilt[int(rng.integers(8 + n))] ^= 1 << int(rng.integers(8))
        (folder / WEIGHTS).write_bytes(bytes(spoilt))
        if refused_or_harmless(lambda: from_pretrained(folder)):
            refusals += 1
        else:
            assert same(from_pretrained(folder).model, model)
    assert refusals > 100


@with_safetensors
@every_family
def test_names_that_are_unexpected_or_lacking(family, folder):
    arrays = arrays_in(folder / WEIGHTS)
    for name in arrays:
        write_arrays_as(folder / WEIGHTS, {other: array for other, array in arrays.items() if other != name})
        sentence(lambda: from_pretrained(folder))
        write_arrays_as(folder / WEIGHTS, {other: array.T if other == name else array for other, array in arrays.items()})
        if arrays[name].shape != arrays[name].T.shape:
            sentence(lambda: from_pretrained(folder), "has the shape")
        spoilt = arrays[name].copy()
        spoilt.flat[0] = np.nan
        write_arrays_as(folder / WEIGHTS, arrays | {name: spoilt})
        sentence(lambda: from_pretrained(folder), "NaN or infinity")
    write_arrays_as(folder / WEIGHTS, arrays | {"model.extra.weight": np.ones(3)})
    sentence(lambda: from_pretrained(folder), "model.extra.weight", "no model of its kind has")
    write_arrays_as(folder / WEIGHTS, arrays | {name.split(".", 1)[1]: arrays[name]})
    sentence(lambda: from_pretrained(folder), "it holds both")
    write_arrays_as(folder / WEIGHTS, arrays, "F8_E5M2")
    sentence(lambda: from_pretrained(folder))
    write_arrays_as(folder / WEIGHTS, {})
    sentence(lambda: from_pretrained(folder), "lacks the weights")


@with_safetensors
def test_a_bias_that_no_qwen2_has(folder):
    """transformers would compute without it."""
    folder_of(folder, "llama", seed=1, **SIZES | {"biases": "attention"})
    settings(folder / CONFIG, model_type="qwen2", architectures=["Qwen2ForCausalLM"])
    name = "model.layers.1.self_attn.o_proj.bias"
    arrays = {other: array for other, array in arrays_in(folder / WEIGHTS).items() if not other.endswith("o_proj.bias")}
    write_arrays_as(folder / WEIGHTS, arrays)
    assert not from_pretrained(folder).model.parameters()["blocks.1.attn.proj.bias"].data.any()
    write_arrays_as(folder / WEIGHTS, arrays | {name: np.ones(8)})
    sentence(lambda: from_pretrained(folder), f"holds {name!r}, which no Qwen2ForCausalLM has")


@with_safetensors
def test_a_context_of_millions_is_read_where_less_is_wanted(folder):
    settings(folder / CONFIG, max_position_embeddings=20_000_000)
    assert from_pretrained(folder, context=5).model.config.context == 5


@with_safetensors
def test_double_precision_takes_twice_the_memory(folder, tmp_path, monkeypatch):
    """In a folder of others, and in a file of ours."""
    arrays, double = arrays_in(folder / WEIGHTS), loaded(model_of("llama", dtype=np.float64, **SIZES))
    save_model(tmp_path / "double.npz", double.model, double.tokenizer)
    monkeypatch.setattr("minillm.train.costs.total_memory", lambda: 6 * sum(array.size for array in arrays.values()))
    from_pretrained(folder)
    write_arrays_as(folder / WEIGHTS, arrays, "F64")
    sentence(lambda: from_pretrained(folder), "it cannot be loaded here")
    sentence(lambda: load(tmp_path / "double.npz"), "it cannot be loaded here")


@with_safetensors
def test_an_output_layer_that_is_tied_and_yet_another(folder):
    folder_of(folder, "llama", **SIZES, tied=True)
    arrays = arrays_in(folder / WEIGHTS)
    write_arrays_as(folder / WEIGHTS, arrays | {"lm_head.weight": arrays["model.embed_tokens.weight"] + 1})
    sentence(lambda: from_pretrained(folder), "its file holds another one")


@with_safetensors
def test_places_in_which_there_are_no_weights(folder):
    (folder / WEIGHTS).unlink()
    sentence(lambda: from_pretrained(folder), "there is no file")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02}.")
    sentence(lambda: from_pretrained(folder), "is a pickle", "never opens one", "save_pretrained")
    (folder / WEIGHTS).mkdir()
    sentence(lambda: from_pretrained(folder), "is a folder")


# ---- shards

@pytest.fixture
def shards(folder):
    """The folder, with its weights in two files."""
    arrays = arrays_in(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    half = len(arrays) // 2
    parts = {"a.safetensors": dict([*arrays.items()][:half]), "b.safetensors": dict([*arrays.items()][half:])}
    for name, part in parts.items():
        write_arrays_as(folder / name, part)
    index = {"weight_map": {name: shard for shard, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


@with_safetensors
def test_shards_that_are_missing_or_elsewhere(shards):
    index = shards / "model.safetensors.index.json"
    written = json.loads(index.read_text())["weight_map"]
    first = next(iter(written))
    same(from_pretrained(shards).model, base())
    for wrong, words in (("../a.safetensors", "not a file beside it"), ("/etc/passwd", "not a file beside it"),
                         ("a.bin", "not a file beside it"), ("a\nb.safetensors", r"a\nb.safetensors is missing"),
                         ("c.safetensors", "is missing, one of the 3 files"),
                         ("b.safetensors", "but it is not"), ("x" * 2000, "a text of at most"), (3, "a text"), (None, "a text")):
        index.write_text(json.dumps({"weight_map": written | {first: wrong}}))
        sentence(lambda: from_pretrained(shards), words)
    index.write_text(json.dumps({"weight_map": written}))
    arrays = arrays_in(shards / "b.safetensors")
    write_arrays_as(shards / "b.safetensors", arrays | {first: np.zeros(3)})
    sentence(lambda: from_pretrained(shards), "is in 2 of its files")
    write_arrays_as(shards / "b.safetensors", arrays)
    for content in ("", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}'):
        index.write_text(content)
        sentence(lambda: from_pretrained(shards))
    index.write_text(json.dumps({"weight_map": written}))
    (shards / "b.safetensors").write_bytes((shards / "b.safetensors").read_bytes()[:-5])
    sentence(lambda: from_pretrained(shards), "b.safetensors is not a whole")
    (shards / "b.safetensors").unlink()
    sentence(lambda: from_pretrained(shards), "b.safetensors is missing, one of the 2 files")


# ---- adapters

def read_adapter(folder):
    return from_pretrained(folder, loaded(base()))


@with_safetensors
def test_settings_of_an_adapter(adapter):
    path = adapter / "adapter_config.json"
    written, tried = json.loads(path.read_text()), 0
    for name in ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "peft_type", "task_type", "bias"):
        for value in WRONG:
            path.write_text(json.dumps(written | {name: value}))
            refused_or_harmless(lambda: read_adapter(adapter))
            tried += 1
    assert tried > 100
    for change, words in (({"peft_type": "ADALORA"}, "peft_type is 'ADALORA'"), ({"task_type": "SEQ_CLS"}, "the task 'SEQ_CLS'"),
                          ({"bias": "all"}, "'bias' set to 'all'"), ({"modules_to_save": ["lm_head"]}, "'modules_to_save'"),
                          ({"init_lora_weights": "pissa"}, "begun as 'pissa'"), ({"use_dora": True}, "_vector are needed"),
                          ({"r": 3}, "it should be (3, 8)"), ({"r": ...}, "r is missing"), ({"lora_alpha": "8"}, "is '8'"),
                          ({"rank_pattern": {".*q_proj": 3}}, "is a regular expression"), ({"lora_alpha": 0}, "alpha is 0"),
                          ({"rank_pattern": {"q_proj": 3}}, "(3, 8)"), ({"target_modules": 3}, "a text or a list of texts"),
                          ({"target_modules": None}, "it has no target_modules"), ({"target_modules": ...}, "no target_modules"),
                          ({"target_modules": ["q_proj", "v_proj"]}, "mlp.gate_proj, which its target_modules leaves out"),
                          ({"target_modules": []}, "which its target_modules leaves out"),
                          ({"exclude_modules": ["self_attn.v_proj"]}, "v_proj, which its exclude_modules leaves out"),
                          ({"layers_to_transform": 1}, "layers.0.mlp.gate_proj, which its layers_to_transform leaves out"),
                          ({"layers_to_transform": [0, 7]}, "layers.1.mlp.gate_proj, which its layers_to_transform leaves"),
                          ({"rank_pattern": {"^layers.0.self_attn.q_proj": 3}}, "(3, 8)"),
                          ({"layers_to_transform": True}, "a whole number or a list of them"),
 ({"trainable_token_indices": [1]}, "'trainable_token_")):
        path.write_text(json.dumps(written))
        settings(path, **change)
        sentence(lambda: read_adapter(adapter), words)
    path.write_text(json.dumps(written | {"rank_pattern": {"^q_proj": 3}}))             # where it begins with that: nowhere
    read_adapter(adapter)
    path.write_text(json.dumps(written | {"target_modules": r".*_proj", "layers_to_transform": []}))
    read_adapter(adapter)


@with_safetensors
def test_weights_of_an_adapter(adapter):
    path, rng = adapter / "adapter_model.safetensors", np.random.default_rng(4)
    arrays, (header, body) = arrays_in(path), contents(path)
    for name, array in arrays.items():
        for wrong in ({name.replace("model.layers", "model.blocks"): array}, {name.replace("layers.1", "layers.7"): array},
                      {name.replace("_proj", "_projection"): array}, {name.replace("lora_", "loha_"): array}, {},
                      {name.removesuffix(".weight"): array},
                      {name: array[:-1]}, {name: array[..., :-1]}, {name: array[0]}, {name: np.full_like(array, np.inf)}):
            if wrong.keys() != {name} or wrong[name] is not array:
                write_arrays_as(path, {other: a for other, a in arrays.items() if other != name} | wrong)
                sentence(lambda: read_adapter(adapter))
    for _ in range(60):
        name = str(rng.choice([*arrays]))
        write_contents(path, spoiled(header[name], name, header, rng), body)
        sentence(lambda: read_adapter(adapter))
    write_arrays_as(path, {})
    sentence(lambda: read_adapter(adapter), "it holds no weights")
    path.unlink()
    (adapter / "adapter_model.bin").write_bytes(b"\x80\x02}.")
    sentence(lambda: read_adapter(adapter), "is a pickle")


@with_safetensors
def test_vectors_before_a_text_without_a_task(tmp_path):
    """peft would put them nowhere."""
    export(loaded(prepare(base(), recipe_of("prompt:tokens=2"))), tmp_path)
    settings(tmp_path / "adapter_config.json", task_type=None)
    sentence(lambda: read_adapter(tmp_path), "it names no task_type")


@with_safetensors
@pytest.mark.parametrize("family, sizes, words", [
    ("llama", {"n_layer": 1}, "for which minillm has no place"), ("llama", {"n_embd": 12}, "should be (2, 12)"),
    ("gpt2", {}, "for which minillm has no place"), ("llama", {"n_hidden": 10}, "it should be (10, 2)")])
def test_an_adapter_of_another_base(family, sizes, words, adapter):
    other = model_of(family, **SIZES | sizes)
    before = {name: array.copy() for name, array in other.state_dict().items()}
    sentence(lambda: from_pretrained(adapter, loaded(other)), "the fingerprint in its minillm.json")
    (adapter / "minillm.json").unlink()
    sentence(lambda: from_pretrained(adapter, loaded(other)), words)
    assert before.keys() == other.state_dict().keys()
    sentence(lambda: from_pretrained(adapter), "name the model that it belongs to")


@with_safetensors
def test_an_adapter_of_another_base_of_the_same_shape(adapter):
    """Its note tells, as long as it is about the weights beside it; of an adapter of others nothing does."""
    def other():
        return loaded(model_of("llama", **SIZES | {"biases": base().config.biases, "tied": base().config.tied}, seed=7,
                               rope_base=base().config.rope_base, norm_eps=base().config.norm_eps,
                               n_kv_head=base().config.n_kv_head))

    assert other().model.config == base().config
    model = other()
    sentence(lambda: from_pretrained(adapter, model), "is an adapter for another base", "the base that it was trained on")
    assert same(model.model, other().model)
    path = adapter / "adapter_model.safetensors"
    content = path.read_bytes()
    write_arrays_as(path, {name: array + 1 for name, array in arrays_in(path).items()})
    from_pretrained(adapter, other())                       # another adapter was saved there
    path.write_bytes(content)
    (adapter / "minillm.json").unlink()
    from_pretrained(adapter, other())


# ---- the commands, with little memory

@with_safetensors
def test_the_commands_refuse_in_one_sentence(folder, adapter, tmp_path):
    model = base()
    save_model(tmp_path / "base.npz", model, loaded(model).tokenizer)
    out = ("--out", tmp_path / "new.npz")
    refused(tmp_path, "import", tmp_path / "nowhere", *out, words=("there is no folder",))
    refused(tmp_path, "import", folder, "--context", 8, *out, words=("its own context is 7, and --context can only make it",))
    refused(tmp_path, "import", adapter, "--base", tmp_path / "base.npz", "--ids", *out, words=("--ids has no meaning",))
    settings(adapter / "adapter_config.json", r=5)
    refused(tmp_path, "import", adapter, "--base", tmp_path / "base.npz", *out, words=("it should be (5, 8)",))
    settings(folder / CONFIG, model_type="mamba")
    refused(tmp_path, "import", folder, *out, words=("mamba",))


@with_safetensors
@pytest.mark.parametrize("change", [{"vocab_size": 10_000_000, "hidden_size": 100_000, "num_hidden_layers": 1000},
                                    {"intermediate_size": 1_000_000, "hidden_size": 100_000}, {"num_hidden_layers": 1000}])
def test_sizes_that_lie_cost_no_memory(change, folder, tmp_path):
    settings(folder / CONFIG, head_dim=..., **change)
    before = snapshot(tmp_path)
    code, _, err = run_apart("import", folder, "--out", tmp_path / "new.npz", memory=1 << 30)
    assert_one_sentence(code, err, "import", ("contradicts itself",))
    assert snapshot(tmp_path) == before


@with_safetensors
def test_a_header_that_lies_costs_no_memory(folder, tmp_path):
    header, body = contents(folder / WEIGHTS)
    write_contents(folder / WEIGHTS, header | {"a": {"dtype": "F32", "shape": [2 ** 34], "data_offsets": [0, 2 ** 36]}}, body)
    assert run("import", folder, "--out", tmp_path / "new.npz")[0] == 2
    code, _, err = run_apart("import", folder, "--out", tmp_path / "new.npz", memory=1 << 30)
    assert_one_sentence(code, err, "import", ("is not a whole safetensors file",))


@with_safetensors
def test_numbers_that_would_be_infinite_are_found_both_ways(tmp_path):
    model = prepare(base(), recipe_of("lora:rank=2,targets=q+v"))
    for p in model.trainable_parameters().values():
        p.data[...] = 1
    export(loaded(model), tmp_path / "lora")
    settings(tmp_path / "lora" / "adapter_config.json", alpha_pattern={"q_proj": 1e-300})
    with pytest.raises(CheckpointError, match="with its scale, .* would be NaN or infinity"):
        read_adapter(tmp_path / "lora")
    with pytest.raises(ValueError, match="words would hold NaN or infinity"):
        write_tensors(tmp_path / "weights.safetensors", {"words": np.array([1, np.inf], np.float32)})
    assert not (tmp_path / "weights.safetensors").exists()
