#!/usr/bin/env python3
"""Thousands of malformed inputs, each given to a command in a process of its own.

Held is: one sentence on stderr that begins with `minillm COMMAND: `, exit code 2, at most 1 GB of memory and 10 seconds,
and no file changed. What was spoiled but still means what it meant may be read instead, with the same answer; what means
something else that can be meant, with another.
"""

import json
import os
import random
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import archives
import documents
import folders
import texts
import words
from ground import (
    SECONDS,
    Attempt,
    Result,
    attempts,
    complaint,
    difference,
    forked,
    gist,
    harmed,
    noise,
    options,
    prepare_to_fork,
    report,
    scratch_folder,
    snapshot,
    text_of,
)
from runs import content as content_of
from stage import COMPARE, DEMO, HUB, Stage, tiny_demo

TRAIN = ["--steps", "1", "--documents", "4", "--batch", "2", "--workers", "1", "--out", "o"]
FEW = ["--documents", "2", "--samples", "1", "--workers", "1"]
LINE = ["surface", "s", "--view", "line", "--models", "pretrained", "full", "--plots", "p", "--workers", "1"]
TO_LORA = ["lora" if word == "full" else word for word in LINE]
THREE = ["surface", "s", "--grid", "3", "--plots", "p", "--workers", "1"]


@dataclass
class Case:
    """One thing to try. `meaning` says what may become of it besides being refused:
    broken       nothing
    same         to be read, if the answer is that of the whole file
    free         to be read, whatever the answer
    """
    kind: str
    name: str
    argv: list
    parts: str                                  # of the stage, one letter each, or "cut"
    files: dict = field(default_factory=dict)   # path in the box: bytes, or a function that makes it
    meaning: str = "broken"
    made_again: bool = False                    # what can be computed anew may be ignored, where it is broken


# What reads what. Of each kind of file: where it lies, and the commands that read it.

def reading(path):
    return [["inspect", path], ["evaluate", path, *FEW], ["generate", path, "--tokens", "20"],
            ["sharpness", path, "--top", "1", "--workers", "1"]]


def exporting(path):
    return [["export", path, "--out", "o"]] if HUB else []


TODAYS = ["lora", "dora", "ia3", "prefix", "prompt"]
SPECIALISTS = ["lora", "adapter", "ia3", "dora", "prefix", "prompt", "head", "frozen", "full"]
RUN = ["report", "s", "--grid", "3", *FEW, "--out", "o.html"]
GALLERY = ["gallery", "d", "--plots", "p", "--grid", "3", "--workers", "1"]
READERS = {     # kind: (weight, parts, [(file, command)])
    "model": (6, "w", [("w/pretrained.npz", argv) for argv in [
        *reading("w/pretrained.npz"), *reading("w/pretrained.npz"), ["inspect", "w/pretrained.npz", "--method", "lora:rank=2"],
        ["finetune", "--base", "w/pretrained.npz", *TRAIN], ["evaluate", "w/lora.npz", *FEW],
        ["merge", "w/lora.npz", "--out", "o.npz"]]]),
    "model of a text": (2, "t", [("t/pretrained.npz", argv) for argv in [
        *reading("t/pretrained.npz"), ["finetune", "--base", "t/pretrained.npz", "--text", "t/letters.txt", *TRAIN],
        ["evaluate", "t/pretrained.npz", "--text", "t/letters.txt", "--workers", "1"],
        ["finetune", "--base", "t/pretrained.npz", "--pairs", "t/pairs.jsonl", *TRAIN]]]),
    "specialist": (7, "w", [(f"w/{name}.npz", argv) for name in SPECIALISTS for argv in [
        *reading(f"w/{name}.npz"), ["merge", f"w/{name}.npz", "--out", "o.npz"]]]),
    "llama": (4, "tl", [("l/pretrained.npz", argv) for argv in [
        *reading("l/pretrained.npz"), *exporting("l/pretrained.npz"), *exporting("l/pretrained.npz"),
        ["finetune", "--base", "l/pretrained.npz", "--text", "t/letters.txt", *TRAIN], ["generate", "l/lora.npz"],
        ["evaluate", "l/pretrained.npz", "--text", "t/letters.txt", "--workers", "1"]]]),
    "llama's specialist": (3, "tl", [(f"l/{name}.npz", argv) for name in TODAYS for argv in [
        *reading(f"l/{name}.npz"), *exporting(f"l/{name}.npz"), ["merge", f"l/{name}.npz", "--out", "o.npz"]]]),
    "run": (2, "s", [(f"s/{name}.npz", argv) for name, along in (("pretrained", LINE), ("full", LINE), ("lora", TO_LORA))
                     for argv in (along, along, along, along, THREE, RUN)]),
    "unfinished run": (5, "cut w", [
        *[("cut/pretrained.training.npz", ["pretrain", "--resume", "--out", "cut"])] * 3,
        *[("cut/lora.training.npz", ["finetune", "--base", "w/pretrained.npz", "--method", "lora:rank=2", "--resume", "--out",
                                     "cut"])] * 3,
        ("w/pretrained.npz", ["finetune", "--base", "w/pretrained.npz", "--method", "lora:rank=2", "--resume", "--out", "cut"])]),
    "trajectory": (1.5, "s", [("s/lora.trajectory.npz", THREE), ("s/full.trajectory.npz", RUN), ("s/full.trajectory.npz",
                                                                                                 THREE)]),
    "kept surface": (2, "s", [("s/surfaces/line-*.npz", LINE), ("s/surfaces/line-*.npz", LINE), ("s/surfaces/line-*.npz", LINE),
                              ("s/surfaces/three-*.npz", THREE), ("s/surfaces/*.npz", RUN)]),
    "gallery": (0.5, "d", [(path, GALLERY) for path in ("d/surfaces/*.npz", "d/fan/lr-*.npz", "d/lora.npz",
                                                        "d/fan/surfaces/*.npz",
                                                        "d/pretrained.npz", "d/scratch.npz")]),
    "demo": (0.5, "d", [(f"d/{name}.npz", [*DEMO, "--resume"]) for name in ("pretrained", "full", "adapter")]),
}
IDS = {"ids": (1, "h", [("h/ids.npz", argv) for argv in [["inspect", "h/ids.npz"], ["generate", "h/ids.npz", "--tokens", "9"],
                                                           ["sharpness", "h/ids.npz", "--top", "1"], *exporting("h/ids.npz")]])}
JSONS = {
    "comparison": (2, "wc", [("c/cells/*.json", COMPARE)]),
    "demo.json": (0.7, "d", [("d/demo.json", [*DEMO, "--resume"])]),
    "progress.json": (2, "b", [("b/progress.json", argv) for argv in [
        ["progress", "--workbook", "b"], ["hint", "1", "--workbook", "b"], ["lesson", "--workbook", "b"],
        ["check", "1", "--seed", "1", "--workbook", "b"]]]),
}
MADE_AGAIN = ("trajectory", "kept surface", "comparison", "gallery")
NUMBERS_MAY_BE_ANY = ("trajectory", "kept surface", "gallery", "unfinished run")        # a run that diverged is one, too


def weights():
    table = {f"{kind}/{way}": weight * share for kind, (weight, *_) in READERS.items() for way, (_,
                                                                                                 share) in archives.WAYS.items()}
    table |= {kind: weight * 6 for kind, (weight, *_) in JSONS.items()}
    if HUB:
        table |= {f"folder/{way}": weight * 5 for way, weight in folders.WAYS.items()} | {
            f"ids/{way}": share for way, (_, share) in archives.WAYS.items()}
    return table | {"specialist/shapes": 8, "specialist/base": 16, "read/place": 14, "text": 26, "pairs": 30, "words": 110}


def make_case(stage, rng, only=""):
    table = {kind: weight for kind, weight in weights().items() if re.match(only, kind)}
    kind = rng.choices(list(table), table.values())[0]
    family, _, way = kind.partition("/")
    if kind == "words":
        kind, name, argv, parts, meaning = words.command_line(rng)
        return Case(kind, name, argv, parts, {"": words.odd_places}, meaning)
    if kind == "text":
        return text_case(rng)
    if kind == "pairs":
        return pairs_case(stage, rng)
    if family == "folder":
        return folder_case(stage, rng, way)
    if kind in ("specialist/base", "specialist/shapes"):
        return (base_case if way == "base" else shapes_case)(stage, rng)
    if kind == "read/place":
        return place_case(rng)
    readers = (READERS | IDS | JSONS)[family]
    stage.need(*letters(readers[1]))
    path, argv = rng.choice([(path.relative_to(stage.folder), argv) for pattern, argv in readers[2]
                             for path in sorted(stage.folder.glob(pattern))])
    data = (stage.folder / path).read_bytes()
    spoil = archives.WAYS[way][0] if way else json_bytes
    damage, spoiled, meaning = spoil(data, rng)
    if meaning == "not finite":
        meaning = "free" if family in NUMBERS_MAY_BE_ANY and path.parts[0] != "w" else "broken"
    if not way or argv[0] == "export" and "cast to" in damage and meaning == "same":        # it becomes an F64 there, too
        meaning = "free"
    if argv[0] in ("inspect", "evaluate", "generate", "sharpness", "export") and rng.random() < 0.25:
        argv = [*argv, "--json"]
    return Case(kind, f"{path}: {damage}; {argv[0]}", argv, readers[1], {str(path): spoiled}, meaning, family in MADE_AGAIN)


def letters(parts):
    return parts.split() if "cut" in parts else parts


def json_bytes(data, rng):
    return documents.mutated_json(data.decode(), rng)


def folder_case(stage, rng, way):
    """A folder of transformers or peft in which one file is spoiled."""
    stage.need("h")
    folder, file, damage, made, meaning = folders.spoiled_folder(stage, rng, way)
    argv = ["import", f"h/{folder}", "--out", "o.npz"]
    if folder in TODAYS:
        argv += ["--base", "l/pretrained.npz"]
    elif rng.random() < 0.15:
        argv += rng.choice([["--ids"], ["--context", "9"]])
        meaning = "free"                # what is left out may be wrong
    return Case(f"folder/{way}", f"{folder}/{file}: {damage}", argv, "hl" if folder in TODAYS else "h",
                {f"h/{folder}/{file}": made}, meaning)


def text_case(rng):
    damage, data, meaning = texts.spoiled_text(rng)
    argv = rng.choice([
        ["pretrain", "--text", "x.txt", "--layers", "1", "--heads", "1", "--width", "4", "--context", "8", "--batch", "2",
         "--steps", "1",
         "--workers", "1", "--out", "o"],
        ["pretrain", "--text", "x.txt", "--tokenizer", "bpe:size=300", "--arch", "llama", "--layers", "1", "--heads", "1",
         "--width", "4", "--context", "8", "--batch", "2", "--steps", "1", "--workers", "1", "--out", "o"],
        ["finetune", "--base", "l/pretrained.npz", "--text", "x.txt", *TRAIN],
        ["evaluate", "l/pretrained.npz", "--text", "x.txt", "--workers", "1"],
        ["finetune", "--base", "t/pretrained.npz", "--text", "x.txt", *TRAIN],
        ["evaluate", "t/pretrained.npz", "--text", "x.txt", "--workers", "1"], ["evaluate", "w/pretrained.npz", "--text",
                                                                                "x.txt"],
        ["compare", "--base", "t/pretrained.npz", "--text", "x.txt", *COMPARE[3:]],
        ["check", "1", "x.txt", "--workbook", "b"], ["progress", "--workbook", "x.txt"]])
    if argv[0] in ("check", "progress"):
        meaning = "free"            # any text may be an answer, if a wrong one
    return Case("text", f"{argv[0]} with {damage}", argv, "wtb" if argv[0] in ("check", "progress") else "wtl", {"x.txt": data},
                meaning)


def pairs_case(stage, rng):
    base, good = rng.choice([("t", "t/pairs.jsonl"), ("w", "t/worlds.jsonl"), ("l", "t/pairs.jsonl")])
    damage, data, meaning = texts.spoiled_pairs((stage.folder / good).read_text().splitlines(), rng)
    argv = rng.choice([["finetune", "--base", f"{base}/pretrained.npz", "--pairs", "x.jsonl", *TRAIN],
                       ["evaluate", f"{base}/pretrained.npz", "--pairs", "x.jsonl", "--workers", "1"],
                       ["compare", "--base", f"{base}/pretrained.npz", "--pairs", "x.jsonl", *COMPARE[3:]]])
    if rng.random() < 0.3:
        argv = [*argv, "--skip-bad"]
        damage += ", --skip-bad"
    return Case("pairs", f"{argv[0]} with {damage}", argv, "wt" + "l" * (base == "l"), {"x.jsonl": data}, meaning)


def shapes_case(stage, rng):
    path = f"w/{adapter(stage, rng)}.npz"
    damage, spoiled, meaning = archives.reversed_shapes((stage.folder / path).read_bytes(), rng)
    argv = rng.choice(reading(path))
    return Case("specialist/shapes", f"{path}: {damage}; {argv[0]}", argv, "w", {path: spoiled}, meaning)


def adapter(stage, rng):
    return rng.choice([name for name in SPECIALISTS if name != "full" and (stage.folder / f"w/{name}.npz").exists()])


def base_case(stage, rng):
    """A specialist whose base is not where, or not what, it should be."""
    name = adapter(stage, rng)
    parts = archives.contents((stage.folder / f"w/{name}.npz").read_bytes())
    meta = json.loads(parts["meta.json"])
    target = rng.choice(["PLACE", "PLACE", "itself", "another", "PATH", "PATH", "PATH", "absolute"])
    files, meaning = {}, "broken"
    if target == "PLACE":
        kind = rng.choice(list(texts.PLACES))
        target, files = f"at {kind}", {"w/odd.npz": texts.PLACES[kind]}
        meta["base"]["path"] = "odd.npz"
    elif target == "itself":
        meta["base"]["path"] = f"{name}.npz"
    elif target == "another":
        other = rng.choice(["dora", "full", "lora.trajectory", "prompt"])
        target, meta["base"]["path"] = other, f"{other}.npz"
    elif target == "absolute":
        meta["base"]["path"], meaning = str((stage.folder / "w/pretrained.npz").resolve()), "same"
    else:
        target = rng.choice([path for path in texts.PATHS if path not in ("w/pretrained.npz",)])
        meta["base"]["path"] = target
    edited = archives.packed(parts | {"meta.json": json.dumps(meta).encode()})
    argv = rng.choice([*reading(f"w/{name}.npz"), ["merge", f"w/{name}.npz", "--out", "o.npz"],
                       ["surface", "w", "--view", "line", "--models", "full", name, "--plots", "p", "--workers", "1"]])
    if argv[0] == "surface":
        meaning = "same"            # the base is the one in the folder
    return Case("specialist/base", f"base of {name}: {target[:40]!r}; {argv[0]}", argv, "w", {f"w/{name}.npz": edited} | files,
                meaning)


def place_case(rng):
    """Where a command looks for a file or a folder stands something else."""
    kind = rng.choice(list(texts.PLACES))
    path, argv, parts = rng.choice([
        ("w/pretrained.npz", ["evaluate", "w/pretrained.npz"], "w"), ("w/pretrained.npz", ["generate", "w/lora.npz"], "w"),
        ("w/lora.npz", ["inspect", "w/lora.npz"], "w"), ("x.txt", ["pretrain", "--text", "x.txt", "--out", "o"], ""),
        ("x.txt", ["evaluate", "t/pretrained.npz", "--text", "x.txt"], "t"),
        ("x.jsonl", ["finetune", "--base", "t/pretrained.npz", "--pairs", "x.jsonl", *TRAIN], "t"),
        ("cut/lora.training.npz", ["finetune", "--base", "w/pretrained.npz", "--method", "lora:rank=2", "--resume", "--out",
                                   "cut"], "cut w"),
        ("cut/pretrained.training.npz", ["pretrain", "--resume", "--out", "cut"], "cut"),
        ("s/lora.trajectory.npz", THREE, "s"), ("s/pretrained.npz", LINE, "s"), ("s/surfaces", LINE, "s"), ("p", LINE, "s"),
        ("c/cells", COMPARE, "wc"), ("c", COMPARE, "wc"), ("b/progress.json", ["progress", "--workbook", "b"], "b"),
        ("b/progress.json", ["hint", "1", "--workbook", "b"], "b"), ("b", ["progress", "--workbook", "b"], "b"),
        ("b/ex01_squared_error.py", ["check", "1", "--workbook", "b"], "b"), ("d/demo.json", [*DEMO, "--resume"], "d"),
        ("d/surfaces", GALLERY, "d"), ("s/extra.npz", THREE, "s"), ("s/extra.npz", RUN, "s"), ("o", ["pretrain", "--out", "o"],
                                                                                               "")])
    meaning = "free" if path in ("p", "s/surfaces", "d/surfaces", "c", "c/cells", "o", "b", "s/extra.npz",
                                 "b/progress.json") else "broken"
    return Case("read/place", f"{kind} as {path}; {argv[0]}", argv, parts, {path: texts.PLACES[kind]}, meaning,
                path.endswith(".json"))


# One attempt.

class Attack:
    """attack(index) tries one case; `unless` are commands that are not tried."""

    def __init__(self, stage, seed, only="", truly_every=0, unless=()):
        self.stage, self.seed, self.only, self.truly_every, self.unless = stage, seed, only, truly_every, unless
        self.answers = {}

    def __call__(self, index):
        case = make_case(self.stage, random.Random(f"{self.seed} {index}"), self.only)
        if case.argv[0] in self.unless:
            return None
        truly = self.truly_every and index % self.truly_every == 0 and case.argv[0] != "demo"
        with scratch_folder() as outer:
            box = self.set_up(outer, case)
            before = without_locks(snapshot(outer))
            result = (spawned if truly else forked)(case.argv, box, SECONDS, before=None if truly else tiny_demo)
            outcome, fine = self.judge(case, result, before, without_locks(snapshot(outer)), box)
        kind = f"{case.kind}{' (true process)' if truly else ''}"
        return Attempt(kind, case.name, fine, outcome, result.seconds, result.peak, result.err[:2000], index)

    def set_up(self, outer, case):
        box = outer / "box"
        box.mkdir()
        self.stage.copy(box, *letters(case.parts))
        for path, content in case.files.items():
            place = box / path
            if callable(content):
                if path and place.is_dir() and not place.is_symlink():
                    place.rename(box / f"was {path.replace('/', ' ')}")
                elif path:
                    place.unlink(missing_ok=True)
                content(place)
            else:
                place.write_bytes(content)
        return box

    def judge(self, case, result, before, after, box):
        """(what became of it, whether that is fine)"""
        theirs = [f"box/{name}" for name in ("file", "file.npz", "target")] if case.argv[0] != "report" else []
        if spoiled := harmed(before, after, theirs):
            return f"{case.argv[0]}: {spoiled}", False
        may_last = case.kind.startswith("words") and case.meaning == "free"
        if result.late and may_last and result.peak < 2**30:
            return "still at work", True            # whoever asks for ten million documents gets them
        ok = (0, 1) if case.argv[0] == "check" else (0,)
        if wrong := complaint(case.argv[0], self.without_remarks(case, result), ok=ok):
            return wrong, False
        if result.code == 2:
            if changed := difference(before, after):
                return f"refused, but {re.sub(r'[0-9a-f]{12,}', '#', changed)[:100]}", False
            return "refused", True
        if "--json" in case.argv and (wrong := not_json(result.out)):
            return wrong, False
        if useless := self.of_no_use(case, box):
            return useless, False
        if case.meaning == "free":
            return "read", True
        same = says(case.argv, result, box) == self.answer(case)
        if same and (case.meaning == "same" or case.made_again):
            return "read, the same", True
        if case.kind.startswith("words"):
            return f"accepted: {case.name}", False
        return f"read, and {'the same' if same else 'another'} answer ({case.kind})", False

    def of_no_use(self, case, box):
        """What was imported must be read in turn, and what was exported, imported: else what is wrong, in words."""
        again = ("import", "o", "--out", "again.npz")
        for command, made, *reader in (("import", "o.npz", "inspect", "o.npz"), ("export", "o/config.json", *again),
                                       ("export", "o/adapter_config.json", *again, "--base", "l/pretrained.npz")):
            if case.argv[0] == command and (box / made).exists():
                result = forked(reader, box, 60)
                if result.code or noise(result.err):
                    return f"{command}ed, but then {reader[0]}: exit {result.code}: {noise(result.err) or gist(result.err)}"
        return None

    def without_remarks(self, case, result):
        """--skip-bad tells of each line that it leaves out, and BPE that a text has no more tokens."""
        remarks = ["left out: "] * ("--skip-bad" in case.argv) + ["no further pair"] * ("--tokenizer" in " ".join(case.argv))
        result.err = "\n".join(line for line in result.err.split("\n") if not any(remark in line for remark in remarks))
        return result

    def answer(self, case):
        """What the command says when nothing is spoiled."""
        key = (case.parts, *case.argv)
        if key not in self.answers:
            with scratch_folder() as outer:
                box = self.set_up(outer, Case(case.kind, case.name, case.argv, case.parts))
                self.answers[key] = says(case.argv, forked(case.argv, box, 60, tiny_demo), box)
        return self.answers[key]


def without_locks(files):
    """The lock of a run that was killed is nobody's any more, and may go."""
    return {name: what for name, what in files.items() if not re.search(r"/\.[^/]+\.lock$", name)}


def plain(out):
    """An answer without the time that it took."""
    return re.sub(r'\d+\.\d+ seconds|Done in \d+ seconds|"seconds": [-+.\de]+', "", out)


def says(argv, result, box):
    """An answer, which is also what was written, where a command says no more than that."""
    written = {"import": [box / "o.npz"], "export": sorted(box.glob("o/*"))}.get(argv[0], [])
    return plain(result.out) + "".join(f"{path.name}: {content_of(path)}" for path in written if path.is_file())


def not_json(out):
    """What is wrong with the last line of a command's answer, if --json was asked for."""
    strange = []
    try:
        json.loads((out.strip().splitlines() or [""])[-1], parse_constant=strange.append)
    except ValueError:
        return "--json ends with a line that is no JSON"
    return f"--json answers with {strange[0]}, which is no JSON" if strange else None


def spawned(argv, folder, seconds, before=None):
    """The same in a Python started for it: twenty times as slow, and with nothing imported."""
    import resource
    import tempfile

    from ground import CAGE, ends, still_there

    out, err = (tempfile.TemporaryFile() for _ in range(2))     # noqa: SIM115
    cage = lambda: resource.setrlimit(resource.RLIMIT_AS, (CAGE, CAGE))
    start = time.perf_counter()
    try:
        process = subprocess.Popen([sys.executable, "-m", "minillm", *argv], cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=err,
                                   start_new_session=True, preexec_fn=cage)
    except (ValueError, OSError):           # NUL in a word, or a word too long: no shell can ask that
        return Result(2, "", f"minillm {argv[0]}: this cannot be asked from outside", 0, 0)
    late = not ends(process.pid, seconds)
    if late:
        os.killpg(process.pid, 9)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    taken = time.perf_counter() - start
    return Result(os.waitstatus_to_exitcode(status), text_of(out), text_of(err), taken, usage.ru_maxrss * 1024, late,
                  still_there(process.pid))


def main():
    parser = options(__doc__, 2000)
    parser.add_argument("--truly-every", type=int, default=20, metavar="N",
                        help="each Nth case in a true process instead of a fork")
    parser.add_argument("--keep", metavar="FOLDER", help="with --count 1: leave the spoiled files there instead of trying them")
    args = parser.parse_args()
    with scratch_folder() as folder:
        start = time.perf_counter()
        prepare_to_fork()
        stage = Stage(folder).need("w", "t")
        if args.jobs > 1 and args.count > 1:        # else each part is made when it is needed
            stage.need("cut", "s", "c", "b", "l", *("h" if HUB else ""),
                       *("d" if not args.only or re.search("demo|gallery|read", args.only) else ""))
        print(f"the stage is set, {time.perf_counter() - start:.0f} s", flush=True)
        attack = Attack(stage, args.seed, args.only, args.truly_every)
        if args.keep:
            case = make_case(stage, random.Random(f"{args.seed} {args.first}"), args.only)
            Path(args.keep).mkdir()
            box = attack.set_up(Path(args.keep), case)
            print(f"{case.kind}: {case.name}\ncd {box}\nminillm {shlex.join(case.argv)}")
            return 0
        return report(attempts(attack, range(args.first, args.first + args.count), args.jobs, args.verbose), args.json)


if __name__ == "__main__":
    sys.exit(main())
