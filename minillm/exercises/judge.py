"""A check in a process of its own: a learner's file may run for ever, print without end or take the whole process down."""

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

PRINTED = 4000      # characters of what the learner's code prints; the rest is left out
WAITING = 6         # times the seconds that a check may take are granted to one that waits or sleeps, or to a busy machine
GRACE = 30          # seconds more, after which the process is ended from outside
WIDE = 500          # characters of a line that is told
BUILTINS, FINDERS, DEEP = dict(vars(builtins)), {name: [*vars(sys)[name]] for name in ("meta_path", "path_hooks")}, 1000
PACKAGE = Path(__file__).resolve().parents[1] / "__init__.py"

# What the process runs first. It takes this minillm, and imports nothing from the folder one is in, which may be the learner's.
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
    """passed; why not, in words for the learner, and the line to look at if known; calls made; and what the code printed."""

    passed: bool
    reason: str = ""
    line: int | None = None
    calls: int = 0
    printed: str = ""


def examine(exercise, path, seed, screen=None):
    """Check a file here and now, in this process. `screen` is where a progress bar may be shown."""
    attempt = None
    with at_home(folder_of(path)):
        try:
            attempt = Attempt(path, exercise.stub, np.random.default_rng(seed), screen)
            exercise.module.check(attempt)
            attempt.finish()
        except Wrong as wrong:
            return Verdict(False, cut(str(wrong)), wrong.line, attempt.calls if attempt else 0)
        except Exception as error:
            if attempt and attempt.file.frames(error):      # an object of the learner's own, say, that refuses to be looked at
                wrong = attempt.file.failed(error, "when its result was looked at")
                return Verdict(False, cut(str(wrong)), wrong.line, attempt.calls)
            raise
    return Verdict(True, calls=attempt.calls)


def cut(reason):
    return "\n".join(line if len(line) <= WIDE else f"{line[:WIDE]} ..." for line in reason.split("\n"))


# Here: start the process, and understand how it ended.

def judge(exercise, path, seed, seconds=None, passing=None):
    """The same in a child, without a keyboard, with limits on what it takes, and with what it prints kept apart.

    seconds     of computing
    passing     seconds that may pass; many more, for what else the machine does is not the learner's affair
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
        return understood(report, output[:PRINTED + 200], child.returncode, path, seconds, passing)


def end(child):
    """When its pipe is closed, the child ends itself and all that it has started; see warden.py."""
    child.stdin.close()
    try:
        with suppress(subprocess.TimeoutExpired):
            child.wait(warden.PATIENCE + 1)
    finally:
        if hasattr(os, "killpg") and (child.returncode is None or not CAN_FORK):      # else its number may be another's by now
            with suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.wait()


def scratch():
    """A file without a name: it is gone with the last process that has it open, and needs no room on a disk if it can."""
    return os.fdopen(os.memfd_create("minillm"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()


def content(file):
    file.seek(0)
    return file.read(1 << 20).decode(errors="replace")


@contextmanager
def second_screen():
    """Standard error once more, to be handed to a child; nothing where that cannot be, or if it is closed."""
    screen = None
    with suppress(OSError):
        screen = os.dup(2) if os.name == "posix" else None
    try:
        yield () if screen is None else (screen,)
    finally:
        if screen is not None:
            os.close(screen)


def understood(report, output, code, path, seconds, passing):
    """A verdict from what the child has told: its own, or where it stood when it was stopped, or nothing."""
    verdicts = [line for line in report.split("\n") if line.startswith('{"passed"')]
    if verdicts:
        return Verdict(**json.loads(verdicts[-1]) | {"printed": output})
    file, line, text = place_in(report, path) or (Path(path).name, None, "")
    where = f", in line {line} of {file}:\n    {text}\n" if line else ". "
    if code == -getattr(signal, "SIGPROF", 0):
        reason = (f"Still running after {seconds:g} seconds{where}Is there a loop that does not end? A loop over all numbers of "
                  "an array is slow, too: let NumPy work on whole arrays.")
    elif report.startswith("Timeout"):
        reason = (f"Not done after {passing:g} seconds, most of which it did not compute{where}"
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
            with suppress(OSError):                     # it may be gone by now
                lines = Path(file).read_text(encoding="utf-8", errors="replace").split("\n")
                return Path(file).name, int(line), lines[int(line) - 1].strip() if int(line) <= len(lines) else ""
    return None


def fault(error):
    return Verdict(False, f"The check itself has failed, which is a fault of minillm and not yours: {error}")


# There: what the process does.

def main(number, path, seed, seconds, passing, screen=None):
    """Never returns. Whatever is imported, or has to be, is so before the time of the learner begins."""
    report = os.fdopen(os.dup(2), "w", encoding="utf-8")      # from here on, only this is standard error as it was
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
    """Examine a file, and tell the verdict."""
    here = os.getpid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = sys.stderr = Limited(os.fdopen(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False), PRINTED)
    try:
        verdict = examine(exercise, path, seed, screen)
    except MemoryError:
        verdict = Verdict(False, f"It takes more than {warden.MEMORY >> 30} GB of memory.")
    except BaseException as error:
        changed = put_back()
        verdict = fault(f"{type(error).__name__}: {message(error)}") if not changed else Verdict(
            False, f"Something in your file has changed {changed}, on which Python itself depends. So it could not be checked.")
    if os.getpid() == here:                             # and not a fork of the learner's
        tell(verdict)


def put_back():
    """Whatever the learner may have changed of Python itself, so that nothing works any more. Returns a name for it, if any."""
    changed = [f"builtins.{name}" for name, value in BUILTINS.items() if vars(builtins).get(name) is not value]
    vars(builtins).update(BUILTINS)
    for name, value in FINDERS.items():
        if vars(sys)[name] != value:
            setattr(sys, name, value)
            changed.append(f"sys.{name}")
    if sys.getrecursionlimit() < DEEP:
        sys.setrecursionlimit(DEEP)
        changed.append("the recursion limit")
    return changed[0] if changed else None


def tell_place_after(seconds, passing, file):
    """After so many seconds of computing, or when so many have passed, write into `file` where the process stands, and end it."""
    faulthandler.enable(file)                           # and where it crashes
    faulthandler.dump_traceback_later(passing if hasattr(signal, "setitimer") else seconds, exit=True, file=file)
    if hasattr(signal, "setitimer"):
        faulthandler.register(signal.SIGPROF, file, chain=True)
        signal.setitimer(signal.ITIMER_PROF, seconds)


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

    def __getattr__(self, name):
        return getattr(self.stream, name)
