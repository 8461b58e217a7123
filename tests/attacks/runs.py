"""Tiny runs of the long commands in true processes, to be killed and interrupted; and whether they end as they should."""

import contextlib
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
import zipfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ground import MARK, attempts, ends, marked, scratch_folder, text_of
from stage import COMPARE, HUB, TINY

HERE = Path(__file__).parent
PATIENCE = 10           # seconds for a command to end when it was told to
LONG = 120              # for one that is left in peace, on a machine with other things to do
UNFINISHED = "*.training.npz"


@dataclass(frozen=True)
class Job:
    """A command that takes some seconds. `again` is how it goes on when it was stopped: with --resume where there is something to
    resume, as the same command, or not at all. `folder` is one that is written as a whole: it is as before, or as at the end, or
    no folder of transformers."""
    name: str
    argv: tuple
    parts: str = ""
    again: str = ""             # "resume", "same" or ""
    ok: tuple = (0,)
    weight: float = 1
    before: dict = field(default_factory=dict)      # {place in the box: part of the stage that is copied there}
    folder: str = ""


def jobs():
    pretraining = (*TINY, "--steps", "90", "--save-every", "7", "--out", "o")
    tuning = ("--base", "w/pretrained.npz", "--documents", "16", "--batch", "4", *pretraining[-6:])
    several = COMPARE[1:-4]         # without --workers and --out
    two = ("--models", "full", "lora")
    views = [("three",), ("pca",), ("random", *two[:2]), ("hessian", *two[:2]), ("curve", *two), ("line", *two)]
    parallel = []
    for n in ("1", "2"):
        workers = ("--workers", n)
        parallel += [
            Job(f"pretrain, {n}", ("pretrain", *pretraining, *workers), "", "resume", weight=2),
            Job(f"finetune full, {n}", ("finetune", *tuning, *workers), "w", "resume"),
            Job(f"finetune ia3, {n}", ("finetune", *tuning, "--method", "ia3", "--remedy", "ewc", *workers), "w", "resume"),
            Job(f"compare, {n}", ("compare", *several, "--out", "o", "--rates", "3", "--steps", "20", *workers), "w", "same",
                weight=2),
            Job(f"demo, {n}", ("demo", "--quick", "--out", "o", "--plots", "p", *workers), "", "demo", weight=0.5),
            Job(f"evaluate, {n}", ("evaluate", "w/lora.npz", "--documents", "300", "--samples", "9", *workers), "w"),
            Job(f"sharpness, {n}", ("sharpness", "w/full.npz", "--top", "3", *workers), "w"),
            Job(f"report, {n}", ("report", "r", "--grid", "3", "--documents", "9", "--samples", "3", *workers), "r", "same"),
            *(Job(f"surface {view}, {n}", ("surface", "r", "--view", view, *more, "--grid", "9", "--plots", "p", *workers), "r",
                  "same", weight=0.5) for view, *more in views)]
    text = ("pretrain", *TINY, *pretraining[-6:], "--text", "m/book.txt", "--tokenizer", "bpe:size=600", "--context", "64")
    todays = [
        Job("pretrain bpe", (*text, "--workers", "1"), "m", "resume", weight=2),
        Job("import", ("import", "m/folder", "--out", "o.npz"), "m", "same", weight=3),
        Job("import again", ("import", "m/earlier", "--out", "m/pretrained.npz"), "m", "same", weight=3),
        Job("import adapter", ("import", "h/lora", "--base", "l/pretrained.npz", "--out", "o.npz"), "hl", "same"),
        Job("export", ("export", "m/pretrained.npz", "--out", "o"), "m", "same", weight=3, folder="o"),
        Job("export again", ("export", "m/pretrained.npz", "--out", "o"), "m", "same", weight=3, before={"o": "m/earlier"},
            folder="o"),
        Job("export adapter", ("export", "l/lora.npz", "--out", "o"), "l", "same", folder="o")] if HUB else []
    return parallel + todays + [
        Job("gallery, 2", ("gallery", "e", "--plots", "p", "--grid", "3", "--workers", "2"), "e", "same", weight=0.2),
        Job("generate", ("generate", "w/lora.npz", "--tokens", "2000", "--count", "3"), "w", weight=2),
        Job("gradcheck", ("gradcheck",), weight=2),
        Job("bench", ("bench", "--size", "lesson", "--seconds", "2"), weight=2),
        Job("lesson", ("lesson", "1", "--run", "--quick"), weight=2),
        Job("check", ("check", "1", "b/slow.py", "--workbook", "b"), "b", ok=(0, 1), weight=2),
        Job("inspect", ("inspect", "w/pretrained.npz", "--method", "lora", "--batch", "200"), "w")]


MINILLM = (sys.executable, "-m", "minillm")


class Run:
    """A command that has been started, in a session of its own; all that descends from it bears a mark.

    program     what `argv` are the words of
    without     variables that it shall not have; `more` are those that it shall
    before      called in its process before it begins
    """

    def __init__(self, argv, folder, terminal=False, program=MINILLM, without=(), before=None, **more):
        self.mark, self.start = uuid.uuid4().hex, time.perf_counter()
        self.out, self.err = (open(Path(folder).parent / f"{self.mark}.{what}", "w+b") for what in ("out", "err"))  # noqa: SIM115
        self.terminal, far = pty.openpty() if terminal else (None, self.err)
        path = os.pathsep.join([str(HERE / "tiny"), str(HERE.parents[1])])         # this minillm, whichever is installed
        environment = os.environ | {MARK: self.mark, "PYTHONPATH": path} | more
        environment = {name: value for name, value in environment.items() if name not in without}
        self.process = subprocess.Popen([*program, *argv], cwd=folder, env=environment, stdout=self.out, stderr=far,
                                        stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=before)
        if terminal:
            os.close(far)

    def send(self, number, group=False):
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(self.process.pid, number)

    def wait(self, seconds):
        """Whether it ended in time. What it writes to a terminal is read, or it would have to wait."""
        until = time.perf_counter() + seconds
        while self.process.returncode is None and time.perf_counter() < until:
            if ends(self.process.pid, 0.05 if self.terminal else max(0, until - time.perf_counter())):
                self.read_terminal()
                self.process.wait()
                return True
            self.read_terminal()
        return self.process.returncode is not None

    def read_terminal(self):
        if self.terminal:
            os.set_blocking(self.terminal, False)
            with contextlib.suppress(OSError):
                while piece := os.read(self.terminal, 65536):
                    self.err.write(piece)

    def over(self, patience=2.0):
        """End what is left of it. Returns (exit code, stdout, stderr, how many processes lived on though it had ended)."""
        orphans, until = marked(self.mark), time.perf_counter() + patience
        while orphans and time.perf_counter() < until:
            time.sleep(0.05)
            orphans = marked(self.mark)
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        if self.terminal:
            self.read_terminal()
            os.close(self.terminal)
        names = self.out.name, self.err.name
        outcome = self.process.returncode, text_of(self.out), text_of(self.err), len(orphans)
        for name in names:
            os.unlink(name)
        return outcome


class Undisturbed:
    """How a job ends when nothing happens to it, and how long it takes."""

    def __init__(self, stage, job):
        with scratch_folder() as outer:
            box = set_up(stage, outer, job)
            start = time.perf_counter()
            code, out, err, _ = finish(job.argv, box)
            self.seconds = time.perf_counter() - start
            if code not in job.ok:
                raise SystemExit(f"{job.name} does not work: exit {code}\n{err}")
            self.end = end_of(box)


def in_peace(stage, jobs, at_a_time):
    """{name: Undisturbed} of jobs, measured on a machine as busy as it will be."""
    undisturbed = {job.name: end for job, end in zip(jobs, attempts(partial(Undisturbed, stage), jobs, at_a_time))}
    print("in peace: " + ", ".join(f"{name} {end.seconds:.1f} s" for name, end in undisturbed.items()), flush=True)
    return undisturbed


def set_up(stage, outer, job):
    box = outer / "box"
    box.mkdir()
    stage.copy(box, *job.parts)
    for place, part in job.before.items():
        shutil.copytree(stage.need(*part.split("/")[0]).folder / part, box / place)
    return box


def finish(argv, box, **more):
    run = Run(argv, box, **more)
    late = not run.wait(LONG)
    code, out, err, orphans = run.over()
    return ("hang" if late else code), out, err, orphans


def go_on(job, box):
    """The words that go on with what was stopped."""
    if job.again == "demo" and (box / "o/demo.json").exists():
        return [*job.argv, "--resume"]
    if job.again == "resume" and list((box / "o").glob(UNFINISHED)):
        return [*job.argv, "--resume"]
    return list(job.argv)


AT_A_NAME = ("import", "export")      # jobs that are also stopped at the moment when a file gets its name


def at_name(name, afterwards, act):
    """In a fork: act() when the file that is written as number `name`, from 0, is to get its name, or has just got it."""
    left = [name]

    def watched(move):
        def moved(*args, **more):
            if not (left[0] or afterwards):
                act()
            move(*args, **more)
            if not left[0] and afterwards:
                act()
            left[0] -= 1
        return moved
    os.replace = watched(os.replace)


# What is compared.

CLOCK = re.compile(r"second|_ms$| ms$|^key$")


def end_of(box):
    """{file: what is in it, without times}, of all files. Of pictures and tables only that they are there.

    Surfaces are named by what they were measured from, the seconds that this took included: files of which only such a name
    differs are told apart by their order.
    """
    contents = {}
    for path in sorted(box.rglob("*")):
        if path.is_file():
            name = re.sub(r"-[0-9a-f]{12}\.", "-#.", str(path.relative_to(box)))
            contents.setdefault(name, []).append(content(path))
    return {f"{name} {i or ''}".rstrip(): what for name, those in contents.items()
            for i, what in enumerate(sorted(those, key=repr))}


def content(path):
    if path.suffix == ".npz":
        try:
            with zipfile.ZipFile(path) as file:
                meta = without_clock(json.loads(file.read("meta.json")))
            with np.load(path) as file:
                return meta, {name: (file[name].dtype.str, file[name].shape, file[name].tobytes()) for name in file.files
                              if name != "meta.json"}
        except Exception as error:
            return f"not whole: {error}"
    if path.suffix == ".json":
        try:
            return without_clock(json.loads(path.read_text()))
        except ValueError as error:
            return f"not whole: {error}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.suffix == ".safetensors" else None


def without_clock(value):
    if isinstance(value, dict):
        return {name: without_clock(inner) for name, inner in value.items() if not CLOCK.search(name)}
    return [without_clock(inner) for inner in value] if isinstance(value, list) else value


def differences(end, actual):
    """What is not as in an undisturbed run, in words."""
    words = [f"{name} is missing" for name in end if name not in actual]
    words += [f"{name} is too many" for name in actual if name not in end]
    words += [f"{name} is another" for name in end if name in actual and end[name] != actual[name]]
    return re.sub(r"[0-9a-f]{12,}", "#", ", ".join(words[:3])) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def half_done(job, start, end, box, killed=False):
    """What is wrong with the folder that a stopped job was writing, or None. Temporary files may stand there.

    killed      so that nobody could put it in order; then it is enough if it is refused
    """
    def inside(files):
        return {name: what for name, what in files.items() if name.startswith(f"{job.folder}/") and ".part" not in name}

    here = inside(end_of(box))
    if not job.folder or here in ({}, inside(start), inside(end)):
        return None
    base = ["--base", "l/pretrained.npz"] if "adapter" in job.name else []
    code, out, _, _ = finish(["import", job.folder, *base, "--out", "half.npz"], box)
    (box / "half.npz").unlink(missing_ok=True)
    if killed and code == 2:
        return None
    files = ", ".join(f"{Path(name).name} {'new' if what == end.get(name) else 'old'}" for name, what in sorted(here.items()))
    return f"leaves half a folder, which is {'read' if code == 0 else 'refused'}: {files}"


def strays(end, box):
    """Files that an undisturbed run would not have, other than an unfinished run; in words."""
    return ", ".join([name for name in end_of(box) if name not in end and not Path(name).match(UNFINISHED)][:3])
