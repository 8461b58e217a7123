"""Run a check in a process of its own: a learner's file may run for ever, print without end or crash the whole process."""

import builtins
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..ground.runtime import CAN_FORK
from . import warden
from .attempt import Attempt
from .catalogue import exercise_of
from .learners_file import Wrong, message
from .sources import at_home, folder_of, lies_in

PRINTED = 4000      # the most characters that are kept of what the learner's code prints
WAITING = 6         # a check may take so many times its computing time in real time, since it may sleep or the machine be busy
GRACE = 30          # seconds more, after which the process is killed
WIDE = 500          # the most characters of a line in a message
BUILTINS, FINDERS = dict(vars(builtins)), {name: [*vars(sys)[name]] for name in ("meta_path", "path_hooks")}
RECURSION_LIMIT = 1000      # Python's own
PACKAGE = Path(__file__).resolve().parents[1] / "__init__.py"

# What the process runs first. It imports this minillm, and nothing from the current folder, which may be the learner's.
BEGIN = """
import sys
sys.path[:] = filter(None, sys.path)
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("minillm", sys.argv[1])
sys.modules["minillm"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["minillm"])
from minillm.exercises.judge import main
main(*sys.argv[2:])
"""


@dataclass(frozen=True)
class Verdict:
    """Whether a file has passed.

    reason      why not, in words for the learner
    line        the line to look at, if it is known
    calls       how many calls were made
    printed     what the learner's code has printed
    """

    passed: bool
    reason: str = ""
    line: int | None = None
    calls: int = 0
    printed: str = ""


def examine(exercise, path, seed, screen=None):
    """The Verdict on a file, checked in this process. `screen`: a stream on which a progress bar may be shown."""
    attempt = None
    with at_home(folder_of(path)):
        try:
            attempt = Attempt(path, exercise.stub, np.random.default_rng(seed), screen)
            exercise.module.check(attempt)
            attempt.finish()
        except Wrong as wrong:
            return Verdict(False, cut(str(wrong)), wrong.line, attempt.calls if attempt else 0)
        except Exception as error:
            if attempt and attempt.file.frames(error):      # an object of the learner's own, say, that cannot be compared
                wrong = attempt.file.failed(error, "when its result was looked at")
                return Verdict(False, cut(str(wrong)), wrong.line, attempt.calls)
            raise
    return Verdict(True, calls=attempt.calls)


def cut(reason):
    return "\n".join(line if len(line) <= WIDE else f"{line[:WIDE]} ..." for line in reason.split("\n"))


# In minillm's process: start the check's process, and find out how it ended.

def judge(exercise, path, seed, seconds=None, passing=None):
    """The Verdict on a file, checked in a child process without a keyboard and with limits; its output is collected.

    seconds     the limit of computing time
    passing     the limit of real time; much larger, since it also depends on what else the machine is doing
    """
    seconds = seconds or exercise.seconds
    passing = passing or WAITING * seconds
    with scratch() as printed, scratch() as reported, second_screen() as screen:
        arguments = exercise.number, Path(path).absolute(), seed, seconds, passing, *screen
        child = subprocess.Popen([sys.executable, "-c", BEGIN, str(PACKAGE), *map(str, arguments)], stdin=subprocess.PIPE,
                                 stdout=printed, stderr=reported, start_new_session=True, pass_fds=screen)
        try:
            with suppress(subprocess.TimeoutExpired):
                child.wait(passing + 2 * GRACE)
        finally:
            end(child)
        output, report = (content(file) for file in (printed, reported))
        return verdict_of(report, output[:PRINTED + 200], child.returncode, path, seconds, passing)


def end(child):
    """End the child: when its pipe is closed, it ends itself and all processes that it has started (warden.py)."""
    child.stdin.close()
    try:
        with suppress(subprocess.TimeoutExpired):
            child.wait(warden.PATIENCE + 1)
    finally:
        if hasattr(os, "killpg") and (child.returncode is None or not CAN_FORK):      # else another process may have its pid
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.wait()


def scratch():
    """A file without a name, which vanishes with the last process that has it open; in RAM, if the system can do that."""
    return os.fdopen(os.memfd_create("minillm"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def content(file):
    file.seek(0)
    return file.read(1 << 20).decode(errors="replace")


@contextmanager
def second_screen():
    """Yield (a duplicate of standard error,) for a child to inherit; () if that is not possible."""
    screen = None
    with suppress(OSError):
        screen = os.dup(2) if os.name == "posix" else None
    try:
        yield () if screen is None else (screen,)
    finally:
        if screen is not None:
            os.close(screen)


def verdict_of(report, output, code, path, seconds, passing):
    """The Verdict from what the child has reported: its own verdict, or where it was when it was stopped, or nothing."""
    verdicts = [line for line in report.split("\n") if line.startswith('{"passed"')]
    if verdicts:
        return Verdict(**json.loads(verdicts[-1]) | {"printed": output})
    file, line, text = place_in(report, path) or (Path(path).name, None, "")
    where = f", in line {line} of {file}:\n    {text}\n" if line else ". "
    if code == -getattr(signal, "SIGPROF", 0):
        reason = (f"Still running after {seconds:g} seconds{where}Is there a loop that does not end? A loop over all numbers of "
                  "an array is slow, too: let NumPy work on whole arrays.")
    elif report.startswith("Timeout"):
        reason = (f"Not done after {passing:g} seconds, most of which were not spent computing{where}"
                  "Does it sleep, or wait for something that does not come?")
    elif "Traceback (most recent call last)" in report:
        return fault(report.strip().split("\n")[-1])
    else:
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        reason = f"{Path(path).name} has ended the whole program ({how}){where}So it could not be checked."
    return Verdict(False, reason, line, printed=output)


def place_in(trace, path):
    """(file name, line number, text) of the innermost line in the learner's folder, from what faulthandler wrote; or None."""
    for file, line in re.findall(r'File "(.+?)", line (\d+)', trace):
        if lies_in(file, folder_of(path)):
            with suppress(OSError):                     # the file may be gone by now
                lines = Path(file).read_text(encoding="utf-8", errors="replace").split("\n")
                return Path(file).name, int(line), lines[int(line) - 1].strip() if int(line) <= len(lines) else ""
    return None


def fault(error):
    return Verdict(False, f"The check itself has failed, which is a fault of minillm and not yours: {error}")


# In the check's process.

def main(number, path, seed, seconds, passing, screen=None):
    """Check a file and report the verdict. Never returns. Everything is imported before the learner's time begins."""
    report = os.fdopen(os.dup(2), "w", encoding="utf-8")      # from here on, only this is the old standard error
    os.dup2(1, 2)
    screen = os.fdopen(int(screen), "w") if screen else None
    exercise, seconds, passing = exercise_of(number), float(seconds), float(passing)
    _ = exercise.module

    def tell(verdict):
        report.write(f"\n{json.dumps(asdict(verdict))}\n")
        report.flush()

    def work():
        tell_place_after(seconds, passing, report)
        warden.limit(seconds)
        check(exercise, path, int(seed), tell, screen)

    if CAN_FORK:
        warden.guard(work, passing + GRACE, lambda sentence: tell(Verdict(False, sentence)))
    work()
    os._exit(0)


def check(exercise, path, seed, tell, screen):
    """Examine a file with limited output, and report the verdict with `tell`."""
    own_pid = os.getpid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = sys.stderr = Limited(os.fdopen(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False), PRINTED)
    try:
        verdict = examine(exercise, path, seed, screen)
    except MemoryError:
        verdict = Verdict(False, f"It takes more than {warden.MEMORY >> 30} GB of memory.")
    except BaseException as error:
        changed = restore_python()
        verdict = fault(f"{type(error).__name__}: {message(error)}") if not changed else Verdict(
            False, f"Something in your file has changed {changed}, on which Python itself depends. So it could not be checked.")
    if os.getpid() == own_pid:                          # not a fork that the learner's code has made
        tell(verdict)


def restore_python():
    """Undo changes to Python itself after which nothing may work any more. Returns the name of one, or None."""
    changed = [f"builtins.{name}" for name, value in BUILTINS.items() if vars(builtins).get(name) is not value]
    vars(builtins).update(BUILTINS)
    for name, value in FINDERS.items():
        if vars(sys)[name] != value:
            setattr(sys, name, value)
            changed.append(f"sys.{name}")
    if sys.getrecursionlimit() < RECURSION_LIMIT:
        sys.setrecursionlimit(RECURSION_LIMIT)
        changed.append("the recursion limit")
    return changed[0] if changed else None


def tell_place_after(seconds, passing, file):
    """After `seconds` of computing, or `passing` seconds of real time, write the traceback into `file` and end the process."""
    faulthandler.enable(file)                           # the traceback of a crash goes there, too
    faulthandler.dump_traceback_later(passing if hasattr(signal, "setitimer") else seconds, exit=True, file=file)
    if hasattr(signal, "setitimer"):
        faulthandler.register(signal.SIGPROF, file, chain=True)
        signal.setitimer(signal.ITIMER_PROF, seconds)


class Limited:
    """A standard output that drops everything after so many characters."""

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

    def __getattr__(self, name):
        return getattr(self.stream, name)
