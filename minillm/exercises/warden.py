"""Between minillm and what a learner has written stands a warden: a process that lets it run, and ends whatever it leaves behind.

    minillm  ->  warden  ->  the check  ->  whatever it starts

The warden holds one end of a pipe whose other end only minillm has. So it notices the end of minillm, however that comes about.
All orphans below it become its children (Linux' PR_SET_CHILD_SUBREAPER), wherever they have moved; so it can end them all.
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

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36      # of Linux' prctl(2)
MEMORY = max(1 << 30, min(2 << 30, total_memory() // 2))      # bytes of its own that a check may take
WRITTEN = 100 << 20              # bytes that it may write into one file
PROCESSES = max(200, 4 * cores())
LOOK = 0.05                      # seconds between two looks at their number
PATIENCE = 5                     # seconds to end them


def guard(work, seconds, tell):
    """Call work() in a fork of this process, and when it is over, end all that has come of it. Never returns.

    work        what to do; the fork ends with it
    seconds     after which the fork is ended from outside
    tell        is called with a sentence if that happens, or if it starts processes without end
    Standard input is the pipe that minillm holds. This process ends as the fork has ended.
    """
    obey = ctypes.CDLL(None).prctl
    obey(PR_SET_CHILD_SUBREAPER, 1)
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)          # but it is written into the pipe
    warden = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)     # from 3.12, of threads: those of NumPy's BLAS are idle
        fork = os.fork()
    if not fork:
        obey(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != warden:                          # it had ended before
            os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setpgid(0, 0)
        os.close(awake)
        os.close(wake)
        work()
        os._exit(0)
    status = watch(fork, awake, time.monotonic() + seconds, tell)
    end_descendants(fork)
    end_like(status)


def watch(fork, awake, deadline, tell):
    """Wait until the fork has ended. Returns its status; None if it must be ended."""
    at_first = running()
    while True:
        ready = select.select([0, awake], [], [], LOOK)[0]
        if awake in ready:
            os.read(awake, 4096)
            pid, status = os.waitpid(fork, os.WNOHANG)
            if pid:
                return status
        if 0 in ready:                                      # minillm has closed its end, or is no more
            return None
        if time.monotonic() > deadline:
            tell("It has not ended, and could not be asked where it was.")
            return None
        if running() > at_first + PROCESSES and len(descendants()) > PROCESSES:
            tell(f"It starts more and more processes: {PROCESSES} were running, so it was ended. Is os.fork, or "
                 "multiprocessing, called in a loop, or while the file is imported?")
            return None


def running():
    """How many processes and threads there are on this machine; a cheap first look."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    return 0


def descendants():
    """The numbers of all processes that come of this one."""
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
    """Until none is left; what a process starts in its last moment is ended in the next round."""
    until = time.monotonic() + PATIENCE                     # of one that belongs to another user, say
    while time.monotonic() < until:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)                # all at once
        for pid in descendants():                           # and those that have moved into a group of their own
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def end_like(status):
    """End as the fork has: with its exit code, or by its signal."""
    if status is None:
        os._exit(1)
    if os.WIFSIGNALED(status):
        with suppress(OSError):
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 1)


def limit(seconds):
    """What this process and those that come of it may take of the machine, each of them: seconds of a core, memory, files."""
    if resource is None:
        return
    for what, most in (("DATA", MEMORY), ("FSIZE", WRITTEN), ("CORE", 0), ("CPU", int(seconds) + 10)):
        with suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{what}"), (most, most))
