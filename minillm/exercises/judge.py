"""A check in a process of its own: a learner's file may run for ever, print without end or take the whole process down."""

import faulthandler
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .attempt import Attempt
from .catalogue import exercise_of
from .learners_file import Wrong

PRINTED = 4000      # characters of what the learner's code prints; the rest is left out
GRACE = 5           # seconds more, after which the process is ended from outside


@dataclass(frozen=True)
class Verdict:
    """passed; why not, in words for the learner, and the line to look at if known; calls made; and what the code printed."""

    passed: bool
    reason: str = ""
    line: int | None = None
    calls: int = 0
    printed: str = ""


def examine(exercise, path, seed):
    """Check a file here and now, in this process."""
    attempt = None
    try:
        attempt = Attempt(path, exercise.stub, np.random.default_rng(seed))
        exercise.module.check(attempt)
        attempt.finish()
    except Wrong as wrong:
        return Verdict(False, str(wrong), wrong.line, attempt.calls if attempt else 0)
    return Verdict(True, calls=attempt.calls)


def judge(exercise, path, seed, seconds=None):
    """The same in a child, with a limit on its time, without a keyboard, and with what it prints kept apart."""
    seconds = seconds or exercise.seconds
    with tempfile.TemporaryDirectory() as folder:
        found, stuck, printed = (Path(folder) / name for name in ("found.json", "stuck.txt", "printed.txt"))
        command = [sys.executable, "-m", __name__, *map(str, (exercise.number, path, seed, seconds, found, stuck))]
        with open(printed, "wb") as out:
            try:
                code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out,
                                      timeout=seconds + GRACE).returncode
            except subprocess.TimeoutExpired:
                code = None
        with open(printed, encoding="utf-8", errors="replace") as out:
            said = out.read(PRINTED + 200)
        if found.exists():
            return Verdict(**json.loads(found.read_text(encoding="utf-8")) | {"printed": said})
        if stuck.exists() and (where := stuck_at(stuck.read_text(encoding="utf-8", errors="replace"), path)):
            name, line, text = where
            return Verdict(False, f"Still running after {seconds:g} seconds, in line {line} of {name}:\n    {text}\n"
                                  "Is there a loop that does not end? A loop over all numbers of an array is slow, too: let "
                                  "NumPy work on whole arrays.", line, printed=said)
        if code is None or stuck.exists() and stuck.stat().st_size:
            return Verdict(False, f"Still running after {seconds:g} seconds. Is there a loop that does not end?", printed=said)
        return Verdict(False, f"{Path(path).name} has ended the whole program (exit code {code}), so it could not be checked.",
                       printed=said)


def stuck_at(trace, path):
    """(file name, line number, text) of the innermost line in the learner's folder, from what faulthandler wrote."""
    folder = Path(path).resolve().parent
    for name, line in re.findall(r'File "(.+?)", line (\d+)', trace):
        if Path(name).resolve().parent == folder:
            lines = Path(name).read_text(encoding="utf-8", errors="replace").splitlines()
            return Path(name).name, int(line), lines[int(line) - 1].strip() if int(line) <= len(lines) else ""
    return None


class Limited:
    """A standard output that stops listening after so many characters."""

    def __init__(self, stream, limit):
        self.stream, self.left = stream, limit

    def write(self, text):
        if self.left > 0:
            self.stream.write(text[:self.left])
            self.left -= len(text)
            if self.left <= 0:
                self.stream.write("\n... (and more)\n")
            self.stream.flush()
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return False


def child(number, path, seed, seconds, found, stuck):
    """What the process does: it ends itself when its time is over, telling where it was."""
    with open(stuck, "w") as trace:
        faulthandler.dump_traceback_later(float(seconds), exit=True, file=trace)
        sys.stdout = sys.stderr = Limited(sys.stdout, PRINTED)
        try:
            verdict = examine(exercise_of(number), path, int(seed))
        except Exception as error:
            verdict = Verdict(False, f"The check itself has failed, which is a fault of minillm and not yours: {error!r}")
        faulthandler.cancel_dump_traceback_later()
    Path(found).write_text(json.dumps(asdict(verdict)), encoding="utf-8")


if __name__ == "__main__":
    child(*sys.argv[1:])
