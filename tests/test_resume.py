"""Interrupted is not lost: a run that goes on ends with the very bits of one that was never stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from minillm.commands.app import main
from minillm.finetune.methods import METHODS, recipe_of
from minillm.finetune.remedies import REMEDIES, remedy_of
from minillm.ground.arrays import read_arrays, write_arrays
from minillm.ground.files import CheckpointError
from minillm.ground.locks import alone
from minillm.runs.finetuning import finetune
from minillm.runs.pretraining import pretrain
from minillm.runs.saved import load
from minillm.tasks.text import TextTask
from minillm.train import fit as fit_module
from minillm.train.fit import Interrupted
from minillm.train.optimizers import OPTIMIZERS, SGD, AdamW
from minillm.train.optimizers.muon import Muon
from minillm.train.trainer import Diverged, Trainer

CONFIG = {"context": 24, "n_layer": 2, "n_head": 2, "n_embd": 12}
SIZES = ["--layers", "2", "--heads", "2", "--width", "16", "--batch", "4", "--workers", "2"]
WAIT = 300     # seconds for a subprocess, on a busy machine


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A text of some thousand characters with something to learn in it."""
    rng = np.random.default_rng(0)
    words = "the mill turns and the river runs on under a grey sky while nobody looks".split()
    path = tmp_path_factory.mktemp("text") / "mill.txt"
    path.write_text("\n".join(" ".join(rng.choice(words, 8)) for _ in range(120)))
    return path


def assert_same_arrays(path, other):
    (actual, _), (wanted, _) = read_arrays(path), read_arrays(other)
    assert list(actual) == list(wanted)
    for name, array in wanted.items():
        assert actual[name].dtype == array.dtype and np.array_equal(actual[name], array), name


def no_leftovers(folder):
    """Neither the state of an unfinished run nor a temporary file."""
    return not [path.name for path in folder.iterdir() if ".training" in path.name or path.name.startswith(".")]


# ---- the real thing: processes and signals

# Runs a `minillm` up to the end of its 7th step, and waits there for Ctrl-C, or for worse: on a busy machine all steps could be
# done before a signal that is sent at some time. The file that is named first says that it waits.
UP_TO_SEVEN = """
import pathlib, signal, sys, time
from minillm.commands.app import main
from minillm.train.trainer import Trainer
whole, here = Trainer.step, pathlib.Path(sys.argv.pop(1))

def step(self, *batch):
    loss = whole(self, *batch)
    if self.steps_done == 7:
        heard, before = [], signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, lambda *what: heard.append(what))
        here.touch()
        while not heard:
            time.sleep(0.005)
        signal.signal(signal.SIGINT, before)
        before(*heard[0])
    return loss

Trainer.step = step
main()
"""


class Started:
    """A Python in a process of its own."""

    def __init__(self, *args):
        self.process = subprocess.Popen([sys.executable, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})

    def wait_for(self, path):
        end = time.monotonic() + WAIT
        while not path.exists():
            assert self.process.poll() is None, f"ended before {path} appeared: {self.process.communicate()}"
            assert time.monotonic() < end, f"{path} did not appear"
            time.sleep(0.005)
        return self

    def send(self, signum):
        self.process.send_signal(signum)
        return self

    def end(self):
        """exit code, standard output, standard error"""
        out, err = self.process.communicate(timeout=WAIT)
        return self.process.returncode, out, err


def cut_short(request, folder, signum, *args):
    """exit code, standard error of a run into this folder that gets a signal after its 7th step; it saves itself after each 5."""
    here = folder / "here"
    one = Started("-c", UP_TO_SEVEN, here, *args, "--save-every", 5, "--out", folder)
    request.addfinalizer(one.process.kill)
    code, _, err = one.wait_for(here).send(signum).end()
    return code, err


def steps_done(checkpoint):
    return read_arrays(checkpoint)[1]["steps_done"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A folder with a pretraining and an adapter that nobody interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    assert run("pretrain", *SIZES, "--steps", 20, "--out", folder) == 0
    assert run("finetune", *ADAPTER, "--base", folder / "pretrained.npz") == 0
    return folder


ADAPTER = ["--method", "adapter:bottleneck=4", "--documents", "8", "--batch", "4", "--workers", "2", "--steps", "20"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_pretraining_stopped_and_resumed_ends_with_the_same_bits(signum, straight, tmp_path, request):
    checkpoint = tmp_path / "pretrained.training.npz"
    code, err = cut_short(request, tmp_path, signum, "pretrain", *SIZES, "--steps", 20)
    assert not (tmp_path / "pretrained.npz").exists()
    assert steps_done(checkpoint) == (7 if signum == signal.SIGINT else 5)
    if signum == signal.SIGINT:
        assert code == 130
        assert "interrupted after step 7" in err and "--resume" in err and str(checkpoint) in err
        assert "Traceback" not in err
    assert run("pretrain", "--resume", "--out", tmp_path) == 0
    assert_same_arrays(tmp_path / "pretrained.npz", straight / "pretrained.npz")
    histories = [load(folder / "pretrained.npz").meta["history"] for folder in (tmp_path, straight)]
    assert histories[0] == histories[1] and len(histories[0]["loss"]) == 20
    assert not checkpoint.exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_an_adapter_stopped_and_resumed_ends_with_the_same_bits_and_the_same_way(signum, straight, tmp_path, request):
    checkpoint, base = tmp_path / "adapter.training.npz", straight / "pretrained.npz"
    code, err = cut_short(request, tmp_path, signum, "finetune", *ADAPTER, "--base", base)
    assert steps_done(checkpoint) == (7 if signum == signal.SIGINT else 5)
    assert signum == signal.SIGKILL or (code == 130 and "--resume" in err and "Traceback" not in err)
    assert run("finetune", "--resume", "--base", base, "--method", "adapter:bottleneck=4", "--out", tmp_path) == 0
    assert_same_arrays(tmp_path / "adapter.npz", straight / "adapter.npz")
    assert_same_arrays(tmp_path / "adapter.trajectory.npz", straight / "adapter.trajectory.npz")
    histories = [read_arrays(folder / "adapter.trajectory.npz")[1]["history"] for folder in (tmp_path, straight)]
    assert histories[0] == histories[1] and len(histories[0]["loss"]) == 20
    assert not checkpoint.exists()


# ---- --resume on the command line, in this process

@pytest.fixture
def cut(monkeypatch):
    """cut(n): make every run end after its n-th step, as by Ctrl-C. cut(None): no more."""
    whole = Trainer.step

    def set_cut(n):
        def step(self, tokens, targets):
            loss = whole(self, tokens, targets)
            if self.steps_done == n:
                signal.raise_signal(signal.SIGINT)
            return loss
        monkeypatch.setattr(Trainer, "step", step if n else whole)

    return set_cut


def run(*args):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, args)))
    return stop.value.code


def command(text, out, *more, steps=20):
    return ["pretrain", "--text", text, "--context", 24, *SIZES, "--steps", steps, "--out", out, *more]


@pytest.fixture
def unfinished_run(text, tmp_path, cut):
    """A folder with a run of 20 steps that was interrupted after the 7th."""
    cut(7)
    assert run(*command(text, tmp_path)) == 130
    cut(None)
    return tmp_path


def only_line(capsys):
    """What stands on standard error: one sentence."""
    err = capsys.readouterr().err.strip()
    assert err.startswith("minillm pretrain: ") and "\n" not in err
    return err


def test_ctrl_c_ends_after_a_whole_step_and_says_how_to_go_on(text, tmp_path, cut, capsys):
    before = signal.getsignal(signal.SIGINT)
    cut(7)
    assert run(*command(text, tmp_path)) == 130
    err = capsys.readouterr().err
    assert "interrupted after step 7" in err and "--resume" in err and "pretrained.training.npz" in err
    assert steps_done(tmp_path / "pretrained.training.npz") == 7
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def cut_twice(monkeypatch):
    """Ctrl-C twice before the eighth step."""
    whole = Trainer.step

    def step(self, tokens, targets):
        if self.steps_done == 7:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return whole(self, tokens, targets)

    monkeypatch.setattr(Trainer, "step", step)


def test_ctrl_c_twice_in_a_hurry_is_one_wish(text, tmp_path, cut_twice, capsys):
    before = signal.getsignal(signal.SIGINT)
    assert run(*command(text, tmp_path, "--save-every", 3)) == 130
    assert "interrupted after step 8. Saved in" in capsys.readouterr().err
    assert steps_done(tmp_path / "pretrained.training.npz") == 8
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_again_after_a_while_stops_at_once_and_keeps_what_was_saved(text, tmp_path, cut_twice, monkeypatch, capsys):
    monkeypatch.setattr("minillm.ground.interrupts.REPEAT_SECONDS", -1.0)
    before = signal.getsignal(signal.SIGINT)
    assert run(*command(text, tmp_path, "--save-every", 3)) == 130
    assert capsys.readouterr().err.strip() == "minillm: interrupted."
    assert steps_done(tmp_path / "pretrained.training.npz") == 6
    assert signal.getsignal(signal.SIGINT) is before


def test_the_options_of_the_interrupted_run_hold(unfinished_run, text, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    assert run("pretrain", "--resume", "--out", unfinished_run) == 0
    assert run(*command(text, other)) == 0
    assert_same_arrays(unfinished_run / "pretrained.npz", other / "pretrained.npz")
    assert no_leftovers(unfinished_run)


def test_interrupted_again_and_again(text, tmp_path, cut, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    for n in (1, 5, 19, 20):
        cut(n)
        assert run(*(command(text, tmp_path) if n == 1 else ["pretrain", "--resume", "--out", tmp_path])) == 130
        assert steps_done(tmp_path / "pretrained.training.npz") == n
    cut(None)
    assert run("pretrain", "--resume", "--out", tmp_path) == 0
    assert run(*command(text, other)) == 0
    assert_same_arrays(tmp_path / "pretrained.npz", other / "pretrained.npz")
    assert load(tmp_path / "pretrained.npz").meta["history"] == load(other / "pretrained.npz").meta["history"]


LLAMA = ["--arch", "llama", "--kv-heads", 1, "--hidden", 9, "--rope-base", 33, "--untied", "--biases", "mlp"]


def test_the_options_that_choose_the_parts_hold_as_well(text, tmp_path, cut, capsys):
    cut(3)
    assert run(*command(text, tmp_path / "cut", *LLAMA, steps=6)) == 130
    cut(None)
    for option, value in (("--arch", "gpt2"), ("--kv-heads", 2), ("--rope-base", 34), ("--norm", "layernorm")):
        capsys.readouterr()
        assert run("pretrain", "--resume", option, value, "--out", tmp_path / "cut") == 2
        assert option in only_line(capsys)
    assert run("pretrain", "--resume", "--kv-heads", 1, "--out", tmp_path / "cut") == 0
    assert run(*command(text, tmp_path / "straight", *LLAMA, steps=6)) == 0
    assert_same_arrays(tmp_path / "cut" / "pretrained.npz", tmp_path / "straight" / "pretrained.npz")
    config = load(tmp_path / "cut" / "pretrained.npz").model.config
    assert (config.n_kv_head, config.n_hidden, config.rope_base, config.tied, config.biases) == (1, 9, 33.0, False, "mlp")


@pytest.mark.parametrize("steps", [20, 21])
def test_a_new_run_does_not_wipe_out_an_unfinished_one(steps, unfinished_run, text, capsys):
    before = (unfinished_run / "pretrained.training.npz").read_bytes()
    capsys.readouterr()
    assert run(*command(text, unfinished_run, steps=steps)) == 2
    err = only_line(capsys)
    assert "an interrupted run" in err and "--resume" in err and "pretrained.training.npz" in err
    assert (unfinished_run / "pretrained.training.npz").read_bytes() == before


@pytest.mark.parametrize("option, value, saved", [
    ("--steps", 21, 20), ("--width", 24, 16), ("--lr", 0.5, None), ("--seed", 2, 1)])
def test_an_option_that_differs_is_refused_and_named(option, value, saved, unfinished_run, capsys):
    before = (unfinished_run / "pretrained.training.npz").read_bytes()
    capsys.readouterr()
    assert run("pretrain", "--resume", "--out", unfinished_run, option, value) == 2
    err = only_line(capsys)
    assert f"{option} {saved}" in err and "--resume" in err
    assert (unfinished_run / "pretrained.training.npz").read_bytes() == before


def test_an_option_that_differs_is_refused_even_if_it_is_the_default(unfinished_run, capsys):
    capsys.readouterr()
    assert run("pretrain", "--resume", "--out", unfinished_run, "--width", 128) == 2
    assert "--width 16" in only_line(capsys)


def test_options_that_agree_can_be_repeated(unfinished_run, text):
    assert run(*command(text, unfinished_run, "--resume")) == 0


def test_nothing_to_resume(tmp_path, capsys):
    assert run("pretrain", "--resume", "--out", tmp_path) == 2
    assert "nothing to resume" in only_line(capsys)
    assert not list(tmp_path.iterdir())


def test_a_broken_file_cannot_be_resumed_and_is_kept(unfinished_run, capsys):
    checkpoint = unfinished_run / "pretrained.training.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    capsys.readouterr()
    assert run("pretrain", "--resume", "--out", unfinished_run) == 2
    assert "not a whole checkpoint" in only_line(capsys)
    assert checkpoint.stat().st_size == 5000


@pytest.fixture
def generalist(text, tmp_path):
    """The file of a model to be tuned."""
    assert run(*command(text, tmp_path / "base", steps=3)) == 0
    return tmp_path / "base" / "pretrained.npz"


def tuning(base, out, *more):
    return ["finetune", "--base", base, "--out", out, "--steps", 9, "--batch", 3, "--workers", 2, *more]


@pytest.mark.parametrize("options, enough", [
    (["--method", "lora:rank=2", "--remedy", "replay:share=1"], ["--method", "lora:rank=2"]),
    (["--method", "ulmfit", "--remedy", "wise:keep=0.1", "--lr", 0.01], []),
    (["--method", "ia3", "--remedy", "ewc:documents=4,strength=1e4", "--name", "mine"], ["--name", "mine"])], ids=str)
def test_a_tuning_that_is_resumed_has_the_method_and_the_remedy_it_had(options, enough, generalist, text, tmp_path, cut):
    """To find the file its name must be known, which may follow from the method; nothing else need be said again."""
    one, other = tmp_path / "one", tmp_path / "other"
    cut(4)
    assert run(*tuning(generalist, one, "--text", text, *options)) == 130
    cut(None)
    assert run("finetune", "--base", generalist, "--out", one, "--resume", *enough) == 0
    assert run(*tuning(generalist, other, "--text", text, *options)) == 0
    [path] = [path for path in other.glob("*.npz") if "trajectory" not in path.name]
    assert_same_arrays(one / path.name, path)
    assert read_arrays(one / path.name)[1]["recipe"] == read_arrays(path)[1]["recipe"]
    without = [part for part in options if part != "--remedy" and part not in options[options.index("--remedy") + 1:][:1]]
    assert run(*tuning(generalist, tmp_path / "without", "--text", text, *without)) == 0
    weights = [np.concatenate([array.reshape(-1) for array in read_arrays(file)[0].values()])
               for file in (path, tmp_path / "without" / path.name)]
    assert not np.array_equal(*weights)                          # so the remedy does something, and it is not lost


def test_another_method_cannot_be_resumed_with(generalist, text, tmp_path, cut, capsys):
    cut(4)
    assert run(*tuning(generalist, tmp_path, "--text", text, "--method", "lora:rank=2")) == 130
    cut(None)
    capsys.readouterr()
    for method in ("lora", "lora:rank=4"):
        assert run("finetune", "--base", generalist, "--out", tmp_path, "--resume", "--method", method) == 2
        assert "--method lora:rank=2; --resume cannot change that" in capsys.readouterr().err


# ---- what a run is made from must be what it was

def test_another_base_of_the_same_shape_is_refused_and_named(generalist, text, tmp_path, cut, capsys):
    other = tmp_path / "other"
    assert run(*command(text, other, steps=4)) == 0
    cut(4)
    assert run(*tuning(generalist, tmp_path / "out", "--text", text)) == 130
    cut(None)
    capsys.readouterr()
    before = (tmp_path / "out" / "full.training.npz").read_bytes()
    generalist.write_bytes((other / "pretrained.npz").read_bytes())
    assert run("finetune", "--base", generalist, "--out", tmp_path / "out", "--resume") == 2
    err = capsys.readouterr().err
    assert "belongs to another run: it was begun with base" in err and err.count("\n") == 1
    assert (tmp_path / "out" / "full.training.npz").read_bytes() == before


def test_a_text_that_has_changed_is_refused_and_named(text, tmp_path, cut, capsys):
    own = tmp_path / "own.txt"
    own.write_text(text.read_text())
    cut(4)
    assert run(*command(own, tmp_path / "out")) == 130
    cut(None)
    own.write_text(text.read_text().replace("mill", "moll"))
    capsys.readouterr()
    assert run("pretrain", "--resume", "--out", tmp_path / "out") == 2
    assert "belongs to another run: the text that it learns has changed since it was begun" in capsys.readouterr().err


def test_a_text_that_has_moved_is_the_same_text(text, tmp_path, cut, tmp_path_factory):
    own, other = tmp_path / "own.txt", tmp_path_factory.mktemp("other")
    own.write_text(text.read_text())
    cut(4)
    assert run(*command(own, tmp_path / "out")) == 130
    cut(None)
    pretrained_again = pretrain(TextTask(text, workers=2), {"context": 24, "n_layer": 2, "n_head": 2, "n_embd": 16},
                                tmp_path / "out" / "pretrained.npz", optimizer=Muon(), steps=20, batch=4, seed=1)
    assert run(*command(text, other)) == 0
    assert_same_arrays(tmp_path / "out" / "pretrained.npz", other / "pretrained.npz")
    assert pretrained_again.meta["task"]["digest"] == load(other / "pretrained.npz").meta["task"]["digest"]


def test_the_number_of_workers_is_that_of_the_run_whatever_machine_goes_on(text, tmp_path, cut, monkeypatch, capsys):
    """By default one for each core: two here, and three there. Sums in another order would have other bits."""
    arguments = command(text, tmp_path / "out")
    del arguments[arguments.index("--workers"):arguments.index("--workers") + 2]
    monkeypatch.setattr("minillm.ground.processes.cores", lambda: 2)
    cut(4)
    assert run(*arguments) == 130
    cut(None)
    monkeypatch.setattr("minillm.ground.processes.cores", lambda: 3)
    assert read_arrays(tmp_path / "out" / "pretrained.training.npz")[1]["inputs"]["workers"] == 2
    capsys.readouterr()
    assert run("pretrain", "--resume", "--out", tmp_path / "out", "--workers", 3) == 2
    assert "it was begun with workers 2, and this is 3" in capsys.readouterr().err
    assert run("pretrain", "--resume", "--out", tmp_path / "out") == 0
    assert run(*command(text, tmp_path / "other")) == 0
    assert_same_arrays(tmp_path / "out" / "pretrained.npz", tmp_path / "other" / "pretrained.npz")


@pytest.mark.parametrize("optimizer, message", [(SGD, "rule Muon"), (lambda: Muon(lr=0.5), "lr 0.02"), (AdamW, "rule Muon")])
def test_another_optimizer_is_refused_before_anything_is_changed(optimizer, message, text, tmp_path, cut):
    cut(6)
    with pytest.raises(Interrupted):
        pretrained(text, tmp_path, Muon)
    cut(None)
    before = (tmp_path / "pretrained.training.npz").read_bytes()
    with pytest.raises(CheckpointError, match=f"belongs to another run: it was begun with optimizer {message}"):
        pretrained(text, tmp_path, optimizer)
    assert (tmp_path / "pretrained.training.npz").read_bytes() == before


def test_a_finished_run_is_called_finished(text, tmp_path, capsys):
    assert run(*command(text, tmp_path)) == 0
    assert run("pretrain", "--resume", "--out", tmp_path) == 2
    assert "pretrained.npz is finished" in capsys.readouterr().err


@pytest.mark.parametrize("change, words", [
    ({"steps": "Infinity"}, "steps"), ({"steps": float("inf")}, "steps"), ({"steps": 10 ** 400}, "steps"), ({"seed": -1}, "seed"),
    ({"lr": "high"}, "lr"), ({"width": [16]}, "width"), ({"optimizer": "magic"}, "optimizer"),
    ({"__class__": "x"}, "unrecognized"), ({"json": True, "workers": 0}, "workers"), ({"text": 7}, "7"),
    ({"run": "rm"}, "unrecognized"), ({"text": ""}, "text")], ids=str)
def test_options_in_a_file_are_checked_as_if_they_were_typed(change, words, unfinished_run, capsys):
    path = unfinished_run / "pretrained.training.npz"
    arrays, meta = read_arrays(path)
    write_arrays(path, arrays, meta | {"options": meta["options"] | change})
    capsys.readouterr()
    assert run("pretrain", "--resume", "--out", unfinished_run) == 2
    assert words in only_line(capsys)


@pytest.mark.parametrize("change", [
    {"steps_done": 21}, {"steps_done": 6}, {"steps_done": "7"}, {"steps_done": True}, {"history": []}, {"inputs": {}},
    {"history": {"loss": [1.0] * 7}}, {"history": {"loss": ["1"] * 7, "validation": []}}, {"options": []},
    {"inputs": {"workers": 10 ** 9}}], ids=str)
def test_a_run_in_progress_with_a_spoiled_meta_is_refused_in_a_sentence(change, unfinished_run, capsys):
    path = unfinished_run / "pretrained.training.npz"
    arrays, meta = read_arrays(path)
    write_arrays(path, arrays, meta | change)
    capsys.readouterr()
    assert run("pretrain", "--resume", "--out", unfinished_run) == 2
    assert str(path) in only_line(capsys)


def test_two_runs_in_one_folder(text, tmp_path, capsys):
    """The second is told, and the first ends as if it were alone."""
    with alone(tmp_path / "pretrained.npz"):
        assert run(*command(text, tmp_path)) == 2
    assert "another minillm is at work on" in only_line(capsys)
    assert run(*command(text, tmp_path)) == 0 and no_leftovers(tmp_path)


@pytest.mark.parametrize("name", ["pretrained.npz", "full.npz", "full.trajectory.npz"])
def test_a_file_of_that_name_that_is_not_ours_stays(name, generalist, text, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    np.savez(out / name, mine=np.arange(3))
    before = (out / name).read_bytes()
    capsys.readouterr()
    assert run(*(command(text, out) if name == "pretrained.npz" else tuning(generalist, out, "--text", text))) == 2
    assert "has not written it" in capsys.readouterr().err
    assert (out / name).read_bytes() == before and [path.name for path in out.iterdir()] == [name]


# ---- the same, one floor below: every optimizer, every recipe

def pretrained(text, folder, optimizer, steps=15, **more):
    return pretrain(TextTask(text, workers=1), CONFIG, folder / "pretrained.npz", optimizer=optimizer(), steps=steps, batch=3,
                    seed=4, workers=1, **more)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values())
def test_every_optimizer_goes_on_bit_for_bit(optimizer, text, tmp_path, cut):
    one, other = tmp_path / "one", tmp_path / "other"
    cut(6)
    with pytest.raises(Interrupted) as stop:
        pretrained(text, one, optimizer)
    assert stop.value.step == 6 and stop.value.saved == one / "pretrained.training.npz"
    cut(None)
    pretrained(text, one, optimizer)
    pretrained(text, other, optimizer)
    assert_same_arrays(one / "pretrained.npz", other / "pretrained.npz")
    assert no_leftovers(one)


@pytest.mark.parametrize("recipe, remedy", [
    ("adapter:bottleneck=3", "none"), ("frozen", "none"), ("ulmfit", "none"), ("lora", "replay"), ("full", "ewc:documents=4"),
    ("dora", "l2sp"), ("full", "wise"), *((method, "none") for method in METHODS if method not in ("adapter", "frozen", "full")),
    *(("full", remedy) for remedy in REMEDIES if remedy not in ("none", "ewc", "wise"))])
def test_every_recipe_goes_on_bit_for_bit_and_so_does_its_way(recipe, remedy, text, tmp_path, cut):
    """What a remedy draws back to is where the weights were before the first step, and not where the run went on."""
    base = pretrained(text, tmp_path, AdamW)
    task = TextTask(text, base.tokenizer, workers=1)

    def specialised(name):
        return finetune(base, tmp_path / "pretrained.npz", task, recipe_of(recipe), tmp_path / name, optimizer=AdamW(1e-2),
                        steps=15, batch=3, seed=4, workers=1, remedy=remedy_of(remedy))

    cut(6)
    with pytest.raises(Interrupted):
        specialised("one.npz")
    cut(None)
    specialised("one.npz")
    specialised("other.npz")
    assert_same_arrays(tmp_path / "one.npz", tmp_path / "other.npz")
    assert_same_arrays(tmp_path / "one.trajectory.npz", tmp_path / "other.trajectory.npz")
    steps = read_arrays(tmp_path / "one.trajectory.npz")[0]["steps"]
    assert steps.tolist() == list(range(16))
    assert no_leftovers(tmp_path)


def test_the_run_of_another_model_is_refused(text, tmp_path, cut):
    cut(6)
    with pytest.raises(Interrupted):
        pretrained(text, tmp_path, AdamW)
    cut(None)
    with pytest.raises(CheckpointError, match="belongs to another run"):
        pretrain(TextTask(text, workers=1), CONFIG | {"n_layer": 1}, tmp_path / "pretrained.npz", optimizer=AdamW(), steps=15,
                 batch=3, workers=1)


def test_saves_come_when_promised(text, tmp_path, monkeypatch):
    saved = []
    real = fit_module.save_training
    monkeypatch.setattr(fit_module, "save_training", lambda path, trainer, *a, **k: (saved.append(trainer.steps_done),
                                                                                      real(path, trainer, *a, **k)))
    pretrained(text, tmp_path, AdamW, save_every=4)
    assert saved == [0, 4, 8, 12]


def test_what_was_trained_survives_a_failure_to_write_the_result(text, tmp_path, monkeypatch):
    """The disk is full when the model is to be saved: hours of training must not be gone."""
    def no_space(*args, **more):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("minillm.runs.pretraining.save_model", no_space)
        with pytest.raises(OSError, match="No space left"):
            pretrained(text, tmp_path, AdamW, save_every=4)
    assert (tmp_path / "pretrained.training.npz").exists()
    assert steps_done(tmp_path / "pretrained.training.npz") >= 12


# ---- divergence

class Exploding(SGD):
    """Reasonable for six steps; the seventh throws the weights away."""

    def __init__(self):
        super().__init__(lr=0.1)
        self.count = 0

    def plan(self, factor=1.0):
        self.count += 1
        return super().plan(1e30 if self.count == 7 else factor)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_stops_the_run_and_what_is_kept_is_good(text, tmp_path):
    with pytest.raises(Diverged, match="at step 8; try a lower learning rate"):
        pretrained(text, tmp_path, Exploding, save_every=5)
    assert not (tmp_path / "pretrained.npz").exists()
    arrays, meta = read_arrays(tmp_path / "pretrained.training.npz")
    assert meta["steps_done"] >= 5 and len(meta["history"]["loss"]) == meta["steps_done"]
    assert all(np.isfinite(loss) for loss in meta["history"]["loss"])
    weights = np.concatenate([array.reshape(-1) for name, array in arrays.items() if name.startswith("model/")])
    assert np.abs(weights).max() < 100                          # those before the step that threw them away


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_run_that_diverges_at_once_leaves_nothing_behind(text, tmp_path):
    with pytest.raises(Diverged, match="try a lower learning rate$"):
        pretrained(text, tmp_path, lambda: SGD(lr=1e30))
    assert not list(tmp_path.iterdir())


def test_the_history_is_json(text, tmp_path):
    meta = pretrained(text, tmp_path, AdamW).meta
    history = json.loads(json.dumps(meta["history"]))
    assert history == meta["history"] and len(history["loss"]) == history["steps"] == 15
    assert [entry["step"] for entry in history["validation"]] == list(range(1, 16))
