"""Whole models as folders of transformers, both ways, bit for bit."""

import json

import numpy as np
import pytest
from commands import answer, refused, run
from hub_folders import (
    FAMILIES,
    arrays_in,
    contents,
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
from minillm.finetune.methods import recipe_of
from minillm.finetune.specialist import prepare
from minillm.hub.config_file import MODEL_TYPES
from minillm.hub.folders import export, from_pretrained
from minillm.hub.tokenizer_file import write_tokenizer
from minillm.nn import ARCHITECTURES
from minillm.nn.config import LARGEST
from minillm.runs.saved import Loaded
from minillm.text.bpe import CHARACTERS, BPETokenizer
from minillm.text.bpe_learning import learn_bpe
from minillm.text.tokenizer import CharTokenizer, IdTokenizer, WordTokenizer

pytestmark = with_safetensors
SEEDS = range(20)               # of each family

every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("torch")
    library = pytest.importorskip("transformers")
    library.logging.disable_progress_bar()
    library.logging.enable_propagation()
    return library


# ---- there and back

@every_family
def test_a_model_comes_back_bit_for_bit(family, tmp_path):
    for seed in SEEDS:
        model = folder_of(tmp_path / f"{seed}", family, seed)
        back = from_pretrained(tmp_path / f"{seed}")
        assert same(back.model, model) and ml.fingerprint(back.model) == ml.fingerprint(model)
        export(back, tmp_path / f"{seed} again")
        for path in (tmp_path / f"{seed}").iterdir():
            assert path.read_bytes() == (tmp_path / f"{seed} again" / path.name).read_bytes()


@every_family
@pytest.mark.filterwarnings("error::UserWarning")
def test_transformers_computes_the_same_both_ways(family, tmp_path, transformers, caplog):
    """And it loads without a warning, and nothing is missing or left over."""
    import torch

    for seed in SEEDS:
        model = folder_of(tmp_path / f"{seed}", family, seed)
        theirs, info = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / f"{seed}", output_loading_info=True)
        assert not any(info.values()), info
        tokens = tokens_for(model, seed)
        logits = theirs(torch.tensor(tokens)).logits.detach().numpy()
        assert difference(model.logits(tokens), logits) < 2e-6
        theirs.save_pretrained(tmp_path / f"{seed} theirs")
        back = from_pretrained(tmp_path / f"{seed} theirs").model
        assert same(back, model) and back.config == model.config
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@pytest.mark.parametrize("kind, change", [
    ("LlamaConfig", {"attention_bias": True, "mlp_bias": True}), ("MistralConfig", {"sliding_window": None}),
    ("MistralConfig", {"sliding_window": 12}), ("Qwen2Config", {}), ("Starcoder2Config", {"use_bias": False}),
    ("GPT2Config", {"tie_word_embeddings": False, "n_inner": 20}), ("GPT2Config", {"activation_function": "relu"})],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "plain")
def test_models_that_transformers_made(kind, change, tmp_path, transformers):
    import torch

    sizes = ({"n_positions": 12, "n_layer": 2, "n_head": 4, "n_embd": 16} if kind == "GPT2Config" else
             {"max_position_embeddings": 12, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 16,
              "num_key_value_heads": 2, "intermediate_size": 24})
    torch.manual_seed(1)
    config = getattr(transformers, kind)(**{"vocab_size": 19, "bos_token_id": 0, "eos_token_id": 0} | sizes | change)
    theirs = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.1 * torch.randn_like(p))
    theirs.save_pretrained(tmp_path, max_shard_size="4KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    model = from_pretrained(tmp_path).model
    tokens = tokens_for(model)
    assert difference(model.logits(tokens), theirs(torch.tensor(tokens)).logits.detach().numpy()) < 2e-6


def test_a_model_of_double_precision_keeps_it(tmp_path):
    model = model_of("llama", dtype=np.float64)
    export(loaded(model), tmp_path / "a")
    assert same(from_pretrained(tmp_path / "a").model, model)


# ---- without transformers: the maths of its Llama, written plainly

def plain_llama(W, config, tokens):
    """logits (T, V) of one text, from the arrays of a file and its config.json."""
    H, K, T = config["num_attention_heads"], config["num_key_value_heads"], len(tokens)
    D = config["hidden_size"] // H
    angles = np.outer(np.arange(T), config["rope_parameters"]["rope_theta"] ** (-2 * np.arange(D // 2) / D))

    def norm(x, name):
        return W[f"{name}.weight"] * x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"])

    def turned(x):                                                          # (T, heads, D): feature j with feature j + D/2
        a, b = x[..., :D // 2], x[..., D // 2:]
        cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    x = W["model.embed_tokens.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        def linear(x, name, i=i):
            y = x @ W[f"model.layers.{i}.{name}.weight"].T
            return y + W.get(f"model.layers.{i}.{name}.bias", 0)

        h = norm(x, f"model.layers.{i}.input_layernorm")
        q, k = (turned(linear(h, f"self_attn.{name}_proj").reshape(T, n, D)) for name, n in (("q", H), ("k", K)))
        k, v = np.repeat(k, H // K, 1), np.repeat(linear(h, "self_attn.v_proj").reshape(T, K, D), H // K, 1)
        S = np.einsum("thd,shd->hts", q, k) / np.sqrt(D) + np.triu(np.full((T, T), -np.inf), 1)
        P = np.exp(S - S.max(-1, keepdims=True))
        o = np.einsum("hts,shd->thd", P / P.sum(-1, keepdims=True), v)
        x = x + linear(o.reshape(T, -1), "self_attn.o_proj")
        h = norm(x, f"model.layers.{i}.post_attention_layernorm")
        gate = linear(h, "mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, "mlp.up_proj"), "mlp.down_proj")
    return norm(x, "model.norm") @ W.get("lm_head.weight", W["model.embed_tokens.weight"]).T


@pytest.mark.parametrize("seed", range(6))
def test_the_file_means_what_llama_means_by_it(seed, tmp_path):
    model = folder_of(tmp_path, "llama", seed)
    arrays = {name: array.astype(np.float64) for name, array in arrays_in(tmp_path / "model.safetensors").items()}
    tokens = tokens_for(model)[0]
    theirs = plain_llama(arrays, json.loads((tmp_path / "config.json").read_text()), tokens)
    assert difference(model.logits(tokens[None])[0], theirs) < 2e-6


# ---- what files of others look like

@pytest.mark.parametrize("dtype, step", [("BF16", 2 ** -7), ("F16", 2 ** -11)])
def test_half_precision_is_read_exactly(dtype, step, tmp_path):
    model = folder_of(tmp_path, "llama")
    path = tmp_path / "model.safetensors"
    write_arrays_as(path, arrays_in(path), dtype)
    back = from_pretrained(tmp_path).model.state_dict()
    for name, array in model.state_dict().items():
        rounded = (array.view("<u4") >> 16 << 16).view("<f4") if dtype == "BF16" else array.astype(np.float16).astype(np.float32)
        assert np.array_equal(back[name], rounded)
        assert np.abs(back[name] - array).max() <= step * np.abs(array).max()


@every_family
def test_shards(family, tmp_path):
    model = folder_of(tmp_path, family)
    path, shards = tmp_path / "model.safetensors", {}
    for i, (name, array) in enumerate(arrays_in(path).items()):
        shards.setdefault(f"model-{i % 3}.safetensors", {})[name] = array
    path.unlink()
    for shard, arrays in shards.items():
        write_arrays_as(tmp_path / shard, arrays)
    index = {name: shard for shard, arrays in shards.items() for name in arrays}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    assert same(from_pretrained(tmp_path).model, model)


@every_family
def test_names_of_older_files(family, tmp_path):
    """Without the first word, as in files of GPT2Model; with masks and angles; with a tied output layer that is written too."""
    model = folder_of(tmp_path, family, tied=True)
    path = tmp_path / "model.safetensors"
    arrays = {name.split(".", 1)[1]: array for name, array in arrays_in(path).items()}
    if family == "gpt2":
        odd = {"h.0.attn.bias": np.ones((1, 1, 4, 4)), "h.0.attn.masked_bias": np.ones(())}
    else:
        odd = {"layers.0.self_attn.rotary_emb.inv_freq": np.ones(2)}
    words = arrays["wte.weight" if family == "gpt2" else "embed_tokens.weight"]
    write_arrays_as(path, arrays | odd | {"lm_head.weight": words})
    settings(tmp_path / "config.json", architectures=None)
    assert same(from_pretrained(tmp_path).model, model)


def test_settings_of_older_files(tmp_path):
    model = folder_of(tmp_path, "llama", biases="none", tied=False, rope_base=10_000.0, n_kv_head=None, norm_eps=1e-6)
    gone = dict.fromkeys(("rope_parameters", "rope_theta", "num_key_value_heads", "head_dim", "attention_bias", "mlp_bias",
                          "tie_word_embeddings", "rms_norm_eps", "hidden_act", "architectures", "dtype"), ...)
    settings(tmp_path / "config.json", rope_scaling=None, torch_dtype="float16", **gone)
    assert same(from_pretrained(tmp_path).model, model)
    settings(tmp_path / "config.json", rope_theta=500.0, rope_scaling={"type": "default"})
    assert from_pretrained(tmp_path).model.config.rope_base == 500


def test_a_smaller_context(tmp_path):
    for family in FAMILIES:
        model = folder_of(tmp_path / family, family, context=12)
        short = from_pretrained(tmp_path / family, context=5).model
        tokens = tokens_for(model)[:, :5]
        assert short.config.context == 5 and np.array_equal(short.logits(tokens), model.logits(tokens))
        with pytest.raises(ml.CheckpointError, match="own context is 12, and --context can only"):
            from_pretrained(tmp_path / family, context=13)


def test_a_window_that_is_no_narrower_than_the_context_changes_nothing(tmp_path):
    model = folder_of(tmp_path, "llama", context=12, biases="none")
    settings(tmp_path / "config.json", model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=12)
    assert same(from_pretrained(tmp_path).model, model)
    settings(tmp_path / "config.json", sliding_window=8)
    with pytest.raises(ml.CheckpointError, match="sliding window of 8 tokens.* with --context 8"):
        from_pretrained(tmp_path)
    assert from_pretrained(tmp_path, context=8).model.config.context == 8
    settings(tmp_path / "config.json", use_sliding_window=False)            # which is a setting of Qwen2 alone
    with pytest.raises(ml.CheckpointError, match="sliding window of 8 tokens"):
        from_pretrained(tmp_path)
    settings(tmp_path / "config.json", sliding_window=...)                  # what Mistral has if nothing is said
    assert same(from_pretrained(tmp_path).model, model)
    qwen = {"model_type": "qwen2", "architectures": None, "max_position_embeddings": 5000, "use_sliding_window": True}
    settings(tmp_path / "config.json", **qwen)
    with pytest.raises(ml.CheckpointError, match="sliding window of 4096 tokens"):
        from_pretrained(tmp_path)


# ---- what is exported

@pytest.mark.parametrize("more", [{"biases": "none"}, {"biases": "attention"}, {"biases": "mlp"}])
def test_biases_that_a_model_lacks_are_zeros_in_gpt_2(more, tmp_path):
    model = folder_of(tmp_path, "gpt2", **more)
    back, tokens = from_pretrained(tmp_path).model, tokens_for(model)
    assert back.config.biases == "all" and difference(back.logits(tokens), model.logits(tokens)) < 1e-6


@pytest.mark.parametrize("method", ["full", "frozen", "head", "head:norm=no", "parallel:bottleneck=3",
                                    "parallel:bottleneck=3,blocks=1,norms=yes"])
def test_what_is_no_adapter_there_is_exported_as_a_whole_model(method, tmp_path):
    base = model_of("gpt2", n_layer=2, activation="gelu", tied=True, n_hidden=None)
    model = prepare(base, recipe_of(method))
    rng = np.random.default_rng(3)
    for p in model.trainable_parameters().values():
        p.data += 0.2 * rng.normal(size=p.shape).astype(np.float32)
    assert export(loaded(model), tmp_path) == "model"
    back, tokens = from_pretrained(tmp_path).model, tokens_for(base)
    assert difference(back.logits(tokens), model.logits(tokens)) < 2e-6
    assert difference(base.logits(tokens), model.logits(tokens)) > 0.01


@pytest.mark.parametrize("parts, message", [
    ({"norm": "rmsnorm"}, "no model of transformers that minillm knows has learned positions, rmsnorm and mlp together"),
    ({"mlp": "swiglu"}, "learned positions, layernorm and swiglu"),
    ({"n_kv_head": 1, "n_head": 2, "n_embd": 8}, "2 heads share 1")])
def test_mixtures_that_transformers_does_not_have(parts, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export(loaded(model_of("gpt2", activation="gelu", **parts)), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("method, message", [("adapter", "the adapter at blocks.0.attn"),
                                             ("adapter:form=parallel,places=attn", "only where it is beside an MLP with GELU"),
                                             ("prefix", "with learned positions")])
def test_what_cannot_be_expressed_there(method, message, tmp_path):
    model = prepare(model_of("gpt2", activation="gelu", n_head=2, n_embd=8, context=18), recipe_of(method))
    with pytest.raises(ValueError, match=message):
        export(loaded(model), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_of_others_is_left_alone(tmp_path):
    model = loaded(model_of("gpt2"))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty, and holds no earlier export of this kind"):
        export(model, tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is not empty, and holds no earlier export of this kind"):
        export(model, tmp_path)
    with pytest.raises(ValueError, match="is a file, where a folder is needed"):
        export(model, tmp_path / "notes.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt"]
    export(model, tmp_path / "new")
    export(model, tmp_path / "new")                                         # an earlier export of ours


NAMES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


def small(seed=0):
    return Loaded(model_of("llama", seed, vocab_size=9), CharTokenizer("abcdefg \n"))


@pytest.mark.parametrize("name", NAMES)
def test_what_was_changed_after_an_export_is_never_overwritten(name, tmp_path):
    """transformers, say, saves trained weights into the folder that it loaded, with our config beside them."""
    export(small(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*NAMES, "minillm.json"])
    path = tmp_path / name
    path.write_bytes(path.read_bytes() + b" ")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=f"{name} is not as minillm has written it, so nothing in that folder is overwritten"):
        export(small(1), tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
    path.unlink()                                                           # nothing is lost by writing it anew
    export(small(1), tmp_path)
    assert same(from_pretrained(tmp_path).model, small(1).model)


def test_shards_beside_an_export_are_somebodys_weights(tmp_path):
    export(small(), tmp_path)
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ValueError, match=f"{name} is not as minillm has written it"):
            export(small(), tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "notes.txt").write_text("mine")                             # which no export would replace
    export(small(), tmp_path)


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"written_by": "me", "files": {}}', '{"written_by": "minillm", "files": []}',
                                  '{"written_by": "minillm", "files": {"config.json": 3}}', None])
def test_without_a_note_nothing_is_taken_for_an_export(note, tmp_path):
    export(small(), tmp_path)
    (tmp_path / "minillm.json").unlink() if note is None else (tmp_path / "minillm.json").write_text(note)
    with pytest.raises(ValueError, match="holds no earlier export of this kind"):
        export(small(), tmp_path)


def test_an_export_that_was_interrupted_is_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr("minillm.hub.models.write_tensors", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(small(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["minillm.json"]      # nobody reads a folder without a config
    monkeypatch.undo()
    export(small(1), tmp_path)
    assert same(from_pretrained(tmp_path).model, small(1).model)


def test_what_transformers_saved_into_our_folder_stays(tmp_path, transformers):
    import torch

    export(small(), tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        theirs.model.norm.weight.add_(1)
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is not as minillm has written it"):
        export(small(), tmp_path)
    assert not same(from_pretrained(tmp_path).model, small().model)


# ---- tokens

@pytest.mark.parametrize("tokenizer", [CharTokenizer("abcdefg \n"), WordTokenizer(["<begin>", "<end>", "ab", "c", ".", ","]),
                                       learn_bpe("the mill the mill and the sky", 262)], ids=lambda tokenizer: tokenizer.kind)
def test_the_tokenizer_goes_along(tokenizer, tmp_path):
    model = model_of("llama", vocab_size=len(tokenizer))
    export(Loaded(model, tokenizer), tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == model.config.context
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (tokenizer.begin, tokenizer.end)
    assert from_pretrained(tmp_path).tokenizer.to_json() == tokenizer.to_json()
    assert isinstance(from_pretrained(tmp_path, ids=True).tokenizer, IdTokenizer)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokenizer_of_transformers_gives_the_same_ids(family, tmp_path, transformers, caplog):
    for tokenizer, text in ((CharTokenizer("abcdefg \n"), "a bad\ncafe "),
                            (learn_bpe("the mill the mill and the sky", 262), "the mill, a café and the sky")):
        folder = tmp_path / tokenizer.kind
        export(Loaded(model_of(family, vocab_size=len(tokenizer), context=40), tokenizer), folder)
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        ids = theirs(text)["input_ids"]
        assert ids == tokenizer.encode(text) and theirs.decode(ids) == text
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_a_table_may_have_more_rows_than_there_are_tokens_but_not_fewer(tmp_path):
    folder_of(tmp_path, "llama", vocab_size=7)
    write_tokenizer(CharTokenizer("abcdefgh"), tmp_path / "tokenizer.json")
    with pytest.raises(ml.CheckpointError, match="has 8 tokens, and the model only 7"):
        from_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "Unigram"}}')
    with pytest.raises(ml.CheckpointError, match="its model is Unigram.*; with --ids it is left out"):
        from_pretrained(tmp_path)


def test_a_text_ends_as_config_json_says(tmp_path):
    """A chat has another sign at its end than a document, which tokenizer.json does not tell."""
    tokenizer = BPETokenizer([*CHARACTERS, "<|endoftext|>", "<|im_end|>"], [],
                             special=["<|endoftext|>", "<|im_end|>"], end="<|endoftext|>")
    export(Loaded(model_of("llama", vocab_size=300), tokenizer), tmp_path)
    assert from_pretrained(tmp_path).tokenizer.end == 256
    for ends in (257, [257, 256], [299, 257], [257, 0]):
        settings(tmp_path / "config.json", eos_token_id=ends)
        assert from_pretrained(tmp_path).tokenizer.end == 257
    export(from_pretrained(tmp_path), tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["eos_token_id"] == 257
    with pytest.raises(ValueError, match="has a tokenizer.json, which this model does not"):
        export(from_pretrained(tmp_path, ids=True), tmp_path)


def test_rows_without_a_token_are_never_drawn(tmp_path):
    folder = tmp_path / "hub"
    folder_of(folder, "gpt2", vocab_size=40, context=12)
    write_tokenizer(CharTokenizer("abc"), folder / "tokenizer.json")
    answer("import", folder, "--out", tmp_path / "base.npz")
    assert len(ml.load(tmp_path / "base.npz").tokenizer) == 3
    texts = answer("generate", tmp_path / "base.npz", "--prompt", "ab", "--tokens", 30, "--temperature", 3, "--count", 9)["texts"]
    assert all(len(text) == 32 and set(text) <= set("abc") for text in texts)


# ---- commands

def test_the_commands(tmp_path):
    model = folder_of(tmp_path / "hub", "llama", context=12)
    code, out, err = run("import", tmp_path / "hub", "--out", tmp_path / "base.npz", "--context", 10)
    assert code == 0, err
    assert "there is no tokenizer.json" in out and "texts of this model are ids" in out
    base = ml.load(tmp_path / "base.npz")
    assert base.model.config.context == 10 and same(base.model, model) and base.meta["imported"] == "LlamaForCausalLM"
    assert answer("export", tmp_path / "base.npz", "--out", tmp_path / "again") == {"kind": "model"}
    assert contents(tmp_path / "again" / "model.safetensors") == contents(tmp_path / "hub" / "model.safetensors")
    text = answer("generate", tmp_path / "base.npz", "--prompt", "0 1", "--tokens", 5)["texts"][0]
    assert text.startswith("0 1 ") and len(text.split()) == 7
    refused(tmp_path, "generate", tmp_path / "base.npz", "--prompt", "hello", words=("'hello' is no id",))
    refused(tmp_path, "export", tmp_path / "base.npz", "--out", tmp_path, words=("is not empty",))
    refused(tmp_path, "import", tmp_path / "hub", "--out", tmp_path / "hub" / "config.json", words=("has not written it",))
    refused(tmp_path, "import", tmp_path / "hub", "--out", tmp_path / "new.npz", "--base", tmp_path / "base.npz",
            words=("so --base has no meaning",))


def test_every_type_of_model_is_described_alike():
    usual = {"gpt2": "gpt2", "llama": "llama"}
    assert usual.keys() == ARCHITECTURES.keys() and usual.keys() < MODEL_TYPES.keys()
    for model_type in MODEL_TYPES.values():
        assert model_type.fields.keys() >= {*LARGEST, "n_hidden", "norm_eps", "tied"}
