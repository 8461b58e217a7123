"""A check takes no more of the machine than it may, ends when it should, and leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minillm.exercises import commands
from minillm.exercises import judge as judging
from minillm.exercises.catalogue import LESSONS, exercise_of
from minillm.exercises.judge import judge

FIRST = exercise_of(1)
RIGHT = """import numpy as np

def squared_error(x, y, w, b):
    e = x @ w + b - y
    return np.mean(e ** 2), 2 / len(y) * x.T @ e, 2 * np.mean(e)
"""
# Forks that sleep for ever; some leave the group and the session of their parent, or lose it.
FORKS = """import os, time
for n in range(6):
    if not os.fork():
        if n % 3 == 1:
            os.setsid()
        if n % 3 == 2 and os.fork():
            os._exit(0)
        with open("pids", "a") as file:
            file.write(f"{os.getpid()}\\n")
        while True:
            time.sleep(1000)
while not os.path.exists("pids") or open("pids").read().count("\\n") < 6:
    time.sleep(0.001)
"""
LINUX = pytest.mark.skipif(not judging.CAN_FORK, reason="only where a process can safely be forked")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def judged(source, folder, before="", **options):
    """The verdict; `before` is run in the process of the check, before it begins."""
    path = folder / FIRST.file
    path.write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "BEGIN", judging.BEGIN.replace("main(", f"{before}; main(", 1) if before else judging.BEGIN)
        return judge(FIRST, path, 1, **{"passing": 300} | options)


def alive(pid):
    """Does a process run? One that nobody has asked about its end yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def pids():
    return [int(line) for line in Path("pids").read_text().split()]


def wait_until(condition):
    """However busy the machine is."""
    until = time.monotonic() + 60
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()


# What it leaves behind: nothing.

@LINUX
@pytest.mark.parametrize("then, passed", [("", True), ("os._exit(3)\n", False), ("while True: pass\n", False)])
def test_forks_are_ended_with_the_check(then, passed, folder):
    assert judged(FORKS + then + RIGHT, folder, seconds=0.5).passed is passed
    assert len(pids()) == 6 and not any(map(alive, pids()))


@LINUX
def test_only_the_process_of_the_check_itself_tells_a_verdict(folder):
    """A copy of it goes through the same checks, to their end."""
    verdict = judged("import os\nif pid := os.fork():\n    os.waitpid(pid, 0)\n    os._exit(3)\n" + RIGHT, folder)
    assert not verdict.passed and "exit code 3" in verdict.reason


@LINUX
def test_processes_without_end_are_ended_and_reported(folder):
    source = "import os, time\nfor n in range(300):\n    if not os.fork():\n        time.sleep(1000)\ntime.sleep(1000)\n"
    verdict = judged(source, folder, "import minillm.exercises.warden as warden; warden.PROCESSES = 10")
    assert not verdict.passed and "starts more and more processes: 10 were running" in verdict.reason


@LINUX
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_check_ends_with_minillm_however_that_is_ended(name, folder):
    (folder / FIRST.file).write_text(FORKS + "open('pids', 'a').write(f'{os.getpid()}\\n')\nwhile True: pass\n")
    command = subprocess.Popen([sys.executable, "-m", "minillm", "check", "1", FIRST.file], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: Path("pids").exists() and len(pids()) == 7)
    command.send_signal(getattr(signal, name))
    out, err = command.communicate(timeout=60)
    wait_until(lambda: not any(map(alive, pids())))
    if name == "SIGINT":
        assert command.returncode == 130 and err.strip() == "minillm: interrupted." and not out
    assert not list(folder.rglob("progress.json"))


@LINUX
def test_a_check_whose_warden_is_killed_ends(folder):
    verdict = judged("import os, signal, time\nopen('pids', 'w').write(str(os.getpid()))\n"
                     "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(1000)\n", folder)
    assert "has ended the whole program (SIGKILL)" in verdict.reason
    wait_until(lambda: not any(map(alive, pids())))


@pytest.mark.parametrize("start", ["import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n",
                                   "import atexit, time\natexit.register(time.sleep, 1000)\n"], ids=["thread", "atexit"])
def test_what_would_go_on_after_the_verdict_does_not(start, folder):
    assert judged(start + RIGHT, folder, seconds=0.5).passed


# What it may take.

@pytest.mark.parametrize("line, limit, words", [
    ("a = [x]\n    while True: a += a", "MEMORY = 300 << 20", "MemoryError"),
    ("return np.ones((10 ** 6, 10 ** 6)), w, b", "MEMORY = 300 << 20", "Is an array larger than meant"),
    ("for _ in range(100): open('large', 'ab').write(bytes(10 ** 5))", "WRITTEN = 10 ** 6", "MB into a file"),
    ("import os\n    while True: os.write(1, bytes(1000))", "WRITTEN = 10 ** 6", "MB into a file"),
    ("import os\n    while True: os.write(2, bytes(1000))", "WRITTEN = 10 ** 6", "MB into a file"),
])
@LINUX
def test_what_is_too_much_is_reported(line, limit, words, folder):
    verdict = judged(f"import numpy as np\ndef squared_error(x, y, w, b):\n    {line}\n", folder,
                     f"import minillm.exercises.warden as warden; warden.{limit}")
    assert not verdict.passed and words in verdict.reason and verdict.line == 2 + line.count("\n") + 1
    assert not Path("large").exists() or Path("large").stat().st_size <= 10 ** 6


def test_a_file_that_waits_for_ever_is_ended_and_its_line_reported(folder):
    verdict = judged("import time\ntime.sleep(1000)\n", folder, passing=0.5)
    assert "Not done after 0.5 seconds" in verdict.reason and "Does it sleep" in verdict.reason and verdict.line == 2


def test_only_computing_counts(folder):
    """A right answer that has to wait, for other processes say, is right: it sleeps for longer than it may compute."""
    verdict = judged(RIGHT.replace("    e = ", "    import time; time.sleep(0.1)\n    e = "), folder, seconds=0.3)
    assert verdict.passed and verdict.calls * 0.1 > 0.3


def test_importing_what_the_check_needs_does_not_count(folder):
    """Before: more computing than the check may take."""
    assert judged(RIGHT, folder, "import time; [0 for _ in iter(lambda: time.process_time() < 0.7, False)]", seconds=0.3).passed


def test_a_crash_is_reported_with_its_line(folder):
    verdict = judged("import ctypes\nctypes.string_at(0)\n", folder)
    assert "has ended the whole program (SIGSEGV)" in verdict.reason and verdict.line == 2


def test_a_process_that_cannot_even_begin_is_a_fault_of_minillm(folder):
    assert "fault of minillm and not yours: ZeroDivisionError" in judged(RIGHT, folder, "1 / 0").reason


def test_the_folder_one_is_in_is_not_imported_from_before_the_check(folder):
    """A file of the learner's that is named as a module of Python hides that one from minillm otherwise."""
    for name in ("numpy", "json", "random", "tempfile"):
        (folder / f"{name}.py").write_text("1 / 0\n")
    assert judged(RIGHT.replace("import numpy as np", "import sys; np = sys.modules['numpy']"), folder).passed


def test_what_is_printed_may_be_in_any_alphabet(folder):
    verdict = judged("print('x → ∞ \\ud800')\nimport sys; sys.stdout.buffer.write(b'raw'); sys.stdout.flush()\n" + RIGHT, folder)
    assert verdict.passed and "x → ∞ \\ud800" in verdict.printed


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "| true"])
def test_a_check_needs_no_standard_streams(closed, folder):
    (folder / FIRST.file).write_text(RIGHT)
    command = f"'{sys.executable}' -m minillm check 1 {FIRST.file} {closed}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert (folder / "workbook" / "progress.json").exists() or closed == "| true"
    assert done.stdout.startswith("Right") or ">&-" in closed.split() or closed == "| true"


# Ctrl-C.

def interrupted(command, group=True, times=1, **options):
    """Start a command, wait until it says that it is ready, and press Ctrl-C; what became of it."""
    process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                               **options)
    assert process.stdout.readline() == "ready\n"
    for _ in range(times):
        (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, err


LESSON = "import ctrl_c, time\nprint('ready', flush=True)\ntry:\n    time.sleep(1000)\nfinally:\n    time.sleep(0.2)\n"


@pytest.mark.parametrize("times", [1, 20])
def test_a_lesson_ends_in_one_line(times):
    code, err = interrupted([sys.executable, "-c", LESSON], times=times, cwd=LESSONS)
    assert code == 130 and err.strip() == "The lesson was interrupted."


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "Interrupted(3, None)"])
def test_a_lesson_says_the_same_if_it_was_training(raised):
    done = subprocess.run([sys.executable, "-c", f"import ctrl_c\nfrom minillm.train.fit import Interrupted\nraise {raised}"],
                          cwd=LESSONS, capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr.strip() == "The lesson was interrupted."


def test_other_errors_of_a_lesson_are_traced_back():
    done = subprocess.run([sys.executable, "-c", "import ctrl_c\n1 / 0"], cwd=LESSONS, capture_output=True, text=True)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr and "Traceback" in done.stderr


RUN = """import sys
from minillm.exercises import commands
from minillm.ground.interrupts import listening
commands.PATIENCE = 10
try:
    with listening():
        sys.exit(commands.run([sys.executable, "-c", {!r}]))
except KeyboardInterrupt:
    print("Interrupted, says minillm.", file=sys.stderr)
"""


@pytest.mark.parametrize("group, times", [(True, 20), (False, 1)])
def test_a_lesson_that_is_run_ends_in_one_line_too(group, times):
    code, err = interrupted([sys.executable, "-c", RUN.format(LESSON)], group, times, cwd=LESSONS)
    assert code == 130 and err.strip() == "The lesson was interrupted."


def test_ctrl_c_while_a_lesson_is_importing_comes_when_it_can_be_understood():
    lesson = ("import signal, time\nprint('ready', flush=True)\n"
              "while not signal.sigpending(): time.sleep(0.01)\nimport ctrl_c\n1 / 0\n")
    code, err = interrupted([sys.executable, "-c", RUN.format(lesson)], cwd=LESSONS)
    assert code == 130 and err.strip() == "The lesson was interrupted."


def test_a_lesson_that_does_not_obey_is_ended():
    deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(1000)\n"
    code, err = interrupted([sys.executable, "-c", RUN.replace("10", "0.3").format(deaf)])
    assert code == 0 and err.strip() == "Interrupted, says minillm."


def test_the_exit_code_of_a_lesson_is_that_of_the_command():
    assert commands.run([sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert commands.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) == 128 + 9


def test_ctrl_c_pressed_twice_ends_a_check_in_one_line(folder):
    (folder / FIRST.file).write_text("open('ready', 'w')\nwhile True: pass\n")
    command = subprocess.Popen([sys.executable, "-m", "minillm", "check", "1", FIRST.file], text=True, stderr=subprocess.PIPE)
    wait_until(lambda: Path("ready").exists())
    for _ in range(20):
        command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=60)
    assert command.returncode == 130 and err.strip() == "minillm: interrupted."


def test_ctrl_c_while_minillm_is_importing_is_reported_in_one_line():
    code = ("import os, signal, sys, importlib.abc\nsys.argv[0] = 'minillm'\n"
            "class Interrupt(importlib.abc.MetaPathFinder):\n"
            "    def find_spec(self, name, *_):\n"
            "        if name == 'numpy':\n            os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Interrupt())\nimport minillm")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr.strip() == "minillm: interrupted."
