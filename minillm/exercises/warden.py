"""The warden: a process between minillm and the learner's code, which ends all processes that the code leaves behind.

    minillm  ->  warden  ->  the check  ->  whatever it starts

The warden holds one end of a pipe whose other end only minillm has. So it notices when minillm ends, however it ends. All
orphans below the warden become its children (PR_SET_CHILD_SUBREAPER of Linux), even in other process groups; so it can end them
all.
"""

import ctypes
import os
import select
import signal
import time
import warnings
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:      # Windows
    resource = None

from ..ground.runtime import cores, total_memory

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36      # of prctl(2) in Linux
MEMORY = max(1 << 30, min(2 << 30, total_memory() // 2))      # bytes of RAM that a check may allocate
WRITTEN = 100 << 20              # bytes that a check may write into one file
PROCESSES = max(200, 4 * cores())      # that a check may start
POLL_SECONDS = 0.05              # between two looks at their number
PATIENCE = 5                     # seconds to end them


def guard(work, seconds, tell):
    """Call work() in a fork of this process; when it is done, end all processes that it has started. Never returns.

    work        a function; the fork ends after it
    seconds     the time after which the fork is killed
    tell        called with a sentence if that happens, or if the fork starts too many processes
    Standard input is the pipe that minillm holds. This process ends with the exit code or signal of the fork.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    wakeup, wakeup_writer = os.pipe()
    os.set_blocking(wakeup_writer, False)
    signal.set_wakeup_fd(wakeup_writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)          # the handler does nothing, but the signal is written into the pipe
    warden = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)     # since 3.12, of forks with threads: the BLAS threads are idle
        fork = os.fork()
    if not fork:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != warden:                          # the warden has ended already
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.close(wakeup)
        os.close(wakeup_writer)
        work()
        os._exit(0)
    status = watch(fork, wakeup, time.monotonic() + seconds, tell)
    end_descendants(fork)
    end_like(status)


def watch(fork, wakeup, deadline, tell):
    """Wait until the fork has ended, and return its status; None if it must be killed."""
    at_first = running()
    while True:
        ready = select.select([0, wakeup], [], [], POLL_SECONDS)[0]
        if wakeup in ready:
            os.read(wakeup, 4096)
            pid, status = os.waitpid(fork, os.WNOHANG)
            if pid:
                return status
        if 0 in ready:                                      # minillm has closed its end of the pipe, or has ended
            return None
        if time.monotonic() > deadline:
            tell("It has not ended, and it is not known which line it was in.")
            return None
        if running() > at_first + PROCESSES and len(descendants()) > PROCESSES:
            tell(f"It starts more and more processes: {PROCESSES} were running, so it was ended. Is os.fork, or "
                 "multiprocessing, called in a loop, or while the file is imported?")
            return None


def running():
    """The number of processes and threads on this machine: a cheap first test."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    return 0


def descendants():
    """The pids of all processes below this one."""
    children = {}
    with suppress(OSError):
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):
                parent = int(Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    family = [os.getpid()]
    for pid in family:
        family += children.get(pid, ())
    return family[1:]


def end_descendants(group):
    """Kill all processes below this one until none is left; a process that is started meanwhile is killed in the next round."""
    until = time.monotonic() + PATIENCE                     # one may belong to another user, say, and never end
    while time.monotonic() < until:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)                # all at once
        for pid in descendants():                           # and those that have moved to another group
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def end_like(status):
    """End this process as the fork has ended: with its exit code, or by its signal."""
    if status is None:
        os._exit(1)
    if os.WIFSIGNALED(status):
        with suppress(OSError):
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


def limit(seconds):
    """Limit what this process, and each process that it starts, may use: computing time, RAM and the size of files."""
    if resource is None:
        return
    for name, most in (("DATA", MEMORY), ("FSIZE", WRITTEN), ("CORE", 0), ("CPU", int(seconds) + 10)):
        with suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
