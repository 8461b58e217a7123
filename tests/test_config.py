"""Config: whatever does not fit is refused in one sentence, and whatever fits is itself again after a file or a command line."""

import json
import string
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from commands import TINY, refused, run
from mixtures import mixtures

from minillm.commands.app import parser
from minillm.commands.architecture import LEAST_BASE, architecture_of
from minillm.ground.arrays import read_arrays, write_arrays
from minillm.ground.files import CheckpointError
from minillm.nn import GPT, Config
from minillm.nn.block import BIASES
from minillm.nn.config import ARCHITECTURES, LARGEST, NUMBERS, OPTIONAL, PARTS
from minillm.runs import load
from minillm.text.tokenizer import CharTokenizer
from minillm.train.checkpoint import fingerprint, save_model

GOOD = Config(vocab_size=11, context=7, n_layer=2, n_head=4, n_embd=16, n_kv_head=2)
LLAMA = replace(GOOD, **ARCHITECTURES["llama"], n_hidden=10, tied=False, rope_base=50.0, norm_eps=1e-3)
LETTERS = string.ascii_lowercase
COMPLEX = np.complex128(0.5)
HUGE = 10 ** 400


# ---- one field is wrong

def wrong_values(name, rng):
    """An endless row of values that the field of this name must not have."""
    whole, parts = LARGEST | OPTIONAL, [choice for choices in PARTS.values() for choice in choices]
    anywhere = [b"4", (4,), object(), float("nan"), float("inf"), -float("inf"), "", "4", 3j, range(3), lambda: 4]
    of_kind = {
        "size": lambda: [None if name in LARGEST else "None", True, False, 0, 1.0, 2.5, whole[name] + 1, -HUGE, HUGE,
                         -int(rng.integers(1, 10 ** 9)), whole[name] + int(rng.integers(1, 10 ** 18)), float(rng.uniform(1, 9)),
                         np.float32(4), [4], {4: 4}, np.array([4, 4]), np.int64(-3), np.bool_(True)],
        "number": lambda: [None, True, False, 0, -0.0, [1.0], np.array([0.1, 0.1]), np.float32(0), np.float64("nan"),
                           -float(10 ** rng.uniform(-300, 300)), NUMBERS[name][1] * float(10 ** rng.uniform(1e-6, 200)),
                           np.nextafter(NUMBERS[name][1], np.inf)],
        "part": lambda: [None, True, 0, 4, "None", "".join(rng.choice([*LETTERS], rng.integers(1, 9))),
                         str(rng.choice(parts)).upper(), f"{rng.choice(parts)} ", 10_000 * "x",
                         *{choice for choice in parts if choice not in PARTS[name]}],
        "tied": lambda: [None, 0, 1, 1.0, "True", "yes", [True], np.array([True, False])],
    }
    kind = "size" if name in whole else "number" if name in NUMBERS else "part" if name in PARTS else name
    while True:
        values = anywhere + of_kind[kind]()
        yield values[rng.integers(len(values))]


@pytest.mark.parametrize("name", [field.name for field in fields(Config)])
def test_a_wrong_value_is_refused_in_one_sentence_that_names_the_field(name, rng):
    for _, value in zip(range(150), wrong_values(name, rng)):
        with pytest.raises(ValueError) as error:
            replace(LLAMA if name != "activation" else GOOD, **{name: value})
        message = str(error.value)
        assert message.startswith(f"{name} is ") and "but must be" in message
        assert "\n" not in message and (len(message) < 170 or value == -HUGE)


@pytest.mark.parametrize("name, value", [
    *((part, value) for part in ("norm", "mlp", "activation", "biases") for value in (["gelu"], {}, np.array("gelu"))),
    ("positions", np.array(["learned"])), *((name, value) for name in NUMBERS for value in (HUGE, -HUGE, COMPLEX)),
    *((name, -HUGE) for name in LARGEST)], ids=lambda value: str(value)[:20])
def test_so_is_what_hardly_anyone_writes(name, value):
    with pytest.raises(ValueError, match=f"^{name} is .{{1,100}}, but must be "):
        replace(GOOD, **{name: value})


# ---- fields that do not fit each other

def fits(sizes):
    C, H, K = (sizes[name] for name in ("n_embd", "n_head", "n_kv_head"))
    return (C % H == 0 and H % (K or H) == 0 and (sizes["positions"] == "learned" or C // H % 2 == 0)
            and (sizes["mlp"] == "mlp" or sizes["activation"] == "gelu"))


def test_what_does_not_fit_together_is_refused_and_nothing_else(rng):
    counts = [0, 0]
    for _ in range(600):
        sizes = {"n_head": int(rng.integers(1, 9)), "n_kv_head": [None, *range(1, 9)][rng.integers(9)]}
        sizes["n_embd"] = int(rng.integers(1, 9) * rng.choice([1, sizes["n_head"], sizes["n_head"]]))
        sizes |= {part: str(rng.choice([*choices])) for part, choices in PARTS.items()}
        counts[fits(sizes)] += 1
        if fits(sizes):
            model = GPT(replace(GOOD, **sizes), np.random.default_rng(0))
            assert model.logits(np.array([[1, 2, 3]])).shape == (1, 3, 11)
        else:
            with pytest.raises(ValueError, match="cannot be split|cannot share|turn pairs of features|is always silu"):
                replace(GOOD, **sizes)
    assert min(counts) > 50


@pytest.mark.parametrize("wrong, message", [
    ({"n_embd": 18}, "the width 18 cannot be split over 4 heads: choose a multiple of 4"),
    ({"n_kv_head": 3}, "4 heads of queries cannot share 3 heads of keys and values evenly: choose a divisor of 4"),
    ({"n_kv_head": 8}, "4 heads of queries cannot share 8 heads of keys and values evenly: choose a divisor of 4"),
    ({"n_embd": 12}, "rotary positions turn pairs of features, and each head has 3: choose a width that is a multiple of 8"),
    ({"activation": "relu"}, "the activation of swiglu is always silu, so relu cannot be chosen for it"),
])
def test_the_sentence_says_what_to_choose(wrong, message):
    with pytest.raises(ValueError) as error:
        replace(LLAMA, **wrong)
    assert str(error.value) == message


# ---- what fits

def test_a_config_is_itself_again_after_json():
    configs = mixtures(200, seed=7)
    assert len(set(configs)) == 200
    for config in configs:
        meta = json.loads(json.dumps(config.to_json()))
        assert Config(**meta) == config and hash(Config(**meta)) == hash(config)
        assert meta.keys() >= LARGEST.keys()
        usual = asdict(Config(*(meta[name] for name in LARGEST)))
        assert all(value != usual[name] for name, value in meta.items() if name not in LARGEST)


def test_numbers_of_numpy_are_taken_as_numbers():
    config = Config(np.int64(11), np.uint8(7), np.int16(2), np.int32(4), np.int64(16), np.int8(2), np.int64(9), tied=False,
                    rope_base=np.float64(50), norm_eps=np.float32(0.5))
    assert config == replace(GOOD, n_hidden=9, tied=False, rope_base=50.0, norm_eps=0.5)
    assert all(type(value) in (int, float, bool, str) for value in asdict(config).values())
    assert replace(GOOD, rope_base=50) == replace(GOOD, rope_base=50.0)


@pytest.mark.parametrize("config", mixtures(12, seed=8), ids=range(12))
def test_a_model_of_any_mixture_comes_back_from_its_file(config, tmp_path, rng):
    model = GPT(config, rng)
    save_model(tmp_path / "model.npz", model, CharTokenizer.of(LETTERS[:config.vocab_size]))
    loaded = load(tmp_path / "model.npz").model
    tokens = rng.integers(0, config.vocab_size, (2, config.context))
    assert loaded.config == config and fingerprint(loaded) == fingerprint(model)
    assert np.array_equal(loaded.logits(tokens), model.logits(tokens))


WITH_BIASES = {"all": {"attn", "mlp"}, "attention": {"attn"}, "mlp": {"mlp"}, "none": set()}


@pytest.mark.parametrize("biases", BIASES)
@pytest.mark.parametrize("mlp", ["mlp", "swiglu"])
def test_where_there_is_no_bias_there_is_no_parameter(biases, mlp):
    with_bias = WITH_BIASES[biases]
    model = GPT(replace(GOOD, norm="rmsnorm", biases=biases, mlp=mlp), np.random.default_rng(0))
    names = [name for name in model.parameters() if name.endswith(".bias")]
    assert {name.split(".")[2] for name in names} == with_bias and len(names) == 2 * 2 * len(with_bias)


@pytest.mark.parametrize("config", [GOOD, LLAMA], ids=["gpt2", "llama"])
def test_weights_start_as_small_as_in_gpt2(config):
    """With a standard deviation of 0.02, and smaller where they write into the residual stream; gains are 1, biases 0."""
    model = GPT(replace(config, n_embd=64, n_hidden=90, vocab_size=200, context=200, n_layer=3), np.random.default_rng(0))
    for name, p in model.parameters().items():
        if p.data.ndim == 1:
            assert (p.data == name.endswith(".weight")).all(), name
        else:
            writes = name.endswith(("attn.proj.weight", "mlp.proj.weight", "mlp.down.weight"))
            assert p.data.std() == pytest.approx(0.02 / np.sqrt(6 if writes else 1), rel=0.05), name


def test_of_a_model_as_gpt2_a_file_says_no_more_than_ever():
    """So the fingerprints of older models stay what they were."""
    assert Config(11, 7).to_json() == {"vocab_size": 11, "context": 7, "n_layer": 4, "n_head": 4, "n_embd": 128}


def test_eps_and_base_reach_every_layer_that_has_one():
    model = GPT(LLAMA, np.random.default_rng(0))
    assert {module.eps for _, module in model.modules() if module.kind == "norm"} == {1e-3}
    assert [block.attn.rotary.base for block in model.blocks] == [50.0, 50.0]
    assert GPT(GOOD, np.random.default_rng(0)).blocks[0].attn.rotary is None


# ---- a Config in a file that somebody has edited

@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file of a model in which nothing is as in GPT-2."""
    path = tmp_path_factory.mktemp("file") / "model.npz"
    save_model(path, GPT(LLAMA, np.random.default_rng(0)), CharTokenizer.of(LETTERS[:11]))
    return path


@pytest.mark.parametrize("changed", [
    *({"norm_eps": value} for value in (0, -1e-5, 1.5, "1e-5", None, float("nan"), HUGE, True)),
    *({"rope_base": value} for value in (0, -1, 1e13, [10], float("inf"))),
    *({"tied": value} for value in (0, 1, None, "no")),
    *({"n_kv_head": value} for value in (0, 3, 8, 1001, "2", 2.0, [2])),
    *({"n_hidden": value} for value in (0, -1, 10.0, 1_000_001, {})),
    *({part: value} for part in PARTS for value in ("nonsense", None, 1, [], ["none"], {})),
    {"activation": "relu"}, {"n_embd": 12}, {"something": 1},
    # these fit by themselves, but not the weights in the file
    *({"n_kv_head": value} for value in (1, 4, None)), *({"n_hidden": value} for value in (9, 20, None)), {"tied": True},
    *({"biases": value} for value in ("all", "attention", "mlp")),
    {"mlp": "mlp"}, {"positions": "learned"}, {"norm": "layernorm"},
], ids=lambda changed: str(changed)[:40])
def test_a_file_whose_config_is_not_that_of_its_model_is_refused(changed, file, tmp_path):
    arrays, meta = read_arrays(file, "model")
    write_arrays(tmp_path / "other.npz", arrays, meta | {"config": meta["config"] | changed})
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "other.npz")
    assert str(tmp_path / "other.npz") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("left_out", ["tied", "norm", "mlp", "positions", "biases", "n_kv_head", "n_hidden"])
def test_so_is_one_that_says_less_than_it_should(left_out, file, tmp_path):
    arrays, meta = read_arrays(file, "model")
    del meta["config"][left_out]
    write_arrays(tmp_path / "other.npz", arrays, meta)
    with pytest.raises(CheckpointError, match="does not describe the model that it holds|does not hold what it should"):
        load(tmp_path / "other.npz")


def test_the_same_weights_are_another_model_if_eps_or_base_are_others():
    models = [GPT(replace(LLAMA, **other), np.random.default_rng(0)) for other in ({}, {"norm_eps": 1e-4}, {"rope_base": 60.0})]
    assert len(set(map(fingerprint, models))) == 3


# ---- on the command line

def architecture(*options):
    """The Config that the options of `minillm pretrain` choose."""
    args = parser().parse_args(["pretrain", *map(str, options)])
    return Config(vocab_size=11, context=7, n_layer=args.layers, n_head=args.heads, n_embd=args.width,
                  **architecture_of(args, args.context or 7))


USUAL = architecture()
BY_DEFAULT = replace(USUAL, **ARCHITECTURES["llama"], rope_base=LEAST_BASE)


@pytest.mark.parametrize("options, expected", [
    ([], Config(11, 7)),
    (["--arch", "gpt2"], Config(11, 7)),
    (["--arch", "llama"], BY_DEFAULT),
    (["--arch", "llama", "--kv-heads", 2, "--heads", 8], replace(BY_DEFAULT, n_head=8, n_kv_head=2)),
    (["--arch", "llama", "--hidden", 50], replace(BY_DEFAULT, n_hidden=50)),
    (["--arch", "llama", "--rope-base", "1e4"], replace(BY_DEFAULT, rope_base=10_000.0)),
    (["--arch", "llama", "--untied"], replace(BY_DEFAULT, tied=False)),
    (["--arch", "llama", "--norm", "layernorm"], replace(BY_DEFAULT, norm="layernorm")),
    (["--arch", "llama", "--positions", "learned"], replace(USUAL, **ARCHITECTURES["llama"] | {"positions": "learned"})),
    (["--arch", "llama", "--mlp", "mlp", "--activation", "relu"], replace(BY_DEFAULT, mlp="mlp", activation="relu")),
    (["--arch", "llama", "--biases", "attention"], replace(BY_DEFAULT, biases="attention")),
    (["--positions", "rotary", "--rope-base", 7], replace(USUAL, positions="rotary", rope_base=7.0)),
    (["--positions", "rotary"], replace(USUAL, positions="rotary", rope_base=LEAST_BASE)),
    (["--positions", "rotary", "--context", 2048], replace(USUAL, positions="rotary", rope_base=2048.0)),
    (["--mlp", "swiglu", "--biases", "none", "--kv-heads", 1], replace(USUAL, mlp="swiglu", biases="none", n_kv_head=1)),
    (["--norm", "rmsnorm", "--untied", "--hidden", 9], replace(USUAL, norm="rmsnorm", tied=False, n_hidden=9)),
], ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "")
def test_options_choose_the_parts(options, expected):
    assert architecture(*options) == expected


@pytest.mark.parametrize("options, words", [
    (["--arch", "bert"], ["--arch", "gpt2", "llama"]),
    *(([f"--{part}", "nonsense"], [f"--{part}", *choices]) for part, choices in PARTS.items()),
    *(([option, value], [option]) for option in ("--kv-heads", "--hidden", "--rope-base")
      for value in (0, -1, "two", "nan", "1e13")),
    (["--hidden", 2.5], ["--hidden"]),
    (["--rope-base", 10], ["--rope-base", "--positions rotary"]),
    (["--arch", "llama", "--positions", "learned", "--rope-base", 10], ["--rope-base", "--positions rotary"]),
    (["--arch", "llama", "--activation", "gelu"], ["--activation", "swiglu always has silu"]),
    (["--mlp", "swiglu", "--activation", "relu"], ["--activation", "swiglu always has silu"]),
    (["--heads", 4, "--kv-heads", 3, "--width", 16], ["4 heads of queries", "3 heads of keys", "divisor of 4"]),
    (["--heads", 2, "--kv-heads", 4], ["2 heads of queries", "4 heads of keys"]),
    (["--arch", "llama", "--heads", 4], ["pairs", "has 3", "multiple of 8"]),      # at a width of 12
    (["--positions", "rotary", "--heads", 12], ["pairs", "has 1", "multiple of 24"]),
    (["--arch", "llama", "--hidden", 1_000_000, "--layers", 1000, "--width", 99_840], ["memory"]),
], ids=lambda value: " ".join(map(str, value)))
def test_options_that_do_not_fit_are_refused_in_one_sentence(options, words, tmp_path):
    refused(tmp_path, "pretrain", *TINY, *options, "--steps", 1, "--out", tmp_path / "runs", words=words)


def test_help_explains_each_option():
    out = " ".join(run("pretrain", "--help")[1].split())
    for option in ("--arch {gpt2,llama}", "--kv-heads N", "--hidden N", "--rope-base N", "--untied",
                   *(f"--{part} {{{','.join(choices)}}}" for part, choices in PARTS.items())):
        assert option in out
    assert f"at least {LEAST_BASE:g})" in out and "minillm pretrain --arch llama --kv-heads 2" in out
