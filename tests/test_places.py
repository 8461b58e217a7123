"""Odd places and terminals, in true processes: the work is done, or refused in a sentence, and nothing half-done is left.

tests/attacks/places.py tries each of these with every command.
"""

import os
import resource
import signal
import subprocess
import sys

import pytest
from commands import TINY, assert_one_sentence, run

from minillm.ground.arrays import read_meta
from minillm.ground.processes import WorkerEnded

TEXT = "caf\u00e9 au lait \u2014 \u201cmerci\u201d. " * 20
SMALL = [*map(str, TINY), "--context", "8", "--workers", "1"]


@pytest.fixture(scope="module")
def cafe(tmp_path_factory):
    """A folder with a text that no old terminal can show, and a model of it."""
    folder = tmp_path_factory.mktemp("caf\u00e9 with spaces")
    (folder / "book.txt").write_text(TEXT, encoding="utf-8")
    assert run("pretrain", "--text", folder / "book.txt", *SMALL, "--steps", 2, "--out", folder)[0] == 0
    return folder


def minillm(*args, environment=(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more):
    return subprocess.run([sys.executable, "-m", "minillm", *map(str, args)], stdin=subprocess.DEVNULL, stdout=stdout,
                          stderr=stderr, env=os.environ | dict(environment), timeout=300, **more)


@pytest.mark.parametrize("environment", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
                                         {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}], ids=str)
def test_a_terminal_that_lacks_a_letter_shows_its_number(environment, cafe):
    done = minillm("generate", cafe / "pretrained.npz", "--prompt", "merci", "--tokens", 60, "--temperature", 9,
                   environment=environment | {"PYTHONHASHSEED": "0"})
    assert done.returncode == 0 and done.stdout.startswith(b"merci") and not done.stderr
    if environment.get("PYTHONIOENCODING") != "cp1252":
        assert b"\\u201" in done.stdout or b"\\xe9" in done.stdout


def tuning(cafe, out):
    return ["finetune", "--base", cafe / "pretrained.npz", "--text", cafe / "book.txt", "--method", "bitfit", "--steps", 3,
            "--batch", 2, "--workers", 1, "--out", out]


def saved(out):
    return read_meta(out / "bitfit.npz", "adapter") and sorted(path.name for path in out.iterdir()) == [
        "bitfit.npz", "bitfit.trajectory.npz"]


def test_who_reads_only_the_first_line_loses_no_work(cafe, tmp_path):
    """minillm finetune ... | head -1"""
    command = subprocess.Popen([sys.executable, "-m", "minillm", *map(str, tuning(cafe, tmp_path))], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert command.stdout.readline()
    command.stdout.close()
    assert command.stderr.read() == b"" and command.wait(300) == 0 and saved(tmp_path)


@pytest.mark.parametrize("closed", [1, 2, 0])
def test_work_is_done_with_a_standard_stream_closed(closed, cafe, tmp_path):
    done = minillm(*tuning(cafe, tmp_path), preexec_fn=lambda: os.close(closed))
    assert done.returncode == 0 and saved(tmp_path)


def test_standard_error_that_nobody_reads_stops_nothing(cafe, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = minillm(*tuning(cafe, tmp_path), stderr=writing, preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_IGN))
    os.close(writing)
    assert done.returncode == 0 and saved(tmp_path)


def test_answers_that_nobody_reads_end_quietly(cafe):
    command = subprocess.Popen([sys.executable, "-m", "minillm", "generate", cafe / "pretrained.npz", "--prompt", "merci",
                                "--count", "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert command.stdout.readline()
    command.stdout.close()
    assert command.wait(300) == 1 and command.stderr.read() == b""


def test_a_full_disk_is_reported_by_the_name_of_the_file_and_leaves_nothing(cafe, tmp_path):
    done = minillm(*tuning(cafe, tmp_path), text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)))
    assert_one_sentence(done.returncode, done.stderr, "finetune", ["bitfit.training.npz: File too large"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_to(cafe, tmp_path):
    tmp_path.chmod(0o500)
    done = minillm(*tuning(cafe, tmp_path), text=True)
    assert_one_sentence(done.returncode, done.stderr, "finetune", ["Permission denied"])


@pytest.mark.parametrize("name", ["two words", "\u00fc\u4e2d\U0001f642", "new\nline", "-dash", "'quoted\"", ".hidden",
                                  "%s {0} $HOME"])
def test_any_name_of_a_folder_will_do(name, cafe, tmp_path):
    out = tmp_path / name
    code, _, err = run(*tuning(cafe, out))
    assert code == 0 and not err and saved(out)


def test_of_two_that_do_the_same_at_once_one_wins_or_both_do_well(cafe, tmp_path):
    command = [sys.executable, "-m", "minillm", *map(str, tuning(cafe, tmp_path))]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [(each.communicate(timeout=300)[1], each.returncode) for each in both]
    assert 0 in [code for _, code in ended] and saved(tmp_path)
    for err, code in ended:
        if code:
            assert_one_sentence(code, err, "finetune", ["bitfit"])


def test_a_worker_that_is_killed_is_reported_in_a_sentence(cafe, monkeypatch):
    def dies(*args, **options):
        raise WorkerEnded

    monkeypatch.setattr("minillm.tasks.evaluate.parallel_map", dies)
    code, _, err = run("evaluate", cafe / "pretrained.npz")
    assert_one_sentence(code, err, "evaluate", ["a worker process has ended", "memory"])


def test_numbers_that_are_none_are_null_in_json(cafe, monkeypatch):
    monkeypatch.setattr("minillm.commands.evaluate.pooled", lambda scores: float("nan"))
    code, out, _ = run("evaluate", cafe / "pretrained.npz", "--json")
    assert code == 0 and '"loss": null' in out and "NaN" not in out
