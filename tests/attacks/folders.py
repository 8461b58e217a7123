"""Spoiled folders of transformers and peft: weights in safetensors, and the files of JSON beside them."""

import json
import struct

import numpy as np

from archives import npy, saved
from documents import mutated_json
from texts import PLACES

WEIGHTS, CONFIG, TOKENIZER, ADAPTER = "model.safetensors", "config.json", "tokenizer.json", "adapter_config.json"
INDEX = "model.safetensors.index.json"
MB = 2**20
KINDS = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2", "I32": "<i4", "I64": "<i8", "U8": "u1", "BOOL": "?"}


# safetensors, put together by hand.

def parts_of(data):
    """(header, body) of a whole file."""
    n, = struct.unpack("<Q", data[:8])
    return json.loads(data[8:8 + n]), data[8 + n:]


def file_of(header, body, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def arrays_of(data):
    header, body = parts_of(data)
    return {name: np.frombuffer(body[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
            for name, entry in header.items() if name != "__metadata__"}


def packed(arrays, dtypes=None):
    """A file of these arrays, of which some have another type than F32."""
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        dtype = (dtypes or {}).get(name, "F32")
        with np.errstate(all="ignore"):
            piece = ((np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2") if dtype == "BF16"
                     else array.astype(KINDS[dtype])).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(piece)]}
        body += piece
    return file_of(header, body)


def spoiled_weights(data, rng):
    """(words, bytes, meaning) of a file of weights that was spoiled in one way; meaning as in malformed.Case."""
    header, body = parts_of(data)
    names = [name for name in header if name != "__metadata__"]
    name = rng.choice(names)
    entry, start = header[name], len(data) - len(body)
    way = rng.choice(["cut", "longer", "flip", "flip in the header", "overwritten", "length", "json", "json", "type", "type",
                      "cast", "shape", "shape", "offsets", "offsets", "gone", "added", "renamed", "number", "order", "other",
                      "twice"])
    if way == "cut":
        at = rng.choice([rng.randrange(len(data)), rng.randrange(start), len(data) - 1])
        return f"cut at byte {at} of {len(data)}", data[:at], "broken"
    if way == "longer":
        n = rng.choice([1, 8, 4096])
        return f"{n} bytes behind the end", data + rng.choice([bytes(n), rng.randbytes(n)]), "broken"
    if way.startswith("flip"):
        at, bit = rng.randrange(*((8, start) if "header" in way else (len(data),))), rng.randrange(8)
        return f"bit {bit} of byte {at} flipped", data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1:], "free"
    if way == "overwritten":
        at, n = rng.randrange(len(data)), rng.randint(1, 400)
        return f"{n} bytes at {at} overwritten", data[:at] + rng.choice([bytes(n), rng.randbytes(n)]) + data[at + n:], "free"
    if way == "length":
        n = rng.choice([0, 1, 2, start - 9, start - 7, len(data), 100 * MB, 2**31, 2**32, 2**63, 2**64 - 1])
        return f"a header of {n} bytes, it says", struct.pack("<Q", n) + data[8:], "broken"
    if way == "json":
        words, text, _ = mutated_json(json.dumps(header), rng)
        return f"header: {words}", file_of(text, body), "same"
    if way == "type":
        dtype = rng.choice(["I32", "U32", "F64", "F16", "BF16", "F8_E4M3", "BOOL", "C64", "f32", "F4", "", "F128", "U8"])
        return f"{name} called {dtype!r}", file_of(header | {name: entry | {"dtype": dtype}}, body), "broken"
    if way == "cast":
        dtype, which = rng.choice(list(KINDS)), rng.choice([names, [name]])
        meaning = {"F32": "same", "F64": "free", "F16": "free", "BF16": "free"}.get(dtype, "broken")
        made = packed(arrays_of(data), dict.fromkeys(which, dtype))
        return f"{'all' if which is names else name} cast to {dtype}", made, meaning
    if way == "shape":
        shape, size = entry["shape"], int(np.prod(entry["shape"]))
        new = rng.choice([shape[::-1], [size], [1, *shape], [*shape, 1], [0], [], [-1], [size // 2, 2], [n + 1 for n in shape],
                          [1] * 40 + shape, [2**62, 4], [2**32, 2**32], [2**63], [float(n) for n in shape], "12", None])
        return (f"{name} of the shape {new}"[:80], file_of(header | {name: entry | {"shape": new}}, body),
                "same" if json.dumps(new) == json.dumps(shape) else "broken")
    if way == "offsets":
        first, last = entry["data_offsets"]
        other = header[rng.choice(names)]["data_offsets"]
        new = rng.choice([[last, first], [first, first], [first + 4, last + 4], [first - 4, last - 4], [0, last - first],
                          [-8, -4], [first, last + 4], [first, last - 1], [0, 2**63], [2**63, 2**63 + last - first], [2**64,
                          2**65], other,
                          [float(first), last], [first], [first, last, last], None, "0", [0, len(body)], [0, 2**31]])
        return (f"{name} at {new}"[:80], file_of(header | {name: entry | {"data_offsets": new}}, body),
                "same" if json.dumps(new) == json.dumps([first, last]) else "broken")
    if way == "number":
        value = rng.choice([np.nan, np.inf, -np.inf, 1e38, -3e38])
        arrays = {key: array.copy() for key, array in arrays_of(data).items()}
        arrays[name].reshape(-1)[rng.randrange(arrays[name].size) if rng.random() < 0.5 else slice(None)] = value
        return f"{name}: numbers of {value}", packed(arrays), "free" if np.isfinite(value) else "broken"
    arrays = arrays_of(data)
    if way == "gone":
        meaning = "free" if name.startswith("base_model") else "broken"             # an adapter need not be everywhere
        return f"without {name}", packed({key: array for key, array in arrays.items() if key != name}), meaning
    if way == "added":
        new, array, meaning = rng.choice([
            ("more", np.ones(3), "broken"), ("model.layers.7.mlp.up_proj.weight", np.ones((2, 2)), "broken"),
            ("model.rotary_emb.inv_freq", np.ones(4), "same"), ("", np.ones(3), "broken"), ("\0", np.ones(3), "broken"),
            ("a" * 100_000, np.ones(3), "broken"), ("\x1b[31mred\n", np.ones(3), "broken"), ("empty", np.ones((0, 9)), "broken"),
            ("lm_head.weight", np.ones((280, 8)), "broken"), ("base_model.model.more.lora_A.weight", np.ones((2, 8)), "broken")])
        meaning = "broken" if "base_model" in name or name == "prompt_embeddings" else meaning
        return f"with {new[:30]!r} added", packed(arrays | {new: array}), meaning
    if way == "renamed":
        new = rng.choice([name.upper(), f"x{name}", name + " ", name.replace(".", "/"), name.removesuffix(".weight"), "é",
                          name.replace("0", "00"), name.replace("0", "1"), name.replace("0", "-1"), name.replace("0", "9" * 30),
                          name.replace("0", "９"), rng.choice(names)])
        return (f"{name} renamed to {new[:60]!r}", packed({new if key == name else key: a for key, a in arrays.items()}),
                "same" if new in (name, name.removesuffix(".weight")) else "broken")
    if way == "order":
        rng.shuffle(names)
        return "arrays in another order", packed({key: arrays[key] for key in names}), "same"
    if way == "twice":
        new = json.dumps(rng.choice([None, 7, entry, header[rng.choice(names)]]))
        text = f"{json.dumps(header)[:-1]}, {json.dumps(name)}: {new}}}"
        return f"{name} twice, also as {new[:30]}", file_of(text.encode(), body), "same"
    words, made = rng.choice([
        ("nothing at all", b""), ("seven bytes", bytes(7)), ("only a length", struct.pack("<Q", 64)), ("text", b"hello\n" * 50),
        ("an .npy", npy(np.zeros(9))), ("an .npz", saved(a=np.zeros(9))), ("a pickle", b"\x80\2cos\nsystem\nX\1\0\0\0aR."),
        ("a .pt of torch", b"PK\3\4" + rng.randbytes(900)), ("zeros", bytes(5000)), ("no arrays", file_of({}, b"")),
        ("a pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"),
        ("a page of HTML", b"<!DOCTYPE html><html>Not found</html>"), ("a list as header", file_of(b"[]", body)),
        ("a number as header", file_of(b"12", body)), ("a deep header", file_of(b'{"a":' * 100_000, body)),
        ("a header that is not UTF-8", file_of(b'{"\xff\xfe": 1}', body)), ("a header in UTF-16", file_of(
            json.dumps(header).encode("utf-16"), body))])
    return words, made, "broken"


# Files that are small enough to be opened, and full.

def full_weights(data, rng):
    header, body = parts_of(data)
    name = next(name for name in header if name != "__metadata__")
    end = len(body)
    words, text = rng.choice([
        ("a header of 99 MB of spaces", lambda: json.dumps(header).encode() + b" " * (99 * MB)),
        ("a header of 31 MB of spaces", lambda: json.dumps(header).encode() + b" " * (31 * MB)),
        ("a shape of ten million ones", lambda: json.dumps(header | {name: header[name] | {"shape": [1] * 10_000_000}}).encode()),
        ("160,000 empty arrays", lambda: json.dumps(header | {f"x.{i}": {
            "dtype": "F32", "shape": [0], "data_offsets": [end, end]} for i in range(160_000)}).encode()),
        ("20 MB of metadata", lambda: json.dumps(header | {"__metadata__": {f"{i}": "" for i in range(1_500_000)}}).encode()),
        ("a name of 20 MB", lambda: json.dumps(header | {"a" * (20 * MB): {
            "dtype": "F32", "shape": [0], "data_offsets": [end, end]}}).encode())])
    return words, file_of(text(), body), "same"


def full_json(data, rng):
    """JSON of some 25 MB."""
    value = json.loads(data)
    words, key, content = rng.choice([
        ("a million keys", "more", lambda: {f"key{i}": i for i in range(1_000_000)}),
        ("five million numbers", "more", lambda: [1] * 5_000_000), ("a text of 25 MB", "more", lambda: "a" * (25 * MB)),
        ("a million ids as ends", "eos_token_id", lambda: list(range(1_000_000))),
        ("a million layers named", "layer_types", lambda: ["full_attention"] * 1_000_000),
        ("400,000 empty lists", "more", lambda: [[]] * 400_000)])
    if "model" in value:
        model = value["model"]
        words, key, content = rng.choice([
            ("a million tokens", "model", lambda: model | {"vocab": dict(model["vocab"]) | {
                f"é{i}": len(model["vocab"]) + i for i in range(1_000_000)}}),
            ("two million tokens", "model", lambda: model | {"vocab": {f"{i}": i for i in range(2_000_000)}}),
            ("a million merges", "model", lambda: model | {"merges": ["Ġ t"] * 1_000_000}),
            ("200,000 merges as pairs", "model", lambda: model | {"merges": [["Ġ", "t"]] * 200_000}),
            ("100,000 added tokens", "added_tokens", lambda: [{"id": len(model["vocab"]) + i, "content": f"<{i}>"}
                                                              for i in range(100_000)])])
    if "weight_map" in value:
        words, key, content = "a million places", "weight_map", lambda: {f"w{i}": "model-00001-of-00002.safetensors"
                                                                         for i in range(600_000)}
    if "peft_type" in value:
        words, key, content = rng.choice([
            ("a pattern of a million keys", "rank_pattern", lambda: {f"q{i}": 1 for i in range(1_000_000)}),
            ("a million targets", "target_modules", lambda: [f"q{i}" for i in range(1_000_000)]),
            ("a pattern of alphas of a million keys", "alpha_pattern", lambda: {f"q{i}": 1 for i in range(1_000_000)})])
    return words, json.dumps(value | {key: content()}).encode(), "free"


# JSON: what may stand in a valid file, and means something else. All else is to be refused, or to change nothing.

FREE = {CONFIG: ("num_attention_heads", "num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "rope_theta",
                 "rope_parameters", "rope_scaling", "eos_token_id", "n_head", "activation_function", "layer_norm_epsilon"),
        TOKENIZER: ("model", "added_tokens", "normalizer", "pre_tokenizer", "post_processor"),
        ADAPTER: ("lora_alpha", "use_rslora", "alpha_pattern", "use_dora"), INDEX: ()}


def spoiled_json(name):
    def spoil(data, rng):
        return mutated_json(data.decode(), rng, free=lambda path: not path or path[0] in FREE.get(name, ()))
    return spoil


# Settings of which it is known what must become of them: {file: [(changes, meaning)]}; ... takes a key out.

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
SETTINGS = {
    CONFIG: [(changes, "broken") for changes in [
        {"model_type": "mamba"}, {"model_type": "Llama"}, {"model_type": ...}, {"model_type": "llama\n"}, {"model_type": "../x"},
        {"model_type": "x" * 5000}, {"architectures": ["LlamaForSequenceClassification"]}, {"architectures": "LlamaForCausalLM"},
        {"quantization_config": {"bits": 4}}, {"num_local_experts": 8}, {"partial_rotary_factor": 0.5}, {"vision_config": {}},
        {"is_encoder_decoder": True}, {"pretraining_tp": 2}, {"qk_norm": True}, {"text_config": {"vocab_size": 1}},
        {"is_causal": False}, {"is_causal": None}, {"per_layer_config": {"0": {"skip": ["mlp"]}}}, {"attribute_map": {}},
        {"transformers_weights": "other.safetensors"}, {"configuration_files": ["config.4.0.0.json"]},
        {"vocab_size": 10_000_000}, {"vocab_size": 0}, {"vocab_size": "280"}, {"vocab_size": ...}, {"vocab_size": 279},
    ]] + [({"use_cache": True, "torch_dtype": "bfloat16", "transformers_version": "4.57"}, "same"),
          ({"initializer_range": 0.02, "_name_or_path": "x"}, "same"), ({"architectures": None}, "same"),
          ({"architectures": []}, "same"), ({"id2label": {"0": "x"}, "summary_type": "cls_index"}, "same")],
    "llama": [(changes, "broken") for changes in [
        {"hidden_act": "gelu"}, {"hidden_act": "relu"}, {"head_dim": 8}, {"head_dim": 3}, {"num_key_value_heads": 3},
        {"num_key_value_heads": 2}, {"num_attention_heads": 3}, {"num_attention_heads": 8}, {"hidden_size": 10**7},
        {"intermediate_size": 23}, {"num_hidden_layers": 2}, {"num_hidden_layers": 1000}, {"num_hidden_layers": 10**7},
        {"attention_bias": True}, {"mlp_bias": True}, {"tie_word_embeddings": False}, {"tie_word_embeddings": 1},
        {"rope_scaling": {"rope_type": "llama3", "factor": 8}}, {"rope_scaling": {"type": "linear", "factor": 2}},
        {"rope_parameters": {"rope_type": "yarn"}}, {"rope_parameters": {"rope_theta": "x"}}, {"rope_theta": -1},
        {"rope_theta": 777}, {"rope_scaling": {"rope_theta": 777}}, {"rope_parameters": {"full_attention": {"rope_theta": 777}}},
        {"rope_theta": 0, "rope_parameters": ...}, {"rope_theta": 1e300}, {"rms_norm_eps": 0}, {"rms_norm_eps": 2},
        {"sliding_window": 8}, {"layer_types": ["sliding_attention"]}, {"layer_types": ["linear_attention"]},
        {"max_position_embeddings": 10**8},
        {"model_type": "gpt2"}, {"model_type": "qwen2"}, {"model_type": "starcoder2"}, {"hidden_size": 4}]] + [
        ({"sliding_window": 64}, "same"), ({"hidden_act": "swish"}, "same"), ({"num_hidden_layers": 1.0}, "broken"),
        ({"head_dim": None}, "same"), ({"rope_scaling": None}, "same"), ({"model_type": "mistral", "architectures": None,
                                                                          "attention_bias": ..., "mlp_bias": ...}, "free"),
        ({"eos_token_id": 10**9}, "free"), ({"eos_token_id": [0, 1]}, "free"), ({"bos_token_id": "x"}, "same")],
    TOKENIZER: [(changes, "broken") for changes in [
        {"model": {}}, {"model": {"type": "Unigram"}}, {"model": None}, {"model": ...}, {"normalizer": {"type": "Lowercase"}},
        {"normalizer": {"type": "NFKC"}}, {"pre_tokenizer": {"type": "Whitespace"}}, {"truncation": {"max_length": 9}},
        {"padding": {"length": 9}}, {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [None, 1]}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": None}}, {"post_processor": {"type": "BertProcessing"}},
        {"post_processor": {"type": "Sequence"}}, {"post_processor": {"type": "Sequence", "processors": [None, 1]}},
        {"post_processor": {"type": "TemplateProcessing"}}, {"post_processor": {"type": "TemplateProcessing", "single": [1]}},
        {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {}}]}},
        {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": None}]}},
        {"post_processor": {"type": "TemplateProcessing", "single": [{}]}},
        {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "nobody"}},
                                                                     {"Sequence": {"id": "A"}}]}},
        {"decoder": {"type": "Fuse"}}, {"decoder": {"type": "ByteFallback"}}, {"decoder": 3},
        {"pre_tokenizer": {"type": "Whitespace", "pretokenizers": [BYTE_LEVEL]}},
        {"added_tokens": [{"id": 10**6, "content": "<x>"}]}, {"added_tokens": [{"id": 0, "content": "<x>"}]},
        {"added_tokens": [{"id": 0}]}, {"added_tokens": [None]}]] + [({"decoder": None}, "same"), ({"version": 7}, "same")],
    "bpe": [({"normalizer": {"type": "NFC"}}, "free")] + [(lambda file, new=new: {"model": file["model"] | new}, meaning)
            for new, meaning in [
        ({"dropout": 0.1}, "broken"), ({"continuing_subword_prefix": "##"}, "broken"), ({"end_of_word_suffix": "</w>"}, "broken"),
        ({"unk_token": "nobody"}, "broken"), ({"merges": [["a"]]}, "broken"), ({"merges": ["a"]}, "broken"),
        ({"merges": ["a b c"]}, "broken"), ({"merges": ["a zzz"]}, "broken"), ({"merges": [""]}, "broken"),
        ({"merges": [["a", "b", "c"]]}, "broken"), ({"merges": {}}, "broken"), ({"vocab": {}}, "broken"),
        ({"vocab": {"a": 0, "b": 0}}, "broken"), ({"vocab": {"a": -1}}, "broken"), ({"merges": []}, "free"),
        ({"ignore_merges": True}, "free"), ({"type": ...}, "same"), ({"byte_fallback": True}, "same")]] + [
            (lambda file, token=token: {"model": file["model"] | {"vocab": with_last(file["model"]["vocab"], token)}}, "free")
            for token in ("a" * 999, "a" * 1001, "é" * 20_000, "\0", "", "\ud800", "\x1b[31m", "<x>", "漢", " ")] + [
            (lambda file, sign=sign: {"added_tokens": [{"id": 0, "content": sign}], "model": file["model"] | {
                "vocab": {sign if i == 0 else token: i for token, i in file["model"]["vocab"].items()}}}, "free")
            for sign in ("a" * 999, "\0", "", "\n", "a", " ", "\x1b[31m", "(.*", "漢" * 900)],
    ADAPTER: [(changes, "broken") for changes in [
        {"peft_type": "OFT"}, {"peft_type": ...}, {"peft_type": "lora"}, {"peft_type": "IA3"}, {"peft_type": "LORA"},
        {"task_type": "SEQ_CLS"}, {"modules_to_save": ["lm_head"]}, {"more": 1}, {"layer_replication": [[0, 1]]}]] + [
        ({"base_model_name_or_path": "/etc/passwd"}, "same"), ({"inference_mode": False}, "same"), ({"revision": "x"}, "same"),
        ({"peft_version": "0.19"}, "same"), ({"target_modules": "all-linear"}, "same"), ({"task_type": None}, "same")],
    "lora": [(changes, "broken") for changes in [
        {"r": 3}, {"r": 0}, {"r": 10**7}, {"r": "2"}, {"r": ...}, {"lora_alpha": "x"}, {"lora_alpha": None}, {"lora_alpha": ...},
        {"target_modules": ["nobody"]}, {"target_modules": []}, {"target_modules": None}, {"layers_to_transform": [7]},
        {"exclude_modules": ["q_proj", "v_proj", "gate_proj"]},
        {"rank_pattern": {"q_proj": 3}}, {"rank_pattern": {".*": 2}}, {"bias": "all"}, {"init_lora_weights": "pissa"},
        {"rank_pattern": []}, {"alpha_pattern": {"(": 1}}, {"alpha_pattern": {"": 1}}, {"use_dora": True, "r": 9},
        {"init_lora_weights": {"a": 1}}, {"init_lora_weights": []}, {"lora_bias": True}, {"trainable_token_indices": [1]}]] + [
        (changes, "free") for changes in [
            {"lora_alpha": 0}, {"lora_alpha": -1}, {"lora_alpha": 1e300}, {"lora_alpha": 5e-324}, {"lora_alpha": 2**53},
            {"alpha_pattern": {"q_proj": 0}}, {"alpha_pattern": {"q_proj": 1e300}}, {"alpha_pattern": {"q_proj": 5e-324}},
            {"alpha_pattern": {"self_attn.q_proj": 7}}, {"lora_alpha": 0, "alpha_pattern": {"v_proj": 3}},
            {"alpha_pattern": {"v_proj": 0}}, {"use_rslora": True}, {"use_dora": True}, {"alpha_pattern": {"v_proj": -3}}]] + [
        ({"rank_pattern": {"^q_proj": 7}}, "same"), ({"lora_dropout": 0.5}, "same"), ({"rank_pattern": {"nobody": 7}}, "same")],
    "prompts": [({"num_virtual_tokens": n}, "broken") for n in (1, 3, 0, -1, 10**7, "2", None, ..., 2.0)] + [
        ({"prefix_projection": True}, "broken"),
        ({"task_type": None}, "broken"), ({"token_dim": 99}, "free"), ({"num_layers": 7}, "free")],
    INDEX: [(lambda file, to=to: {"weight_map": dict.fromkeys(file["weight_map"], to)}, "broken") for to in (
        "../llama/model.safetensors", "/dev/zero", "nowhere.safetensors", "", ".", "..", "model-00001-of-00002.safetensors", "é",
        "config.json", "tokenizer.json", "a" * 300 + ".safetensors", "\0.safetensors", "\ud800.safetensors", "x\ny.safetensors")
    ] + [
        ({"weight_map": {}}, "broken"), ({"weight_map": []}, "broken"), ({"weight_map": ...}, "broken"),
        ({"metadata": None}, "same"), ({"metadata": {"total_size": -1}}, "same"),
        (lambda file: {"weight_map": file["weight_map"] | {"more": "model-00001-of-00002.safetensors"}}, "broken")],
}


def with_last(vocabulary, token):
    """A vocabulary whose last token is another one."""
    return {token if i == len(vocabulary) - 1 else old: i for old, i in vocabulary.items()}


def of_settings(folder, file):
    """The tables of SETTINGS that are for a file of one of the folders in stage.FOLDERS."""
    more = {(CONFIG, "llama"): "llama", (CONFIG, "shards"): "llama", (TOKENIZER, "llama"): "bpe", (TOKENIZER, "shards"): "bpe",
            (ADAPTER, "lora"): "lora", (ADAPTER, "dora"): "lora", (ADAPTER, "prefix"): "prompts", (ADAPTER, "prompt"): "prompts"}
    return SETTINGS[file] + 3 * SETTINGS.get(more.get((file, folder)), [])


def changed_settings(folder, file):
    def spoil(data, rng):
        value = json.loads(data)
        changes, meaning = rng.choice(of_settings(folder, file))
        changes = changes(value) if callable(changes) else changes
        if "init_lora_weights" not in changes and changes.get("peft_type") == value.get("peft_type", ""):
            meaning = "same"
        left = {key: inner for key, inner in (value | changes).items() if inner is not ...}
        shown = ", ".join(f"{key}: {json.dumps(inner, default=str)}" for key, inner in changes.items())
        return shown[:120], json.dumps(drop(left)).encode(), meaning
    return spoil


def drop(value):
    """Without what is taken out further inside."""
    return {key: drop(inner) for key, inner in value.items() if inner is not ...} if isinstance(value, dict) else value


def something_else(data, rng):
    """What stands in the place of a file: (words, function, meaning)."""
    kind = rng.choice(list(PLACES))
    return f"is {kind}", PLACES[kind], "broken"


# Of a file in a folder: {way: (what spoils it, share)}.

def ways(folder, file):
    if file.endswith(".safetensors"):
        return {"weights": (spoiled_weights, 8), "full": (full_weights, 0.5), "place": (something_else, 0.7)}
    table = {"json": (spoiled_json(file), 4), "full": (full_json, 0.7), "place": (something_else, 0.7)}
    return table | ({"settings": (changed_settings(folder, file), 5)} if file in SETTINGS else {})


FILES = {name: [CONFIG, TOKENIZER, WEIGHTS] for name in ("llama", "words", "characters")} | {
    "shards": [CONFIG, TOKENIZER, INDEX, INDEX, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]} | {
    name: [ADAPTER, "adapter_model.safetensors"] for name in ("lora", "dora", "ia3", "prefix", "prompt")}
WAYS = {"weights": 10, "json": 7, "settings": 8, "full": 1, "place": 1.2}


def spoiled_folder(stage, rng, way):
    """(folder, file, words, bytes or a function, meaning) for one file that is spoiled in a way."""
    folder = rng.choice([name for name, files in FILES.items() if (stage.folder / "h" / name).exists()
                         and any(way in ways(name, file) for file in files)])
    file = rng.choice([file for file in FILES[folder] if way in ways(folder, file)])
    words, content, meaning = ways(folder, file)[way][0]((stage.folder / "h" / folder / file).read_bytes(), rng)
    if folder == "words" and file == WEIGHTS and words == "with 'lm_head.weight' added":
        meaning = "broken"
    if folder == "shards" and words.endswith("added"):
        meaning = "same"                # whatever is in no list is not read
    return folder, file, words, content, meaning
