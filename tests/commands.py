"""What the tests of commands share: to run one, to read its answer, and to see that it refuses in one sentence."""

import contextlib
import hashlib
import io
import json
import resource
import subprocess
import sys

import pytest

from minillm.commands.app import main

TINY = ["--layers", 2, "--heads", 2, "--width", 12, "--batch", 3]


def run(*args):
    """exit code, standard output, standard error of a command, in this process"""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main(list(map(str, args)))
    return stop.value.code or 0, out.getvalue(), err.getvalue()


def run_apart(*args, memory=None):
    """The same in a process of its own, with at most so many bytes of memory."""
    limit = (lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory))) if memory else None
    done = subprocess.run([sys.executable, "-m", "minillm", *map(str, args)], capture_output=True, text=True, timeout=120,
                          preexec_fn=limit)
    return done.returncode, done.stdout, done.stderr


def answer(*args):
    """The JSON that a command ends with."""
    code, out, err = run(*args, "--json")
    assert code == 0, err

    def strange(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(out.strip().splitlines()[-1], parse_constant=strange)


def snapshot(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(folder, *args, words=()):
    """The command ends with code 2 and one sentence that has all of these words in it; no file in the folder has changed."""
    before = snapshot(folder)
    code, out, err = run(*args)
    assert_one_sentence(code, err, args[0], words)
    assert snapshot(folder) == before
    return err


def assert_one_sentence(code, err, command, words=()):
    assert code == 2, err
    *usage, sentence = err.strip().splitlines()
    assert sentence.startswith((f"minillm {command}: ", "minillm: error: ")) and len(sentence) > len(command) + 25
    assert not usage or usage[0].startswith("usage: "), err     # argparse reminds of the options first
    for part in words:
        assert part in sentence
