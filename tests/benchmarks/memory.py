"""How much memory does a training process need at most, beside PyTorch's, and how much of it is there after the import alone?

    python tests/benchmarks/memory.py [--rounds 3] [--steps 10] [--sizes nano large]

Each contender trains in a fresh process, whose memory is looked at every 20 ms, together with that of the workers it has forked:
the proportional set size, in which pages that several processes share count once. Where the system does not tell that (it takes
Linux), it is the maximum resident size of the process, which then has no workers either.
"""

import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import report

from minillm.bench import SIZES
from minillm.ground.processes import default_workers
from minillm.ground.runtime import cores

QUICK = dict(rounds=1, steps=3, sizes=["lesson", "nano"])
EVERY = 0.02                                       # seconds between two looks
HERE = Path(__file__).parent

MINILLM = "from minillm.bench import SIZES, training_step; step = training_step(SIZES[{name!r}], {workers})"
PYTORCH = """
from types import SimpleNamespace
from pytorch_gpt import training_step
step = training_step(SimpleNamespace(**{size}), {threads})
"""
TRAIN = "\nfor _ in range({steps}): step()"
STAY = """
import resource, time
time.sleep(0.2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def family(pid):
    """A process and all that come of it."""
    pids = [pid]
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            pids += family(int(child))
    return pids


def proportional_set_size(pid):
    """Bytes, of a process and its children; 0 where that cannot be known, or not any more."""
    total = 0
    try:
        for one in family(pid):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0
    return 1024 * total


def peak(code):
    """The most bytes that a fresh Python needs while it runs some code."""
    process = subprocess.Popen([sys.executable, "-c", code + STAY], cwd=HERE, env=report.plain_environment(),
                               stdout=subprocess.PIPE, text=True)
    most = 0
    while process.poll() is None:
        most = max(most, proportional_set_size(process.pid))
        time.sleep(EVERY)
    printed = process.communicate()[0].split()
    if process.returncode:
        raise RuntimeError(f"this code failed:\n{code}")
    return most or int(printed[-1]) * (1 if sys.platform == "darwin" else 1024)


def peaks(codes, rounds):
    """{name: peak of each round} of {name: code}, in turns."""
    maxima = {name: [] for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            maxima[name].append(peak(code))
    return maxima


def rows_of_peaks(size, maxima, reference):
    median = {name: statistics.median(each) for name, each in maxima.items()}
    return [{"size": size, "contender": name, "median MB": median[name] / 1e6, "least MB": min(each) / 1e6,
             "most MB": max(each) / 1e6, "minillm / it": median[reference] / median[name]} for name, each in maxima.items()]


def measure(rounds=3, steps=10, sizes=tuple(SIZES)):
    torch = report.installed("torch", "PyTorch")
    imports = ["numpy", "minillm", *(["torch"] if torch else [])]
    codes = {"Python alone": "", **{f"import {name}": f"import {name}" for name in imports}}
    rows = rows_of_peaks("-", peaks(codes, rounds), "import minillm")
    for size in (SIZES[name] for name in sizes):
        codes = {"minillm": MINILLM.format(name=size.name, workers=default_workers())}
        if torch:
            codes["PyTorch eager"] = PYTORCH.format(size=asdict(size), threads=cores())
        training = {name: code + TRAIN.format(steps=steps) for name, code in codes.items()}
        rows += rows_of_peaks(str(size), peaks(training, rounds), "minillm")
    return rows


def main():
    report.command(__doc__, measure, QUICK, rounds=report.ROUNDS, steps=dict(type=int, help="training steps of each"),
                   sizes=report.sizes_option(SIZES))


if __name__ == "__main__":
    main()
