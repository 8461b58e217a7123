"""What is checked is what stands in the files at that moment: in the learner's own and in all that it imports from its folder.

No test here waits for a clock: files are rewritten to the same length, and their times are set back.
"""

import importlib
import linecache
import os
import py_compile
import sys
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import pytest
from commands import run

from minillm.exercises import commands
from minillm.exercises.catalogue import exercise_of
from minillm.exercises.judge import examine, judge
from minillm.exercises.sources import contents

FIRST = exercise_of(1)
THEN = 1_600_000_000 * 10 ** 9      # in nanoseconds: when all files of these tests were last saved
ANSWER = """import numpy as np
{start}
def squared_error(x, y, w, b):
    {inside}
    e = x @ w + b - y
    return np.mean(e ** 2), k / len(y) * x.T @ e, 2 * np.mean(e)
"""
HERE = "import os, sys; here = os.path.dirname(os.path.abspath(__file__))"

# Ways to come to a number k: the file that it stands in, and what is before the function and in it.
WAYS = {
    "the file itself": ("ex01_squared_error.py", "k = {k}", ""),
    "an earlier exercise": ("ex03_softmax.py", "from ex03_softmax import k", ""),
    "a module": ("mine.py", "from mine import k", ""),
    "a package": ("tools/__init__.py", "from tools import k", ""),
    "a module of a package": ("tools/part.py", "from tools.part import k", ""),
    "relative": ("tools/part.py", "from tools.other import k", ""),
    "a folder without __init__.py": ("loose/part.py", "from loose.part import k", ""),
    "when it is called": ("mine.py", "", "from mine import k"),
    "a folder on the path": ("below/part.py", f"{HERE}; sys.path.insert(0, here + '/below'); from part import k", ""),
    "by its path": ("mine.py", f"{HERE}; import importlib.util as u; s = u.spec_from_file_location('m', here + '/mine.py'); "
                               "m = u.module_from_spec(s); s.loader.exec_module(m); k = m.k", ""),
}
PACKAGE = {"tools/__init__.py": "", "tools/other.py": "from .part import k\n"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path, text):
    """Write a file so that nothing but its bytes tells that it has changed."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    for each in (path, path.parent):
        os.utime(each, ns=(THEN, THEN))


def lay(way, folder):
    """The files of a way. Returns save_k: a function that writes another k into the file where it stands."""
    file, start, inside = WAYS[way]
    if "tools" in file:
        for name, text in PACKAGE.items():
            save(folder / name, text)
    own = folder / FIRST.file
    source = ANSWER.format(start=start, inside=inside or "pass")
    if file == FIRST.file:
        return lambda k: save(own, source.format(k=k))
    save(own, source)
    return lambda k: save(folder / file, f"k = {k}\n")


def planted(folder, save_k):
    """Bytecode of a wrong answer, for each source that there is, which Python would trust."""
    save_k(3)
    for source in folder.rglob("*.py"):
        py_compile.compile(source, doraise=True)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_is_rewritten_at_once_is_judged_as_it_is_now(way, folder):
    save_k = lay(way, folder)
    for k in [3, 2] * 25:
        save_k(k)
        assert examine(FIRST, folder / FIRST.file, 1).passed is (k == 2)
    assert not list(folder.rglob("__pycache__"))


@pytest.mark.parametrize("way", WAYS)
def test_bytecode_that_is_there_is_not_trusted(way, folder):
    save_k = lay(way, folder)
    planted(folder, save_k)
    before = {path: path.read_bytes() for path in folder.rglob("*.pyc")}
    save_k(2)
    assert examine(FIRST, folder / FIRST.file, 1).passed
    assert {path: path.read_bytes() for path in folder.rglob("*.pyc")} == before


def test_the_same_in_a_process_of_its_own(folder):
    """All ways in one file."""
    saves, starts, insides = [], [], []
    for n, (file, start, inside) in enumerate(way for way in WAYS.values() if way[0] != FIRST.file):
        starts.append(start or "k = 2")
        insides.append(inside or "pass")
        starts[-1] += f"; k{n} = k"
        saves.append(lambda k, file=file: save(folder / file, f"k = {k}\n"))
    for name, text in PACKAGE.items():
        save(folder / name, text)
    every = " and ".join(f"k{n} == 2" for n in range(len(starts)))
    saves.append(lambda k: save(folder / FIRST.file, ANSWER.format(
        start="\n".join([*starts, f"own = {k}"]), inside="; ".join([*insides, f"k = 2 if {every} and k == own == 2 else 3"]))))
    planted(folder, lambda k: [save_k(k) for save_k in saves])
    assert not judge(FIRST, folder / FIRST.file, 1).passed
    for save_k in saves:
        save_k(2)
    assert judge(FIRST, folder / FIRST.file, 1).passed
    for save_k in saves[::4]:
        save_k(3)
        assert not judge(FIRST, folder / FIRST.file, 1).passed
        save_k(2)


def test_a_file_that_has_just_been_made_is_seen_and_one_that_is_gone_is_not(folder):
    save(folder / FIRST.file, ANSWER.format(start="from mine import k", inside="pass"))
    for _ in range(50):
        assert "No module named 'mine'" in examine(FIRST, folder / FIRST.file, 1).reason
        save(folder / "mine.py", "k = 2\n")
        assert examine(FIRST, folder / FIRST.file, 1).passed
        (folder / "mine.py").unlink()
        os.utime(folder, ns=(THEN, THEN))


def test_the_line_that_is_quoted_is_the_one_that_ran(folder):
    path = folder / FIRST.file
    for name in ("first", "other"):
        save(path, f"def squared_error(x, y, w, b):\n    return {name}\n")
        assert f"return {name}" in examine(FIRST, path, 1).reason


def test_the_line_that_is_quoted_is_the_one_that_ran_even_if_the_file_is_saved_meanwhile(folder):
    path = folder / FIRST.file
    save(path, f"open({str(path)!r}, 'w').write('saved')\n1 / 0\n")
    verdict = examine(FIRST, path, 1)
    assert path.read_text() == "saved" and "    1 / 0" in verdict.reason


def test_afterwards_the_process_is_as_before(folder):
    """A module of the same name that was imported elsewhere stays; what the learner has done to sys.path does not."""
    elsewhere = folder / "elsewhere"
    save(elsewhere / "mine_too.py", "k = 5\n")
    save(folder / "mine_too.py", "k = 2\n")
    sys.path.insert(0, str(elsewhere))
    try:
        import mine_too
    finally:
        sys.path.remove(str(elsewhere))
    modules, entries, quotes = dict(sys.modules), list(sys.path), dict(linecache.cache)
    loading = importlib.machinery.SourceFileLoader.get_code
    save(folder / FIRST.file, ANSWER.format(inside="pass", start="from mine_too import k\nimport sys\nsys.path = ['.']\n"
                                                                 "sys.modules['numpy'] = 3"))
    assert examine(FIRST, folder / FIRST.file, 1).passed
    assert sys.modules == modules and sys.path == entries and linecache.cache == quotes
    assert sys.modules.pop("mine_too") is mine_too and importlib.machinery.SourceFileLoader.get_code is loading


# Which files there are, and how they are read.

@pytest.mark.parametrize("name", ["numpy.py", "json.py", "ex01_squared_error.notes.py", "two words.txt"])
def test_a_file_may_have_any_name(name, folder):
    path = folder / name
    save(path, ANSWER.format(start="import math as m; k = 2", inside="pass").replace("import numpy as np", "from ex03 import np"))
    save(folder / "ex03.py", "import sys\nnp = sys.modules['numpy']\n")
    assert examine(FIRST, path, 1).passed
    assert sys.modules["numpy"].float64 and sys.modules["json"].loads


@pytest.mark.parametrize("name", ["numpy.py", "random.py", "random/__init__.py"])
def test_a_file_that_takes_the_name_of_a_module_of_python_is_reported(name, folder):
    root = name.partition("/")[0].removesuffix(".py")
    save(folder / name, "k = 2\n")
    save(folder / FIRST.file, ANSWER.format(start=f"k = 2\nimport {root}", inside="pass"))
    for verdict in (examine(FIRST, folder / FIRST.file, 1), judge(FIRST, folder / FIRST.file, 1)):
        assert not verdict.passed and "two, Python's and yours" in verdict.reason and name in verdict.reason
        assert verdict.line == (1 if root == "numpy" else 3)


def test_the_project_itself_in_the_folder_is_no_second_one(folder):
    """A learner may keep the file beside the clone's own folders."""
    (folder / "minillm").symlink_to(Path(commands.__file__).parents[1])
    save(folder / FIRST.file, ANSWER.format(start="k = 2\nimport minillm", inside="pass"))
    assert examine(FIRST, folder / FIRST.file, 1).passed


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"# coding: latin-1\n# caf\xe9\n", b"", b"\r\n", b"\x0c\n"])
def test_a_file_is_read_as_python_reads_it(start, folder):
    path = folder / FIRST.file
    path.write_bytes(start + ANSWER.format(start="k = 2", inside="pass").encode())
    assert examine(FIRST, path, 1).passed
    path.write_bytes(start + b"def squared_error(x, y, w, b):\n    here\n")
    verdict = examine(FIRST, path, 1)
    assert verdict.line == start.count(b"\n") + 2 and "    here" in verdict.reason


@pytest.mark.parametrize("data, words", [
    ("k = 2".encode("utf-16"), "not UTF-8 text"), (b"\xff" * 10, "not UTF-8 text"), (b"k = 2\0", "null bytes"),
    (b"# coding: klingon\nk = 2\n", "encoding is unknown"), (b'{"cells": [], "metadata": {}, "nbformat": 4}', "a notebook"),
    (b"#" * 6_000_000, "is it the right file"), (b"x = " + b"-" * 200_000 + b"1", "nested too deeply"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_no_source_is_reported(data, words, folder):
    for name in (FIRST.file, "mine.py"):
        (folder / name).write_bytes(data)
        if name == "mine.py":
            (folder / FIRST.file).write_text("import mine\n")
        verdict = examine(FIRST, folder / FIRST.file, 1)
        assert not verdict.passed and f"{name} is not Python: " in verdict.reason and words in verdict.reason


# While they are watched.

def watched(path, saves, monkeypatch):
    """What `check --watch` prints, while at each of its looks something is saved."""
    steps = chain(saves, repeat(None, 100))                 # and then the test fails

    def sleep(seconds):
        if step := next(steps):
            step()
    monkeypatch.setattr(commands, "time", SimpleNamespace(sleep=sleep, strftime=lambda form: "now"))
    monkeypatch.setattr(commands, "judge", examine)
    code, out, _ = run("check", 1, path, "--watch")
    assert code == 0
    return out


@pytest.mark.parametrize("way", ["the file itself", "a module", "a module of a package"])
def test_a_change_is_seen_whatever_the_clock_says(way, folder, monkeypatch):
    save_k = lay(way, folder)
    save_k(3)
    out = watched(folder / FIRST.file, [None, None, lambda: save_k(2)], monkeypatch)
    assert out.count("--- now") == 2 and out.count("Not yet") == 1


def test_a_file_that_is_just_being_saved_is_not_checked_until_it_is_whole(folder, monkeypatch):
    save_k, path = lay("the file itself", folder), folder / FIRST.file
    save_k(3)
    whole = path.read_text().replace("k = 3", "k = 2")
    saves = [lambda: save(path, ""), lambda: save(path, whole[:50]), path.unlink, lambda: save(path, whole[:90]),
             lambda: save(path, whole)]
    assert watched(path, saves, monkeypatch).count("--- now") == 2


def test_a_file_that_is_saved_without_a_change_is_checked_again(folder, monkeypatch):
    save_k = lay("a module", folder)
    save_k(3)
    out = watched(folder / FIRST.file, [lambda: save_k(3), None, None, lambda: save_k(2)], monkeypatch)
    assert out.count("--- now") == 3


def test_a_module_that_was_missing_is_seen_when_it_is_there(folder, monkeypatch):
    lay("a module", folder)
    assert watched(folder / FIRST.file, [None, lambda: save(folder / "mine.py", "k = 2\n")], monkeypatch).count("--- now") == 2


def test_something_that_is_written_all_the_time_is_no_reason_not_to_check(folder, monkeypatch):
    save_k = lay("the file itself", folder)
    save_k(3)
    numbers = iter(range(1000))
    log = repeat(lambda: save(folder / "log.py", f"n = {next(numbers)}\n"), 100)
    assert "Right" in watched(folder / FIRST.file, chain([lambda: save_k(2)], log), monkeypatch)


def test_what_is_no_source_or_not_the_learners_is_not_watched(folder):
    save(folder / FIRST.file, "k = 2\n")
    save(folder / ".venv" / "a.py", "")
    save(folder / "site-packages" / "a.py", "")
    save(folder / "notes.txt", "")
    os.mkfifo(folder / "pipe.py")
    (folder / "nowhere.py").symlink_to("none.py")
    (folder / "round").symlink_to(folder)
    save(folder / "tools" / "a.py", "")
    assert sorted(path.name for path in contents(folder / FIRST.file)) == ["a.py", FIRST.file]
