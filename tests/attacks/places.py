#!/usr/bin/env python3
"""Odd places and terminals: closed streams, strange environments, names, read-only folders, full disks, two runs in one folder.

Held is: what can be done is done, and said in peace; what cannot is refused in one sentence, with exit code 2, before the work,
and
leaves nothing half-done. Each is tried once; --seed and --count only say which (in an order drawn with the seed).
"""

import contextlib
import os
import random
import re
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ground import (
    Attempt,
    attempts,
    difference,
    gist,
    noise,
    not_one_sentence,
    obey_permissions,
    options,
    report,
    scratch_folder,
    snapshot,
)
from runs import MINILLM, Run, content, end_of, finish
from stage import DEMO, HUB, SHORT, TINY, WORDS, Stage

PRETRAIN = ["pretrain", *TINY, "--steps", "6", "--workers", "2", "--out", "o"]
FINETUNE = ["finetune", "--base", "w/pretrained.npz", *SHORT[:-1], "2", "--out", "o"]
COMPARE = ["compare", "--base", "w/pretrained.npz", "--methods", "full", "--seeds", "1", "--rates", "1", "--steps", "2",
           "--batch", "2", "--documents", "4", "--test-documents", "2", "--samples", "1", "--no-scratch", "--out", "o"]
COMMANDS = {            # command: (words, files that are there afterwards)
    "pretrain": (PRETRAIN, ["o/pretrained.npz"]),
    "finetune": (FINETUNE, ["o/full.npz", "o/full.trajectory.npz"]),
    "compare": (COMPARE, ["o/comparison.json", "o/comparison.png"]),
    "merge": (["merge", "w/lora.npz", "--out", "o/merged.npz"], ["o/merged.npz"]),
    "surface": (["surface", "r", "--view", "line", "--models", "pretrained", "full", "--plots", "o"], ["o/line.png"]),
    "report": (["report", "r", "--grid", "3", "--documents", "2", "--samples", "1", "--out", "o/report.html"], ["o/report.html"]),
    "evaluate": (["evaluate", "w/lora.npz", "--documents", "20", "--samples", "1", "--workers", "2"], []),
    "sharpness": (["sharpness", "w/full.npz", "--top", "1"], []),
    "generate": (["generate", "t/full.npz", "--tokens", "300"], []),
    "inspect": (["inspect", "w/pretrained.npz", "--method", "lora"], []),
    "lesson": (["lesson", "1", "--start", "--workbook", "o"], ["o/ex01_squared_error.py"]),
    "progress": (["progress", "--workbook", "b"], []),
    "check": (["check", "1", "--seed", "1", "--workbook", "b"], []),
}
if HUB:
    COMMANDS |= {"import": (["import", "h", "--out", "o/imported.npz"], ["o/imported.npz"]),
                 "export": (["export", "w/pretrained.npz", "--out", "o/hub"], [f"o/hub/{name}" for name in (
                     "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")])}
PARTS = "wrtb" + "h" * HUB      # of the stage
WRITING = [name for name, (_, files) in COMMANDS.items() if files]


class Trouble(Exception):
    """What is wrong, in words."""


def hold(condition, words):
    if not condition:
        raise Trouble(words)


def done(command, result, files=(), box=None, codes=(0,), silent=True):
    """It did what it was to do."""
    code, _, err, orphans = result
    hold(code != "hang", "hangs")
    hold(not orphans, "left a process behind")
    hold(not noise(err), noise(err))
    hold(code in (*codes, *([1] if command == "check" else [])), f"exit {code}: {gist(err)}")
    hold(not silent or not err.strip(), f"on stderr: {gist(err)}")
    for name in files:
        hold((box / name).is_file() and (box / name).stat().st_size, f"{name} is missing")
    return code


def refused(command, result, before=None, box=None):
    """It refused in a sentence, and left everything as it was."""
    code, _, err, orphans = result
    hold(code != "hang", "hangs")
    hold(not orphans, "left a process behind")
    hold(not noise(err), noise(err))
    hold(code == 2, f"exit {code}, not 2: {gist(err)}")
    hold(not not_one_sentence(command, err), not_one_sentence(command, err))
    if before is not None:
        hold(snapshot(box) == before, f"refused, but {difference(before, snapshot(box))}")


def done_or_refused(command, result, before, box, files=()):
    return done(command, result, files, box) if result[0] == 0 else refused(command, result, before, box)


# Closed and broken streams.

STREAMS = {"stdout closed": ">&-", "stderr closed": "2>&-", "both closed": ">&- 2>&-", "stdin closed": "<&-",
           "all closed": "<&- >&- 2>&-",
           "| head -1": "| head -1", "2>&1 | true": "2>&1 | true", "stdout full": "> /dev/full", "stderr full": "2> /dev/full",
           "stdout is a folder's end": ">> /dev/null", "| sleep, then gone": "| (read line; sleep 0.3)"}


def streams():
    for command, (argv, files) in COMMANDS.items():
        for name, redirected in STREAMS.items():
            yield f"streams/{name}", command, lambda box, c=command, a=argv, f=files, r=redirected: with_stream(box, c, a, f, r)


def with_stream(box, command, argv, files, redirected):
    script = f"{shlex.join([*MINILLM, *argv])} {redirected}; exit ${{PIPESTATUS[0]}}"
    result = finish(["-c", script], box, program=("bash",))
    if redirected == "> /dev/full":             # what cannot be said is an error; the work is saved all the same
        hold(result[0] in (1, 2), f"exit {result[0]} though nothing could be written to stdout")
        done(command, result, files, box, codes=(1, 2), silent=False)
        hold(len(result[2].strip().splitlines()) <= 1, f"many words: {gist(result[2])}")
    else:
        done(command, result, files, box, codes=(0, 1, 141) if "|" in redirected else (0,))


# Environments.

ENVIRONMENTS = {
    "LC_ALL=C": dict(LC_ALL="C"), "LC_ALL=POSIX": dict(LC_ALL="POSIX"), "LC_ALL=nonsense": dict(LC_ALL="xx_YY.ZZ"),
    "plain ASCII": dict(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"), "PYTHONUTF8=0": dict(PYTHONUTF8="0"),
    "cp1252": dict(PYTHONIOENCODING="cp1252"), "ascii": dict(PYTHONIOENCODING="ascii"), "utf-16": dict(PYTHONIOENCODING="utf-16"),
    "ascii:strict": dict(PYTHONIOENCODING="ascii:strict", LC_ALL="C"), "COLUMNS=1": dict(COLUMNS="1"),
    "COLUMNS=0": dict(COLUMNS="0"),
    "COLUMNS=x": dict(COLUMNS="x"), "COLUMNS=-5": dict(COLUMNS="-5", LINES="-5"), "TERM=dumb": dict(TERM="dumb"),
    "TERM=": dict(TERM=""),
    "HOME=/nowhere": dict(HOME="/nowhere"), "HOME=": dict(HOME=""), "TMPDIR=/nowhere": dict(TMPDIR="/nowhere"),
    "TMPDIR read-only": dict(TMPDIR="/proc"), "MPLCONFIGDIR=/nowhere": dict(MPLCONFIGDIR="/nowhere"),
    "MPLBACKEND": dict(MPLBACKEND="tkagg"),
    "OMP_NUM_THREADS=x": dict(OMP_NUM_THREADS="x"), "OMP_NUM_THREADS=": dict(OMP_NUM_THREADS=""), "PATH=": dict(PATH=""),
    "-W error": dict(PYTHONWARNINGS="error"), "-OO": dict(PYTHONOPTIMIZE="2"), "-X dev": dict(PYTHONDEVMODE="1"),
    "-X importtime off": dict(PYTHONDONTWRITEBYTECODE="1"), "TZ=nonsense": dict(TZ="Nowhere/Land"),
    "NO_COLOR": dict(NO_COLOR="1"),
    "HASHSEED": dict(PYTHONHASHSEED="7"), "TQDM_DISABLE": dict(TQDM_DISABLE="1"), "MALLOC_PERTURB_": dict(MALLOC_PERTURB_="77")}
SPEAKING = ("sharpness", "generate", "pretrain", "surface", "lesson", "progress", "finetune", "check")


def environments():
    for name, variables in ENVIRONMENTS.items():
        for command in SPEAKING:
            argv, files = COMMANDS[command]
            yield "environment", f"{command}, {name}", lambda box, c=command, a=argv, f=files, v=variables: done(
                c, finish(a, box, **v), f, box)
    for command in SPEAKING:
        argv, files = COMMANDS[command]
        yield "environment", f"{command}, HOME unset", lambda box, c=command, a=argv, f=files: done(
            c, finish(a, box, without=("HOME", "USER", "LOGNAME")), f, box)
        yield "environment", f"{command}, empty", lambda box, c=command, a=argv, f=files: done(
            c, finish(["-i", *MINILLM, *a], box, program=("/usr/bin/env",)), f, box)
        yield "environment", f"{command}, a terminal", lambda box, c=command, a=argv, f=files: done(
            c, finish(a, box, terminal=True, COLUMNS="1"), f, box, silent=False)


# Names.

NAMES = ["with spaces", "with 'quotes'", 'with "quotes"', "new\nline", "tab\there", "Käse 漢字 💥", "e\u0301", "-dash", "--out",
         "%s%d{}", "back\\slash", "dot.", ".hidden", "trailing ", "*", "~", "$HOME", "`id`", "a" * 250, "/".join(["b" * 200] * 8),
         "bytes \udcff\udcfe", "con", "#", "&;|", "\x1b[31mred", "x.npz", "\u202eabc", "a\u2028b"]


def names():
    for name in NAMES:
        yield "names", repr(name[:30]), lambda box, n=name: under(box, n)


def under(box, name):
    """A whole run in a folder of that name. Words that begin with a dash are given as --option=word, or after ./"""
    folder = box / name
    safe = f"./{name}" if name.startswith("-") else name
    for argv, files in [
            (["pretrain", *TINY, "--steps", "3", "--workers", "1", f"--out={name}"], ["pretrained.npz"]),
            (["finetune", f"--base={safe}/pretrained.npz", *SHORT], ["full.npz", "full.trajectory.npz"]),
            (["finetune", f"--base={safe}/pretrained.npz", *SHORT, "--method", "lora:rank=2"], ["lora.npz"]),
            (["inspect", f"{safe}/lora.npz"], []), (["generate", f"{safe}/lora.npz", "--tokens", "3"], []),
            (["merge", f"{safe}/lora.npz", f"--out={safe}/merged.npz"], ["merged.npz"]),
            (["surface", safe, "--view", "line", "--models", "pretrained", "full", f"--plots={name}", "--workers", "1"],
             ["line.png"]),
            *([(["export", f"{safe}/pretrained.npz", f"--out={safe}/hub"], ["hub/config.json", "hub/model.safetensors"]),
               (["import", f"{safe}/hub", f"--out={safe}/again.npz"], ["again.npz"])] if HUB else []),
            (["lesson", "1", "--start", f"--workbook={name}"], ["ex01_squared_error.py"]),
            (["check", "1", f"--workbook={name}"], []), (["progress", f"--workbook={name}"], [])]:
        try:
            done(argv[0], finish(argv, box), files, folder)
        except Trouble as trouble:
            raise Trouble(f"{argv[0]}: {trouble}") from None


# Folders that may only be read, files that may not even be read. (For the superuser, his power over them is given up.)

def locked():
    for command in WRITING:
        argv, files = COMMANDS[command]
        yield "read-only/output folder", command, lambda box, c=command, a=argv: into_read_only(box, c, a)
        yield "read-only/a file as folder", command, lambda box, c=command, a=argv: into_file(box, c, a)
        yield "read-only/current folder", command, lambda box, c=command, a=argv, f=files: from_read_only(box, c, a, f)
        yield "read-only/old output", command, lambda box, c=command, a=argv, f=files: over_read_only(box, c, a, f)
    for command in COMMANDS:
        yield "read-only/inputs", command, lambda box, c=command: of_read_only(box, c)
        yield "read-only/unreadable inputs", command, lambda box, c=command: of_unreadable(box, c)


def into_read_only(box, command, argv):
    (box / "o").mkdir()
    (box / "o").chmod(0o555)
    before, start = snapshot(box), time.perf_counter()
    refused(command, finish(argv, box, before=obey_permissions), before, box)
    return time.perf_counter() - start


def into_file(box, command, argv):
    (box / "o").write_text("a file\n")
    before = snapshot(box)
    refused(command, finish(argv, box, before=obey_permissions), before, box)


def from_read_only(box, command, argv, files):
    """The current folder is read-only, what is to be written lies elsewhere."""
    elsewhere = box.parent / "elsewhere"
    argv = [word.replace("o/", f"{elsewhere}/",
                         1) if word.startswith("o/") else str(elsewhere) if word == "o" else word for word in argv]
    if command in ("surface", "report"):        # what they measure is kept in the folder of the run
        return
    box.chmod(0o555)
    done(command, finish(argv, box, before=obey_permissions), [str(elsewhere / name[2:]) for name in files], box)


def over_read_only(box, command, argv, files):
    """A finished output may only be read: it is replaced or not, but whole."""
    done(command, finish(argv, box))
    for name in files:
        (box / name).chmod(0o444)
    before = snapshot(box)
    done_or_refused(command, finish(argv, box, before=obey_permissions), before, box, files)


def of_read_only(box, command):
    argv, files = COMMANDS[command]
    for part in PARTS:
        for path in (box / part).rglob("*"):
            path.chmod(0o444)
        (box / part).chmod(0o555)
    before = snapshot(box)
    done_or_refused(command, finish(argv, box, before=obey_permissions), before, box, files)


def of_unreadable(box, command):
    if command in ("pretrain", "lesson"):       # read nothing
        return
    argv, _ = COMMANDS[command]
    for part in PARTS:
        for path in (box / part).iterdir():
            path.chmod(0o000)
    before = snapshot(box)
    result = finish(argv, box, before=obey_permissions)
    refused(command, result, before, box)
    hold("ermission" in result[2] or "read" in result[2], f"does not say that it may not be read: {gist(result[2])}")


# Full disks.

def full():
    for command in WRITING:
        for kilobytes in (0, 4, 8, 16, 20, 24, 32, 48, 64, 100):
            yield "full disk/tmpfs", f"{command}, {kilobytes} KB left", lambda box, c=command, k=kilobytes: on_full_disk(box, c,
                                                                                                                         k)
            yield "full disk/ulimit", f"{command}, {kilobytes} KB a file", lambda box, c=command, k=kilobytes: with_limit(box, c,
                                                                                                                          k)
    yield "full disk/tmpfs", "check", lambda box: learning_on_full_disk(box, ["check", "1", "--seed", "1", "--workbook", "o"])
    yield "full disk/tmpfs", "hint", lambda box: learning_on_full_disk(box, ["hint", "1", "--workbook", "o"])


@contextlib.contextmanager
def small_disk(folder, kilobytes):
    """Trouble that is none where nobody may mount."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=755", "none", folder], capture_output=True).returncode:
        raise Skipped("nobody may mount here")
    try:
        (folder / "mine.txt").write_text("mine\n")
        with contextlib.suppress(OSError), open(folder / "ballast", "wb") as ballast:
            ballast.write(bytes(2**20))         # fills it
        os.truncate(folder / "ballast", max(0, (folder / "ballast").stat().st_size - kilobytes * 1024) & ~4095)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], capture_output=True)


class Skipped(Exception):
    pass


def on_full_disk(box, command, kilobytes):
    argv, files = COMMANDS[command]
    with small_disk(box / "o", kilobytes):
        before = snapshot(box / "o")
        result = finish(argv, box)
        if result[0] == 0:
            done(command, result, files, box)
            return
        refused(command, result)
        left_whole(command, before, box / "o")


def with_limit(box, command, kilobytes):
    argv, files = COMMANDS[command]
    (box / "o").mkdir()
    before = snapshot(box / "o")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024,) * 2)
    result = finish(["-c", f"exec {shlex.join([*MINILLM, *argv])} 2>&1 | cat >&2; exit ${{PIPESTATUS[0]}}"], box,
                    program=("bash",),
                    before=limit)
    if result[0] == 0:
        done(command, result, files, box, silent=False)
        return
    sentence = [line for line in result[2].splitlines() if line.startswith("minillm ")]
    refused(command, (result[0], "", noise(result[2]) or "\n".join(sentence), 0))
    left_whole(command, before, box / "o")


def left_whole(command, before, folder):
    """Nothing of before is changed, nothing is half there, nothing is hidden."""
    after = snapshot(folder)
    hold(not difference(before, {name: what for name, what in after.items() if name in before}), "what was there has changed")
    for name in after:
        hold(not Path(name).name.startswith(".") and "part" not in Path(name).name, f"leaves {name}")
        if name not in before and name != "mine.txt":
            path = folder / name
            hold(path.stat().st_size, f"leaves {name}, empty")
            hold(not str(content(path)).startswith("not whole"), f"leaves {name}, cut")
    hold(command != "export" or not difference(before, after), f"leaves half a folder: {difference(before, after)}")
    hold(command != "lesson" or "ex01_squared_error.py" not in after, "leaves a part of an exercise")


def learning_on_full_disk(box, argv):
    with small_disk(box / "o", 100):
        for path in (box / "b").iterdir():
            (box / "o" / path.name).write_bytes(path.read_bytes())
        with contextlib.suppress(OSError), open(box / "o" / "more", "wb") as ballast:
            ballast.write(bytes(2**20))
        before = snapshot(box / "o")
        result = finish(argv, box)
        hold(not noise(result[2]), noise(result[2]))
        left_whole(argv[0], before, box / "o")


# Two runs in one folder.

TWICE = {"pretrain": (PRETRAIN, 12), "finetune": (FINETUNE, 12), "compare": (COMPARE, 4),
         "demo": ([{"d": "o"}.get(word, word) for word in DEMO], 2),
         "surface": (["surface", "r", "--grid", "5", "--view", "random", "--models", "full", "--plots", "o"], 3),
         "report": (COMMANDS["report"][0], 2), "lesson": (COMMANDS["lesson"][0], 2), "merge": (COMMANDS["merge"][0], 2),
         **{name: (COMMANDS[name][0], 3) for name in ("import", "export") if HUB}}


def twice():
    for command, (argv, times) in TWICE.items():
        for i in range(times):
            yield "two at once", f"{command} {i}", lambda box, c=command, a=argv, i=i: two_at_once(box, c, a, i)


def two_at_once(box, command, argv, i):
    """The same command twice, the second some moments later, every other time with another seed."""
    seeds = ("1", "2") if command in ("pretrain", "finetune", "demo") and i % 2 else ("1", "1")
    both = [[*argv, *(["--seed", seed] if command in ("pretrain", "finetune", "demo") else [])] for seed in seeds]
    ends = []
    for words in dict.fromkeys(map(tuple, both)):
        with scratch_folder() as other:
            alone = other / "box"
            subprocess.run(["cp", "-a", box, alone], check=True)
            done(command, finish(words, alone), silent=False)
            ends.append(end_of(alone))
    first = Run(both[0], box)
    first.wait(random.Random(i).choice([0, 0, 0.05, 0.2, 0.5]))
    second = Run(both[1], box)
    results = []
    for run in (first, second):
        late = not run.wait(60)
        results.append(run.over())
        hold(not late, "hangs")
    for code, _, err, orphans in results:
        hold(not noise(err), noise(err))
        hold(not orphans, "left a process behind")
        hold(code in (0, 2), f"exit {code}: {gist(err)}")
        hold(code == 0 or not not_one_sentence(command, err), not_one_sentence(command, err))
    hold(0 in [code for code, *_ in results], f"neither of the two was done: {gist(results[0][2])} / {gist(results[1][2])}")
    end = end_of(box)
    hold(end in ends, "files of neither: " + ", ".join(sorted({
        name for name in {**end,
                          **ends[0]} if all(other.get(name) != end.get(name) for other in ends)} or {"a mixture of both"})[:4]))


# Places that are no more.

def gone():
    for command in ("evaluate", "pretrain", "generate", "lesson", "progress", "surface", *(["import", "export"] if HUB else [])):
        yield "current folder deleted", command, lambda box, c=command: from_deleted(box, c)
    for command in ("pretrain", "finetune", "compare"):
        yield "output folder deleted meanwhile", command, lambda box, c=command: folder_deleted(box, c)


def from_deleted(box, command):
    argv, files = COMMANDS[command]
    absolute = [str(box / word) if word[:2] in ("w/", "o/", "t/") or word in ("o", "r", "b", "w", "h") else word for word in argv]
    script = f"mkdir {box}/gone; cd {box}/gone; rmdir {box}/gone; exec {shlex.join([*MINILLM, *absolute])}"
    before = snapshot(box)
    done_or_refused(command, finish(["-c", script], box, program=("bash",)), before, box, files)


def folder_deleted(box, command):
    argv = [*COMMANDS[command][0], "--steps", "400"]
    run = Run(argv, box)
    until = time.perf_counter() + 20
    while not (box / "o").exists() and time.perf_counter() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    subprocess.run(["rm", "-rf", box / "o"])
    late = not run.wait(60)
    result = run.over()
    hold(not late, "hangs")
    if result[0] == 0:
        done(command, result, COMMANDS[command][1], box)
    else:
        refused(command, result)


KINDS = (streams, environments, names, locked, full, twice, gone)


class Place:
    """place(i) tries one."""

    def __init__(self, stage, args):
        self.stage = stage
        every = [one for kind in KINDS for one in kind() if re.match(args.only, f"{one[0]}, {one[1]}")]
        random.Random(args.seed).shuffle(every)
        self.every = every

    def __call__(self, index):
        if index >= len(self.every):
            return None
        kind, name, attempt = self.every[index]
        start, wrong, outcome = time.perf_counter(), "", "held"
        with scratch_folder() as outer:
            box = outer / "box"
            box.mkdir()
            self.stage.copy(box, *PARTS)
            try:
                attempt(box)
            except Trouble as trouble:
                wrong = str(trouble)
            except Skipped as reason:
                outcome = f"skipped: {reason}"
            except RecursionError:
                outcome = "skipped: too deep"
            box.chmod(0o755)
        return Attempt(kind, name, not wrong, f"{name.split(',')[0].split(' ')[0]}: {wrong}" if wrong else outcome,
                       time.perf_counter() - start, index=index)


def set_up(folder):
    stage = Stage(folder).need("w", "r", "b")
    (folder / "t").mkdir()
    (folder / "t/book.txt").write_text((WORDS + "Käse, 漢字 and “💥”. ") * 12)
    stage.run("pretrain", *TINY[:6], "--context", "64", "--batch", "2", "--steps", "3", "--workers", "1", "--text", "t/book.txt",
              "--out", "t")
    os.rename(folder / "t/pretrained.npz", folder / "t/full.npz")
    if HUB:
        stage.run("export", "w/pretrained.npz", "--out", "h")
    return stage


def main():
    args = options(__doc__, 10_000).parse_args()
    with scratch_folder() as folder:
        place = Place(set_up(folder), args)
        last = min(args.first + args.count, len(place.every))
        return report(attempts(place, range(args.first, last), args.jobs, args.verbose), args.json)


if __name__ == "__main__":
    sys.exit(main())
