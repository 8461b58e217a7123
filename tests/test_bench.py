"""The benchmarks measure what they say: nothing here is timed, everything is counted."""

import importlib
import itertools
import json
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from minillm import bench
from minillm.bench import SIZES, Size
from minillm.commands.app import main
from minillm.commands.bench import SIZES as OFFERED
from minillm.nn import GPT
from minillm.nn.module import NO_BACKWARD
from minillm.train.costs import activation_bytes, buffers, training_state_bytes

BENCHMARKS = Path(__file__).parent / "benchmarks"
ODD = Size("odd", layers=3, width=12, heads=3, context=5, batch=7, vocabulary=11)


@pytest.fixture
def tiny(monkeypatch):
    """The four sizes under their names, but each so small that it takes no time."""
    for i, name in enumerate(SIZES):
        monkeypatch.setitem(SIZES, name, Size(name, 1, 8 + 4 * i, 2, 6, 3))
    monkeypatch.setattr(bench, "SETTLE", 0.0)
    monkeypatch.setattr(bench, "TURN", 0.0)


@pytest.fixture
def benchmark(monkeypatch):
    """The module of a script in tests/benchmarks/."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


# ---- the command

def run(capsys, *args):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--seconds", "0.001", "--workers", "2", *args])
    assert not stop.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("names", [["lesson"], ["large", "medium"], list(SIZES)], ids=" ".join)
def test_a_row_for_each_size_asked_for(tiny, capsys, names):
    out = run(capsys, *(["--size", *names] if names != list(SIZES) else []))
    table = out.split("\n\n")[2].splitlines()
    assert table[0].startswith("size") and "step ms" in table[0] and "floor ms" in table[0]
    assert [line.split()[0] for line in table[1:]] == names
    assert all(len(line.split()) == 7 for line in table[1:])


def test_a_row_for_each_method(tiny, capsys):
    table = run(capsys, "--size", "nano").rstrip().split("\n\n")[-1].splitlines()
    assert [line.split("   ")[0].strip() for line in table[1:]] == list(bench.METHODS)


def test_the_answer_in_json(tiny, capsys):
    report = json.loads(run(capsys, "--size", "lesson", "nano", "--json").splitlines()[-1])
    assert [row["size"] for row in report["sizes"]] == ["lesson", "nano"]
    assert {row["size"] for row in report["methods"]} == {"nano"}
    assert report["machine"] == bench.machine() and all(report["machine"].values())


def test_the_options_know_the_sizes():
    assert tuple(SIZES) == OFFERED


# ---- the floor

def flops(products):
    return sum(2 * out.size * a.shape[-1] for a, _, out in products)


@pytest.mark.parametrize("size", [SIZES["lesson"], SIZES["nano"], ODD], ids=str)
def test_the_floor_has_the_operations_of_a_step(size):
    """6 for each weight and token, but for those of the embeddings on the way in; and attention's six products."""
    parameters = GPT(size.config, np.random.default_rng(0)).parameters()
    N = sum(p.size for name, p in parameters.items() if p.data.ndim == 2 and name != "wpe.weight")
    attention = 6 * 2 * size.batch * size.layers * size.context**2 * size.width
    assert size.flops == 6 * N * size.batch * size.context + attention
    assert flops(bench.products(size, size.batch)) == size.flops


@pytest.mark.parametrize("n", [1, 2, 3, 10])
def test_workers_share_the_floor(n):
    floor = bench.MatrixProducts(ODD, n)
    parts = [bench.products(ODD, rows) for rows in floor.rows]
    assert len(parts) == n and sum(map(flops, parts)) == ODD.flops
    floor.step()
    assert list(floor.products) == [0] or floor.team.n == len(floor.products)


def test_every_product_can_be_done():
    for a, b, out in bench.products(ODD, 2):
        assert (a @ b).shape == out.shape and a.dtype == b.dtype == out.dtype == np.float32


# ---- taking turns

def test_contenders_take_turns(monkeypatch):
    monkeypatch.setattr(bench, "SETTLE", 0.0)
    calls = []
    times = bench.interleave({name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3, steps=2)
    turns = [(name, len(list(group))) for name, group in itertools.groupby(calls)]
    assert turns == [(name, 3) for name in "abc"] * 3      # the first of each is not counted
    assert {name: len(seconds) for name, seconds in times.items()} == dict.fromkeys("abc", 6)


def test_a_short_step_is_repeated_until_the_others_have_fallen_asleep(monkeypatch):
    monkeypatch.setattr(bench, "SETTLE", 0.02)
    calls = []
    monkeypatch.setattr(bench.time, "perf_counter", lambda: 0.001 * len(calls))      # a millisecond a step
    times = bench.interleave({"a": lambda: calls.append(None)}, rounds=1, steps=1)
    assert 20 <= len(calls) <= 23 and times["a"] == [pytest.approx(0.001)]


def test_a_budget_is_at_least_two_rounds_of_one_step():
    contenders = {"a": lambda: None, "b": lambda: sum(range(1000))}
    rounds, steps = bench.plan_turns(contenders, budget=0.0)
    assert rounds == 2 and steps >= 1


# ---- memory

Pair = namedtuple("Pair", "x rest")


def test_a_block_is_counted_once():
    a, b = np.zeros((4, 6), np.float32), np.zeros(5)
    views = [a[1:], a.T, a.reshape(-1), a.reshape(2, 12)[:, ::2]]
    nested = Pair(a, [None, True, (b, {"again": b, "views": views}), Pair(a[:0], ())])
    assert sum(buffers(nested).values()) == a.nbytes + b.nbytes
    assert sum(buffers(views[0]).values()) == a.nbytes      # a view keeps all of its buffer alive


class Box:
    """A cache of a kind that nobody can look into."""

    def __init__(self, array):
        self.array = array


@pytest.mark.parametrize("wrap", [Box, lambda array: (None, {"inside": [Box(array)]}), lambda array: {1, 2}])
def test_a_cache_of_an_unknown_kind_is_not_counted_as_nothing(wrap):
    with pytest.raises(TypeError, match="a cache with a (Box|set) in it cannot be measured: a cache is made of arrays"):
        buffers([np.zeros(3), wrap(np.zeros(5))])
    assert not buffers([None, 1, 2.5, True, np.float32(1), "name", slice(3), NO_BACKWARD, (), {}])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("method", bench.METHODS)
def test_gradients_and_optimizer_are_proportional_to_what_trains(method, workers):
    trainer = bench.new_trainer(SIZES["lesson"], workers, bench.METHODS[method])
    trainer.step(*SIZES["lesson"].batch_of_noise())
    trains = sum(p.size for p in trainer.model.trainable_parameters().values())
    gradients_and_moments = workers + 2
    assert training_state_bytes(trainer) == pytest.approx(4 * trains * gradients_and_moments, rel=0.05)


def test_activations_are_no_weights_and_fewer_where_less_trains():
    size, activations = SIZES["lesson"], {}
    for name, recipe in bench.METHODS.items():
        model = bench.new_trainer(size, 1, recipe).model
        activations[name], twice = (activation_bytes(model, np.zeros((B, size.context), int)) for B in (3, 6))
        assert 1.7 * activations[name] < twice <= 2 * activations[name]  # in proportion to the batch: no weights among them
    assert all(activations["last block and final norm"] < activations[name] < activations["full"]
               for name in ("adapters", "biases", "norms"))


# ---- the scripts

SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if "def measure(" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_benchmark_says_how_it_is_run(benchmark, name):
    module = benchmark(name)
    assert f"python tests/benchmarks/{name}.py" in module.__doc__ and callable(module.main)


@pytest.mark.parametrize("name, settings", [
    ("forward", {"rounds": 1, "sizes": ["lesson"]}), ("training_step", {"rounds": 1, "sizes": ["lesson"]}),
    ("surface_grid", {"rounds": 1, "points": 3}), ("scaling", {"rounds": 1, "over": ["batch"]}),
    ("tokenizer", {"rounds": 1, "size": 300, "length": 2000}),
    ("shakespeare", {"text": str(BENCHMARKS / "README.md"), "seconds": 0.05, "seeds": 1, "tokenizers": ["bpe:size=300"],
                     "batch": 2})])
def test_a_benchmark_makes_a_table(tiny, benchmark, monkeypatch, name, settings):
    report = benchmark("report")
    monkeypatch.setattr(report, "installed", lambda module, name: module == "minillm")
    table = report.markdown(benchmark(name).measure(**settings)).splitlines()
    assert len(table) > 2 and len({line.count("|") for line in table}) == 1


BLOCK = "block = bytearray(b'x') * 50_000_000"
HELD = "here.touch()\n{indent}while not seen.exists() and time.monotonic() < until: time.sleep(0.005)"
START = "import os, time; from pathlib import Path; here, seen, until = Path({!r}), Path({!r}), time.monotonic() + 120"
FORK = f"if not os.fork():\n    {{}}; {HELD.format(indent='    ')}\n    os._exit(0)\nos.wait()"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the system does not tell")
@pytest.mark.parametrize("code", [f"{BLOCK}; {HELD.format(indent='')}", f"{BLOCK}\n{FORK.format('pass')}", FORK.format(BLOCK)],
                         ids=["own", "shared", "child's"])
def test_memory_is_that_of_the_whole_family(benchmark, code, tmp_path, monkeypatch):
    """Pages that two processes share count once, and so do those that only a child has. All is held until it has been seen."""
    memory, here, seen = benchmark("memory"), tmp_path / "here", tmp_path / "seen"
    look = memory.proportional_set_size

    def looked(pid):
        held, size = here.exists(), look(pid)
        if held and size:
            seen.touch()
        return size

    monkeypatch.setattr(memory, "proportional_set_size", looked)
    assert 50e6 < memory.peak(f"{START.format(str(here), str(seen))}\n{code}") < 80e6


def test_pytorchs_gpt_is_the_same_function(benchmark):
    """Weights of ours in PyTorch's model give the same logits: both do the same work."""
    torch = pytest.importorskip("torch")
    model = GPT(ODD.config, np.random.default_rng(1))
    other = benchmark("pytorch_gpt").GPT(ODD)
    theirs = {"attn.qkv": "qkv", "attn.proj": "proj", "mlp.fc": "mlp.0", "mlp.proj": "mlp.2"}
    state = {}
    for name, array in model.state_dict().items():
        for ours, its in theirs.items():
            name = name.replace(ours, its)
        linear = array.ndim == 2 and name.startswith("blocks")
        state[name] = torch.from_numpy(np.ascontiguousarray(array.T) if linear else array)
    other.load_state_dict(state)
    tokens, _ = ODD.batch_of_noise()
    with torch.no_grad():
        np.testing.assert_allclose(other(torch.from_numpy(tokens)).numpy(), model.logits(tokens), atol=1e-5)
