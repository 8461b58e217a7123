"""What all attacks stand on: a command in a process of its own, with limits; what it may answer; folders compared; a report."""

import argparse
import contextlib
import gc
import hashlib
import io
import json
import os
import re
import resource
import select
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

SECONDS = 10                # of a core, that a command may take to refuse
BUSY = 12                   # times as long it may take on a busy machine
MEMORY = 2**30              # bytes that it may take for that
CAGE = 5 * 2**30            # more than this it does not get, for the sake of the machine
MARK = "MINILLM_ATTACK"     # a variable of the environment by which all that descends from a command is found again


@dataclass
class Result:
    code: int               # as a shell gives it; -9 killed by signal 9
    out: str
    err: str
    seconds: float
    peak: int               # bytes, the largest of the command and those whom it waited for
    late: bool = False      # had not ended in time, and was killed
    left: int = 0           # processes that it left behind


# A command, forked from a process that has imported all it needs: some 20 ms instead of 200.

def prepare_to_fork():
    """Import what commands import late, and make films short: they are not what is attacked here."""
    import concurrent.futures.process  # noqa: F401
    import zipfile  # noqa: F401

    from minillm import bench, demo, draw, gallery, live, report  # noqa: F401
    from minillm.commands.app import parser
    from tiny.sitecustomize import shorten_films

    parser()
    if not hasattr(draw.player, "keywords"):        # not yet shortened, by the suite
        shorten_films(draw)
    gc.freeze()


def forked(argv, folder, seconds=SECONDS, before=None):
    """Run a command of minillm in `folder`, as a fork of this process. `before()` is called in the fork first."""
    out, err = (tempfile.TemporaryFile() for _ in range(2))     # noqa: SIM115
    start = time.perf_counter()
    pid = os.fork()
    if not pid:
        live_as_command(argv, folder, out, err, seconds, before)
    late = not ends(pid, BUSY * seconds)
    taken = time.perf_counter() - start
    if late:
        os.killpg(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return Result(code, text_of(out), text_of(err), taken, usage.ru_maxrss * 1024, late or code == -signal.SIGXCPU,
                  still_there(pid))


def live_as_command(argv, folder, out, err, seconds, before):
    """What a fork does; it never returns."""
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        for fd, file in enumerate((os.open(os.devnull, os.O_RDONLY), out.fileno(), err.fileno())):
            os.dup2(file, fd)
        sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, text_io(1), text_io(2)
        resource.setrlimit(resource.RLIMIT_AS, (CAGE, CAGE))
        resource.setrlimit(resource.RLIMIT_FSIZE, (CAGE, CAGE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 20))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if before:
            before()
        from minillm.commands.app import main
        sys.argv = ["minillm", *argv]
        main(list(argv))
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
            if "multiprocessing.util" in sys.modules:
                sys.modules["multiprocessing.util"]._exit_function()
        os._exit(code & 255)


def text_io(fd):
    return io.TextIOWrapper(os.fdopen(fd, "wb", closefd=False), encoding="utf-8",
                            errors="backslashreplace" if fd == 2 else "strict",
                            line_buffering=fd == 2)


def text_of(file, most=200_000):
    with file:
        file.seek(0)
        return file.read(most).decode("utf-8", "replace")


def ends(pid, seconds):
    """Whether a child ends in time; it is not waited for."""
    fd = os.pidfd_open(pid)
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


def still_there(session, patience=15):
    """How many processes of a session live on; they are ended. The kernel has a moment to end those that are told to."""
    until = time.perf_counter() + patience
    while living := session_members(session):
        if time.perf_counter() > until:
            for pid in living:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return len(living)
        time.sleep(0.02)
    return 0


def session_members(session):
    try:
        os.killpg(session, 0)      # the quick answer for nearly all: nobody is left
    except ProcessLookupError:
        return []
    return [pid for pid, fields in all_processes() if fields[3] == str(session) and fields[0] not in "ZX"]


def all_processes():
    """Pairs of pid and the fields of /proc/PID/stat after the name: state, parent, group, session, ..."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry), Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()


def marked(mark):
    """Living processes, other than this one, whose environment bears a mark."""
    needle, pids = f"{MARK}={mark}".encode(), []
    for pid, fields in all_processes():
        with contextlib.suppress(OSError):
            if fields[0] not in "ZX" and pid != os.getpid() and needle in Path("/proc", str(pid),
                                                                               "environ").read_bytes().split(b"\0"):
                pids.append(pid)
    return pids


# What a command may answer.

def complaint(command, result, seconds=SECONDS, ok=(0,)):
    """What is wrong with how a command ended, in a few words; None if it succeeded in silence or refused in one sentence."""
    if result.late:
        return f"not done in {seconds} s"
    if result.peak > MEMORY:
        return "more than 1 GB"
    if result.left:
        return "left a process behind"
    if wrong := noise(result.err):
        return wrong
    if result.code in ok:
        return f"exit {result.code}, and on stderr: {gist(result.err)}" if result.err.strip() else None
    if result.code != 2:
        return f"exit {result.code}: {gist(result.err)}"
    return not_one_sentence(command, result.err)


def noise(err):
    """What must never stand on stderr."""
    if "Traceback (most recent call last)" in err:
        return "traceback: " + place_of(err)
    for word in ("Exception ignored", "Warning:", "Fatal Python error", "Segmentation fault"):
        if word in err:
            line = next(line for line in err.splitlines() if word in line)
            return f"{word.rstrip(':')}: {gist(line)}"
    return None


def not_one_sentence(command, err):
    lines = err.strip("\n").split("\n")
    if lines[0].startswith("usage: "):                       # argparse reminds of the options first
        lines = lines[1:]
        while lines and lines[0].startswith(" "):
            lines = lines[1:]
    if len(lines) != 1:
        return f"{len(lines)} lines on stderr: {gist(err)}"
    start = next((start for start in (f"minillm {command}: ", "minillm: error: ") if lines[0].startswith(start)), "")
    sentence = lines[0].removeprefix(start).removeprefix("error: ")
    if not start or len(sentence) < 12:
        return f"no sentence: {gist(lines[0])}"
    if len(sentence) > 700:
        return f"a sentence without end: {gist(lines[0])}"
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", sentence):
        return f"control characters in the sentence: {gist(lines[0])}"
    return None


def gist(text):
    """The first line, without numbers and paths, so that equals can be counted."""
    line = (text.strip().splitlines() or [""])[0]
    line = re.sub(r"(/[^\s:'\"]+)+", "/...", line)
    return re.sub(r"\d+", "#", line)[:140]


def place_of(err):
    """Of a traceback: the exception, and the deepest line of minillm in it."""
    lines = err.strip().splitlines()
    places = [re.sub(r'.*File ".*?/minillm/(.*)", line (\d+), in (.*)', r"minillm/\1:\3", line) for line in lines
              if re.search(r'File ".*/minillm/[^"]*", line', line)]
    last = next((line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception|Interrupt|Warning|Exit)\b", line)),
                lines[-1])
    if last == "KeyboardInterrupt" and places and places[-1].endswith(":<module>"):
        return "KeyboardInterrupt while it is imported"
    return f"{gist(last)[:110]}   in {places[-1] if places else '?'}"


# Folders.

def snapshot(folder, times=False):
    """{name: what it is}: kind, mode and bytes of all that is in a folder, links not followed; also times of writing if asked."""
    entries = {}
    for path in sorted(Path(folder).rglob("*")):
        try:
            info = path.lstat()
        except OSError:
            continue
        if stat.S_ISLNK(info.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(info.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest() if info.st_size < 2**27 else info.st_size
        else:
            content = None
        if not stat.S_ISDIR(info.st_mode):
            entries[str(path.relative_to(folder))] = (oct(info.st_mode), content, *([info.st_mtime_ns] if times else []))
    return entries


def harmed(before, after, files=()):
    """What happened, in words, to links, devices and the like, and to the given files: all these must stand there as before."""
    kept = {name: what for name, what in before.items() if name in files or not what[0].startswith("0o100")}
    return difference(kept, {name: what for name, what in after.items() if name in kept})


def difference(before, after):
    """What happened between two snapshots, in words; empty if nothing."""
    words = [f"{name} is gone" for name in before if name not in after]
    words += [f"{name} is new" for name in after if name not in before]
    words += [f"{name} has changed" for name in before if name in after and before[name] != after[name]]
    return ", ".join(words)


@contextlib.contextmanager
def scratch_folder(base=None):
    """A new folder, in memory if there is such a place, that is gone afterwards."""
    where = base or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    folder = Path(tempfile.mkdtemp(prefix="minillm-attack-", dir=where))
    try:
        yield folder
    finally:
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):
                if not path.is_symlink() and path.is_dir():
                    path.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)


def obey_permissions():
    """In a child: give up what lets the superuser write where nobody may; for what it starts as well."""
    import ctypes

    libc = ctypes.CDLL(None)
    for capability in (1, 2, 3):            # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
        libc.prctl(24, capability, 0, 0, 0)                        # PR_CAPBSET_DROP
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    libc.capset(header, (ctypes.c_uint32 * 6)())


# Many attempts, on two cores, and what became of them.

@dataclass
class Attempt:
    kind: str
    name: str               # what was tried, to be read
    fine: bool
    outcome: str            # refused, the same, other, ...; or what is wrong
    seconds: float
    peak: int = 0
    err: str = ""
    index: int = -1


def options(description, count, **more):
    """An ArgumentParser with what all scripts take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **more)
    parser.add_argument("--seed", type=int, default=1, help="of all choices; the same seed attacks in the same way")
    parser.add_argument("--count", type=int, default=count, help="how many attempts")
    parser.add_argument("--jobs", type=int, default=2, help="attempts at a time")
    parser.add_argument("--first", type=int, default=0, help="number of the first attempt; with --count 1: that one alone")
    parser.add_argument("--only", default="", metavar="REGEX", help="only kinds whose name begins so")
    parser.add_argument("--json", metavar="FILE", help="write all attempts there")
    parser.add_argument("--verbose", action="store_true", help="tell of each attempt")
    return parser


def attempts(attack, indices, jobs, verbose=False):
    """Yield attack(i) for each index, from so many processes, each with all that this one has now; None is left out."""
    if jobs == 1:
        results = map(attack, indices)
    else:       # forks inherit what they start with; only what is asked and answered has to travel
        pool = ProcessPoolExecutor(jobs, get_context("fork"), initializer=remember, initargs=(attack,))
        results = pool.map(attack_remembered, indices)
    for attempt in results:
        if attempt:
            if verbose:
                print(f"{attempt.index:6d} {attempt.seconds:6.2f} s  {'      ' if attempt.fine else 'WRONG '}{attempt.kind}: "
                      f"{attempt.name} -> {attempt.outcome}", flush=True)
            yield attempt


def remember(attack):
    global remembered
    remembered = attack


def attack_remembered(index):
    return remembered(index)


def report(results, file=None):
    """Print what became of all attempts. Returns an exit code: 1 if anything was wrong."""
    results = list(results)
    kinds, wrong = defaultdict(lambda: defaultdict(int)), defaultdict(list)
    for attempt in results:
        kinds[attempt.kind][attempt.outcome if attempt.fine else "WRONG"] += 1
        if not attempt.fine:
            wrong[attempt.outcome].append(attempt)
    print(f"\n{'kind':34s}{'tried':>7s}{'wrong':>7s}{'s each':>8s}   what became of the others")
    for kind, outcomes in sorted(kinds.items()):
        mine = [attempt for attempt in results if attempt.kind == kind]
        others = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()) if outcome != "WRONG")
        print(f"{kind:34s}{len(mine):7d}{outcomes['WRONG'] or '':>7}{sum(a.seconds for a in mine) / len(mine):8.2f}   {others}")
    bad = sum(map(len, wrong.values()))
    print(f"{'in all':34s}{len(results):7d}{bad or '':>7}{sum(a.seconds for a in results) / max(1, len(results)):8.2f}")
    for outcome, mine in sorted(wrong.items(), key=lambda item: -len(item[1])):
        print(f"\n{len(mine):5d} x {outcome}")
        for attempt in mine[:3]:
            print(f"        {attempt.index}: {attempt.kind}: {attempt.name}")
    if file:
        Path(file).write_text(json.dumps([asdict(attempt) for attempt in results], indent=1), encoding="utf-8")
    print(f"\n{bad} of {len(results)} broke a promise." if bad else f"\nAll {len(results)} kept their promise.")
    return 1 if bad else 0
