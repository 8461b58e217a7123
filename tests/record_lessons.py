"""Every lesson in its default form, one after the other, on three seeds: seconds, and each figure beside what its text says.

    python tests/record_lessons.py              all lessons, seeds 1 2 3: about a quarter of an hour on two cores
    python tests/record_lessons.py 4 5          only these
    python tests/record_lessons.py --missing    only those whose code has changed since they were recorded

What was seen is kept in tests/lessons.json, which tests/test_lessons.py holds against the lessons' texts.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
from ast import dump, parse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests" / "lessons.json"
SEEDS = (1, 2, 3)
LINE = re.compile(r"^(?P<name>.+?) +(?P<value>\S+)   expected (?P<expected>.+? ± [\d.,e-]+)", re.M)


def lessons():
    """{file name: path}, in order."""
    return {path.name: path for path in sorted((ROOT / "lessons").glob("[0-9][0-9]_*.py"))}


def code_of(path):
    """A name for what a lesson does: it changes with its code, not with its text."""
    return hashlib.sha256(dump(parse(path.read_text(encoding="utf-8"))).encode()).hexdigest()[:16]


def recorded():
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}


def run(path, seed):
    """One lesson in its default form: {"seconds": s, "figures": {name: [value, expected]}}. SystemExit if it fails."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, str(path), "--seed", str(seed)], capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"{path.name} --seed {seed} has failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return {"seconds": round(seconds, 1), "figures": {match["name"]: [match["value"], match["expected"]]
                                                      for match in LINE.finditer(done.stdout)}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("numbers", nargs="*", type=int, help="of the lessons (default: all)")
    parser.add_argument("--missing", action="store_true", help="only those whose code is not the one that was recorded")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    args = parser.parse_args()
    for name, path in lessons().items():
        record = recorded()
        fresh = record.get(name, {}).get("code") == code_of(path)
        if (args.numbers and int(name[:2]) not in args.numbers) or (args.missing and fresh):
            continue
        seen = {str(seed): run(path, seed) for seed in args.seeds}
        print(f"{name:32s}" + "".join(f"{outcome['seconds']:8.1f} s" for outcome in seen.values()), flush=True)
        for figure, (_, expected) in seen[str(args.seeds[0])]["figures"].items():
            values = [outcome["figures"].get(figure, ["-"])[0] for outcome in seen.values()]
            centre, spread = (float(part.replace(",", "")) for part in expected.split(" ± "))
            off = any(value == "-" or abs(float(value.replace(",", "")) - centre) > spread for value in values)
            print(f"    {figure:56s}{'  '.join(values):32s}{expected}{'   <- NOT as expected' if off else ''}", flush=True)
        record[name] = {"code": code_of(path), "seeds": seen}
        RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
