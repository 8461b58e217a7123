"""What the benchmarks share: a command line, contenders that take turns, and tables in Markdown."""

import argparse
import importlib
import os
import statistics
import sys
from importlib.util import find_spec

from minillm.bench import cell, interleave, plan_turns
from minillm.ground.runtime import BLAS_THREAD_VARIABLES


def command(doc, measure, quick, **options):
    """The command line of a benchmark: prints the rows of measure(...) as a table.

    quick     the arguments of measure that --quick stands for
    options   further arguments of measure: {name: what argparse shall know of it}
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds: shows that all runs, but measures little")
    for name, keywords in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=argparse.SUPPRESS, **keywords)
    given = vars(parser.parse_args())
    settings = (quick if given.pop("quick") else {}) | given
    print(markdown(measure(**settings)))


ROUNDS = dict(type=int, help="turns of each contender")


def sizes_option(sizes):
    return dict(nargs="+", choices=list(sizes), metavar="SIZE", help=f"of {', '.join(sizes)} (default: all)")


def installed(module, name):
    """Is an optional contender there? If not, a line says so."""
    there = find_spec(module) is not None
    if not there:
        print(f"{name} is not installed: left out", file=sys.stderr)
    return there


def race(contenders, rounds):
    """Seconds of each counted step of contenders {name: step}, who take turns (minillm/bench.py)."""
    plan_turns(contenders)                         # the first time, processes are forked and code is compiled
    _, steps = plan_turns(contenders)
    return interleave(contenders, rounds, steps)


def compared(times, reference, **labels):
    """A row for each contender, with how long the reference takes of the time it takes: below 1, the reference is faster."""
    median, least = ({name: summary(seconds) for name, seconds in times.items()} for summary in (statistics.median, min))
    return [labels | {"contender": name, "median ms": 1e3 * median[name], "least ms": 1e3 * least[name],
                      f"{reference} / it": median[reference] / median[name],
                      "least / least": least[reference] / least[name]} for name in times]


def markdown(rows):
    """Dicts as a Markdown table; a key that a row lacks leaves its cell empty."""
    if not rows:
        return "(nothing was measured)"
    names = list(dict.fromkeys(name for row in rows for name in row))
    ruler = ["---:" if any(isinstance(row.get(name), (int, float)) for row in rows) else "---" for name in names]
    lines = [names, ruler, *([cell(row.get(name, "")) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rows_of(name, quick, settings):
    """What one benchmark measures; __main__.py lets a fresh process do this for each."""
    benchmark = importlib.import_module(name)
    return benchmark.measure(**(getattr(benchmark, "QUICK", {"rounds": 1}) if quick else {}) | settings)


def plain_environment():
    """That of a user who has only started Python: without the thread counts that `import minillm` sets for this process."""
    return {name: value for name, value in os.environ.items() if name not in BLAS_THREAD_VARIABLES}
