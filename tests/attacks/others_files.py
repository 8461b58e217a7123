#!/usr/bin/env python3
"""Folders with files of others in them, before a command writes there.

Held is: a file that is not ours stays byte for byte, with its time and mode,
whatever its name; through a link nothing is damaged; a
folder,
a device or a FIFO in the place of an output is never replaced; and an .npz that minillm has not made is not overwritten by a
model, but the command refuses in one sentence. Of pictures and tables under the very name of an output, what happens is told.
"""

import os
import random
import re
import stat
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np

from archives import npy, saved
from ground import (
    Attempt,
    attempts,
    complaint,
    difference,
    forked,
    options,
    prepare_to_fork,
    report,
    scratch_folder,
    snapshot,
)
from stage import COMPARE, DEMO, HUB, SHORT, TINY, Stage, tiny_demo

PATIENCE = 45           # seconds, for a demo on a busy machine
LONG_AGO = 1_000_000_000
COMMANDS = {        # name: (words, parts of the stage, folders that are written to)
    "pretrain": (["pretrain", *TINY, "--steps", "3", "--save-every", "1", "--workers", "1", "--out", "o"], "", ["o"]),
    "finetune": (["finetune", "--base", "w/pretrained.npz", *SHORT, "--save-every", "1", "--out", "o"], "w", ["o"]),
    "finetune beside": (["finetune", "--base", "w/pretrained.npz", *SHORT, "--name", "mine"], "w", ["w"]),
    "merge": (["merge", "w/lora.npz", "--out", "o/merged.npz"], "w", ["o"]),
    "compare": ([*COMPARE[:-1], "o"], "w", ["o"]),
    "surface line": (["surface", "r", "--view", "line", "--models", "pretrained", "full", "--plots", "p", "--workers", "1"], "r",
                     "rp"),
    "surface": (["surface", "r", "--grid", "3", "--models", "full", "lora", "--plots", "p", "--workers", "1"], "r", "rp"),
    "report": (["report", "r", "--grid", "3", "--documents", "2", "--samples", "1", "--models", "full", "lora", "--workers", "1"],
               "r", ["r"]),
    "lesson": (["lesson", "1", "--start", "--workbook", "o"], "", ["o"]),
    "check": (["check", "1", "--seed", "1", "--workbook", "b"], "b", ["b"]),
    "hint": (["hint", "1", "--workbook", "b"], "b", ["b"]),
    "demo": (["o" if word == "d" else word for word in DEMO], "", "op"),
    "demo --resume": ([*("o" if word == "d" else word for word in DEMO), "--resume"], "", "op"),
    "gallery": (["gallery", "e", "--plots", "p", "--grid", "3", "--workers", "1"], "e", "ep"),
}
EARLIER = {}        # {name: what is run before, so that a folder of the program's own is there}
if HUB:
    COMMANDS |= {
        "import": (["import", "h/llama", "--out", "o/imported.npz"], "h", ["o"]),
        "import adapter": (["import", "h/lora", "--base", "l/pretrained.npz", "--out", "o/imported.npz"], "hl", ["o"]),
        "export": (["export", "l/pretrained.npz", "--out", "o"], "l", ["o"]),
        "export again": (["export", "l/pretrained.npz", "--out", "o"], "lt", ["o"]),
        "export adapter": (["export", "l/lora.npz", "--out", "o"], "l", ["o"]),
        "export adapter again": (["export", "l/lora.npz", "--out", "o"], "l", ["o"])}
    EARLIER |= {"export again": ["export", "t/pretrained.npz", "--out", "o"],
                "export adapter again": ["export", "l/dora.npz", "--out", "o"]}
MODELS = ("pretrain", "finetune", "merge", "demo", "import", "import adapter")      # that never write over an .npz of others

NEAR = ["try", "notes.npz", "my.npz", "full.txt", "full.npz.bak", "full (1).npz", "Full.npz", ".pretrained.part.npz",
        ".full.part.npz", ".merged.part.npz", ".pretrained.training.part.npz", "pretrained.npz.tmp", "pretrained.npz~", "tmp",
        "temp.npz", "lock", ".lock", "pretrained.npz.lock", ".pretrained.lock", ".minillm", "surfaces/mine.npz",
        "surfaces/three-mine.npz", "surfaces/line-000000000000.npz", "surfaces/README", "cells/mine.json", "cells/notes.txt",
        "cells/0123456789abcdef.json", "comparison.txt", "comparison.xlsx", "metrics.csv", "metrics.json.bak", "demo.txt",
        "other.trajectory.npz", "other.training.npz", "fan/notes.txt", "sub/deep/file.bin", "report.htm", "line.svg",
        "weights_moving.mp4", "progress.json.bak", "ex99_mine.py", "squared_error.py", "-rf", "*", "new\nline", "é.npz",
        "data.csv", "README.md", ".gitattributes", "config.json.bak", "generation_config.json", "special_tokens_map.json",
        "pytorch_model.bin", "model-00001-of-00002.safetensors", ".model.part.safetensors", ".model.01234567.part.txt",
        "adapter_model.bin", "checkpoint-10/model.safetensors"]


def foreign_bytes(name):
    if name.endswith(".npz"):
        return saved(mine=np.arange(9.0))
    return b'{"mine": 1}\n' if name.endswith(".json") else f"mine: {name}\n".encode()


def strew(folder, outside, model):
    """Put files of others into a folder: a model by minillm under another name, links in and out, and all of NEAR."""
    folder.mkdir(exist_ok=True)
    for name in NEAR:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(foreign_bytes(name))
    (folder / "my_model.npz").write_bytes(model.read_bytes())
    (folder / "link_to_file").symlink_to(outside / "file")
    (folder / "link_to_model.npz").symlink_to(outside / "model.npz")
    (folder / "link_to_folder").symlink_to(outside)
    (folder / "dangling.npz").symlink_to(outside / "nothing")
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name in {*map(os.path.basename, NEAR), "my_model.npz"}:
            path.chmod(0o640)
            os.utime(path, (LONG_AGO, LONG_AGO))


def make_outside(outer, model):
    outside = outer / "outside"
    outside.mkdir()
    (outside / "file").write_text("outside\n")
    (outside / "array.npz").write_bytes(foreign_bytes("x.npz"))
    (outside / "model.npz").write_bytes(model.read_bytes())
    for path in outside.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    return outside


# What may stand in the place of an output: (words, what makes it, whether it is a regular file with bytes of others).

def a_file(content):
    def make(path, outside):
        path.write_bytes(content(path.name) if callable(content) else content)
        os.utime(path, (LONG_AGO, LONG_AGO))
    return make


def a_device(path, outside):
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def a_folder(path, outside):
    path.mkdir()
    (path / "mine").write_text("mine\n")


INSTEAD = {
    "a file of others": a_file(foreign_bytes), "an empty file": a_file(b""), "an .npy": a_file(npy(np.zeros(3))),
    "a folder": a_folder, "a FIFO": lambda path, outside: os.mkfifo(path), "a device": a_device,
    "a link to a file of others": lambda path, outside: path.symlink_to(outside / "file"),
    "a link to arrays of others": lambda path, outside: path.symlink_to(outside / "array.npz"),
    "a link to nothing": lambda path, outside: path.symlink_to(outside / "nothing"),
    "a link to itself": lambda path, outside: path.symlink_to(path.name)}
SOME_OF_DEMO = ("o/pretrained.npz", "o/full.npz", "o/full.trajectory.npz", "o/demo.json", "o/metrics.json", "p/surface.png")
FEW = ("a file of others", "a folder", "a link to a file of others", "a FIFO")      # for what takes seconds


class Others:
    """others(i) tries one."""

    def __init__(self, stage, args):
        self.stage = stage
        self.model = stage.folder / "w" / "pretrained.npz"
        self.every = [("files beside", name, None, None) for name in COMMANDS]
        for name in COMMANDS:
            if not re.match(args.only, f"in its place, {name}"):
                continue
            slow = name.startswith(("demo", "report", "surface", "gallery"))
            if name not in ("gallery", "demo --resume", "finetune beside"):
                self.every += [("in its place", name, output,
                                words) for output in self.outputs(name) for words in (FEW if slow else INSTEAD)]
        self.every = [one for one in self.every if re.match(args.only, f"{one[0]}, {one[1]}")]
        random.Random(args.seed).shuffle(self.every)

    def outputs(self, name):
        """The files that a command writes."""
        with scratch_folder() as outer:
            box, before = self.set_up(outer, name), snapshot(outer / "box")
            forked(COMMANDS[name][0], box, PATIENCE, tiny_demo)
            after = snapshot(box)
            new = [path for path in after if after[path] != before.get(path)]
        return [path for path in new if name != "demo" or path in SOME_OF_DEMO]

    def set_up(self, outer, name):
        box = outer / "box"
        box.mkdir()
        self.stage.copy(box, *COMMANDS[name][1])
        if name in EARLIER:
            forked(EARLIER[name], box, PATIENCE)
        return box

    def __call__(self, index):
        if index >= len(self.every):
            return None
        kind, name, output, words = self.every[index]
        start = time.perf_counter()
        with scratch_folder() as outer:
            box, outside = self.set_up(outer, name), make_outside(outer, self.model)
            outcome, fine = self.beside(box, outside, name) if kind == "files beside" else self.instead(box, outside, name,
                                                                                                        output, words)
        tried = f"{name}: {words} as {output}" if output else name
        return Attempt(kind if not output else f"{kind}: {words}", tried, fine, outcome, time.perf_counter() - start, index=index)

    def beside(self, box, outside, name):
        argv, _, folders = COMMANDS[name]
        if name == "demo --resume":
            forked(argv[:-1], box, PATIENCE, tiny_demo)
        own = snapshot(box)
        for folder in folders:
            strew(box / folder, outside, self.model)
        before = {path: what for path, what in snapshot(box, times=True).items() if path not in own}
        around = snapshot(outside, times=True)
        result = forked(argv, box, PATIENCE, tiny_demo)
        after = snapshot(box, times=True)
        if gone := difference(before, {path: what for path, what in after.items() if path in before}):
            return f"{name}: {gone[:150]}", False
        if changed := difference(around, snapshot(outside, times=True)):
            return f"{name}: outside, {changed}", False
        if wrong := complaint(argv[0], result, PATIENCE, ok=(0, 1) if name == "check" else (0,)):
            return f"{name}: {wrong}", False
        return ("untouched" if result.code in (0, 1) else "untouched, and refused"), True

    def instead(self, box, outside, name, output, words):
        argv, path = COMMANDS[name][0], box / output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        try:
            INSTEAD[words](path, outside)
        except PermissionError:
            return "skipped: only the superuser can make that", True
        before, around = snapshot(box, times=True), snapshot(outside, times=True)
        inside = output if words != "a folder" else f"{output}/mine"
        result = forked(argv, box, PATIENCE, tiny_demo)
        after = snapshot(box, times=True)
        kept = before[inside] == after.get(inside)
        if changed := difference(around, {name: what for name, what in snapshot(outside, times=True).items() if name in around}):
            return f"{name}: through {words}: {changed}", False
        if wrong := complaint(argv[0], result, PATIENCE, ok=(0, 1) if name == "check" else (0,)):
            return f"{name}: {words}: {wrong}", False
        if result.code == 2 and name.startswith(("import", "export")) and (changed := difference(before, after)):
            return f"{name}: refused because of {words} as {output}, but {changed}", False
        if result.code == 2:
            return ("refused", True) if kept else (f"{name}: refused, but {words} is not what it was", False)
        if kept:
            return "kept, and went on without it", True
        if words in ("a folder", "a FIFO", "a device"):
            return f"{name}: {words} replaced", False
        if name in MODELS and output.endswith(".npz") and words not in ("a link to nothing", "a link to itself"):
            return f"{name}: {words} in the place of a model replaced", False
        if name.startswith("export") and words not in ("an empty file", "a link to nothing", "a link to itself"):
            return f"{name}: {words} as {output} replaced", False
        if Path(path).is_symlink():
            return "written through the link", True
        return ("overwritten", True) if "link" not in words else ("the link was replaced", True)


def main():
    args = options(__doc__, 10_000).parse_args()
    with scratch_folder() as folder:
        prepare_to_fork()
        others = Others(Stage(folder).need("w", "r", "b", "e", *("lh" if HUB else "")), args)
        last = min(args.first + args.count, len(others.every))
        return report(attempts(others, range(args.first, last), args.jobs, args.verbose), args.json)


if __name__ == "__main__":
    sys.exit(main())
