"""The learner's folder: what is theirs is never written over, what is written is written whole, and nothing counted is lost."""

import json
import os
import resource
import subprocess
import sys

import pytest
from commands import answer, assert_one_sentence, refused, run, snapshot

from minillm.exercises import workbook
from minillm.exercises.catalogue import exercise_of
from minillm.exercises.workbook import Workbook
from minillm.ground.files import write_new
from minillm.ground.processes import parallel_map

FIRST = exercise_of(1)
NOTE = "workbook/progress.json"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def note(**changes):
    """A progress.json in which exercise 1 was tried twice, but for some changes."""
    entry = {"tries": 2, "hints": 1, "passed": None} | changes
    return json.dumps({"exercises": {"1": entry}})


# What cannot be a workbook.

BROKEN = {
    "cut short": "{", "a list": "[]", "empty": "", "null": "null",
    "another dictionary": "{}", "no exercises": '{"exercises": []}',
    "an empty entry": '{"exercises": {"1": {}}}', "no entry": '{"exercises": {"1": 3}}',
    "a number": '{"exercises": {"one": {"tries": 1, "hints": 0, "passed": null}}}',
    "exercise 0": note().replace('"1"', '"0"'), "exercise -1": note().replace('"1"', '"-1"'),
    "exercise 01": note().replace('"1"', '"01"'), "digits": note().replace('"1"', '"٣"'),
    "a large exercise": note().replace('"1"', f'"{"9" * 5000}"'),
    "negative": note(tries=-1), "fraction": note(tries=1.5), "true": note(tries=True), "text": note(hints="1"),
    "NaN": note(tries=float("nan")), "infinity": note(hints=float("inf")),
    "huge": note(tries=10 ** 30), "very huge": note().replace("2", "9" * 10_000),
    "no date": note(passed="yesterday"), "true as date": note(passed=True), "a date that is none": note(passed="2024-02-30"),
    "another form of date": note(passed="20240201"), "number as date": note(passed=1.0), "list as date": note(passed=[]),
    "deep": '{"exercises": ' + "[" * 100_000 + "]" * 100_000 + "}", "large": note() + " " * 2_000_000, "bytes": "caf\xe9",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_progress_file_is_left_alone(content, folder):
    run("lesson", 1, "--start")
    (folder / NOTE).write_text(content, encoding="latin-1" if content == BROKEN["bytes"] else "utf-8")
    for command in (["progress"], ["check", 1], ["hint", 1], ["lesson", "next"], ["lesson", 2, "--start"]):
        refused(folder, *command, words=["progress.json cannot be read (", "move it away"])


NO_FILES = {"folder": os.mkdir, "pipe": os.mkfifo, "device": lambda path: os.symlink("/dev/zero", path),
            "link to itself": lambda path: os.symlink(path, path),
            "link to nowhere": lambda path: os.symlink("nowhere/progress.json", path)}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_a_progress_file_that_is_no_file_is_left_alone(make, folder):
    (folder / "workbook").mkdir()
    make(folder / NOTE)
    for command in (["progress"], ["hint", 1], ["lesson", 1, "--start"]):
        refused(folder, *command, words=["progress.json cannot be read (", "move it away"])
    assert sorted(os.listdir(folder / "workbook")) == ["progress.json"]


@pytest.mark.parametrize("make", [lambda path: path.write_text("mine"), os.mkfifo, lambda path: path.symlink_to("/dev/null"),
                                  lambda path: path.symlink_to("nowhere")], ids=["file", "pipe", "device", "link to nowhere"])
def test_what_is_no_folder_is_no_workbook(make, folder):
    make(folder / "book")
    for command in (["progress"], ["hint", 1], ["check", 1], ["lesson", 1, "--start"], ["lesson"]):
        refused(folder, *command, "--workbook", "book", words=["book is not a folder"])
    refused(folder, "progress", "--workbook", "", words=["--workbook", "cannot be the name of a file or folder"])


def test_a_pipe_is_no_exercise(folder):
    os.mkfifo(folder / "pipe.py")
    refused(folder, "check", 1, "pipe.py", words=["pipe.py is a pipe or a device"])
    (folder / "workbook").mkdir()
    os.mkfifo(folder / "workbook" / FIRST.file)
    refused(folder, "check", 1, words=[f"{FIRST.file} is a pipe"])


def test_a_name_that_cannot_be_printed_is_no_trouble(folder):
    name = os.fsdecode(b"caf\xe9")
    done = subprocess.run([sys.executable, "-m", "minillm", "lesson", "1", "--start", "--workbook", name], capture_output=True)
    assert done.returncode == 0 and b"udce9" in done.stdout and not done.stderr
    done = subprocess.run([sys.executable, "-m", "minillm", "check", "1", "--workbook", name], capture_output=True)
    assert done.returncode == 1 and b"not written yet" in done.stdout and not done.stderr


# What is written.

def on_a_full_disk(*command):
    """A command in a process of its own that cannot write a byte into any file."""
    done = subprocess.run([sys.executable, "-m", "minillm", *map(str, command)], capture_output=True, text=True, timeout=120,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    return done.returncode, done.stdout, done.stderr


def test_on_a_full_disk_no_half_exercise_is_left(folder):
    code, _, err = on_a_full_disk("lesson", 2, "--start")
    assert_one_sentence(code, err, "lesson", [exercise_of(2).file])
    assert not snapshot(folder)
    run("lesson", 2, "--start")
    assert all((folder / "workbook" / exercise_of(n).file).read_bytes() == exercise_of(n).stub.read_bytes() for n in (2, 3, 4))


def test_on_a_full_disk_a_verdict_is_reported_all_the_same(folder):
    run("lesson", 1, "--start")
    before = snapshot(folder)
    code, out, err = on_a_full_disk("check", 1)
    assert_one_sentence(code, err, "check", ["workbook/progress.json: "])
    assert "Not yet: exercise 1" in out and snapshot(folder) == before


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_is_never_written_over_another(links, folder, monkeypatch):
    if not links:
        def no_links(*_):
            raise PermissionError(1, "Operation not permitted")
        monkeypatch.setattr(workbook.os, "link", no_links)
    write_new(folder / "a.py", b"first")
    with pytest.raises(FileExistsError, match=r"a\.py"):
        write_new(folder / "a.py", b"second")
    (folder / "link.py").symlink_to("nowhere.py")
    with pytest.raises(FileExistsError):
        write_new(folder / "link.py", b"second")
    assert (folder / "a.py").read_bytes() == b"first" and sorted(os.listdir(folder)) == ["a.py", "link.py"]
    assert (folder / "a.py").stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    os.umask(umask := os.umask(0))
    return umask


def test_an_exercise_that_somebody_makes_at_the_same_moment_is_theirs(folder, monkeypatch):
    def write_and_fail(path, data):
        path.write_text("theirs")
        write_new(path, data)
    monkeypatch.setattr(workbook, "write_new", write_and_fail)
    assert not Workbook().start(FIRST) and (folder / "workbook" / FIRST.file).read_text() == "theirs"


@pytest.mark.parametrize("book", ["workbook", "other"])
def test_a_link_to_progress_elsewhere_stays_a_link(book, folder):
    (folder / "cloud").mkdir()
    (folder / "cloud" / "mine.json").write_text(note())
    (folder / book).mkdir()
    (folder / book / "progress.json").symlink_to("../cloud/mine.json")
    Workbook(book).tried(FIRST, True)
    assert (folder / book / "progress.json").is_symlink() and os.listdir(folder / book) == ["progress.json"]
    assert json.loads((folder / "cloud" / "mine.json").read_text())["exercises"]["1"]["tries"] == 3


def test_what_several_processes_count_at_once_is_all_counted(folder):
    def count(n):
        book = Workbook()                               # each has read it before the others write
        for _ in range(25):
            book.tried(exercise_of(1 + n % 2), False)
            book.hinted(exercise_of(1 + n % 2), n + 1)

    list(parallel_map(count, range(4), workers=4))
    assert [Workbook().of(exercise_of(n)) for n in (1, 2)] == [{"tries": 50, "hints": 3, "passed": None},
                                                               {"tries": 50, "hints": 4, "passed": None}]
    assert os.listdir(folder / "workbook") == ["progress.json"]


def test_what_another_process_has_solved_stays_solved(folder):
    old = Workbook()
    Workbook().tried(FIRST, True)
    old.tried(FIRST, False)
    assert Workbook().passed(FIRST) and Workbook().of(FIRST)["tries"] == 1 and old.passed(FIRST)


def test_a_progress_file_that_is_broken_meanwhile_is_left_alone(folder):
    book = Workbook()
    book.tried(FIRST, False)
    (folder / NOTE).write_text("{")
    with pytest.raises(ValueError, match="move it away"):
        book.tried(FIRST, True)
    assert (folder / NOTE).read_text() == "{"


def test_a_folder_that_is_locked_for_long_is_reported(folder, monkeypatch):
    monkeypatch.setattr("minillm.ground.locks.PATIENCE", 0.05)
    Workbook().tried(FIRST, False)
    with workbook.alone_in(folder / "workbook"):
        refused(folder, "hint", 1, words=["another program has locked", "workbook"])
    assert answer("progress")["solved"] == 0
