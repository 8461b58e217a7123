"""How does the time of a training step grow with its work?

    python tests/benchmarks/scaling.py [--rounds 5] [--over context width]

From the size of nanoGPT's CPU recipe one quantity at a time is changed. `exponent` is the slope between a row and the one above,
on logarithmic scales: 1 where twice as much takes twice as long. `expected` is that of the matrix products' work, and -1 for
workers. What matters is the last row of each: at small sizes, what every call costs hides how the work grows.
"""

import math
import statistics
from dataclasses import replace

import report

from minillm.bench import SIZES, training_step
from minillm.ground.processes import default_workers

SWEEPS = {"context": (16, 32, 64, 128, 256), "width": (32, 64, 96, 192, 384), "batch": (2, 4, 8, 16, 32),
          "workers": (*(2**i for i in range(16) if 2**i < default_workers()), default_workers())}
QUICK = dict(rounds=1, over=["batch", "workers"])


def measure(rounds=5, over=tuple(SWEEPS)):
    return [row for what in over for row in sweep(what, rounds)]


def sweep(what, rounds):
    """A row for each value of one quantity."""
    base, workers = SIZES["nano"], default_workers()
    sizes = {value: base if what == "workers" else replace(base, **{what: value}) for value in SWEEPS[what]}
    steps = {value: training_step(size, value if what == "workers" else workers) for value, size in sizes.items()}
    times = report.race(steps, rounds)
    median = {value: statistics.median(seconds) for value, seconds in times.items()}
    work = {value: 1 / value if what == "workers" else size.flops for value, size in sizes.items()}
    rows, before = [], None
    for value, size in sizes.items():
        rows.append({"over": what, "is": value, "median ms": 1e3 * median[value], "least ms": 1e3 * min(times[value]),
                     "GFLOP/s": size.flops / median[value] / 1e9})
        if before:
            rows[-1] |= {"exponent": slope(median, before, value), "expected": slope(work, before, value)}
        before = value
    return rows


def slope(y, x1, x2):
    """Of y(x) between two places, on a log-log scale."""
    return math.log(y[x2] / y[x1]) / math.log(x2 / x1)


def main():
    report.command(__doc__, measure, QUICK, rounds=report.ROUNDS,
                   over=dict(nargs="+", choices=list(SWEEPS), metavar="WHAT", help=f"of {', '.join(SWEEPS)} (default: all)"))


if __name__ == "__main__":
    main()
