"""All benchmarks, one after the other, on one Markdown page.

    python tests/benchmarks [--quick] [--text tinyshakespeare.txt] [--out benchmarks.md]

Each runs in a fresh process, so that threads and memory of one do not burden the next. It takes about half an hour on two cores,
which should have nothing else to do meanwhile; with --quick a minute or two, which show only that all runs.
"""

import argparse
import ast
import datetime
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import report

from minillm.bench import machine

HERE = Path(__file__).parent
BENCHMARKS = ("training_step", "forward", "generation", "methods", "memory", "surface_grid", "live", "import_time",
              "scaling", "tokenizer", "time_to_loss", "shakespeare")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shows that all runs, but measures little")
    parser.add_argument("--text", metavar="FILE", help="for tokenizer, time_to_loss and shakespeare: what to learn")
    parser.add_argument("--out", metavar="FILE", help="where the page goes (default: standard output)")
    args = parser.parse_args()
    with open(args.out, "w", encoding="utf-8") if args.out else sys.stdout as page:
        print(heading(args.quick), file=page, flush=True)
        for name in BENCHMARKS:
            if (HERE / f"{name}.py").exists():
                print(section(name, args), file=page, flush=True)


def heading(quick):
    """What was measured on, and when."""
    others = {name: installed_version(package) for name, package in (("PyTorch", "torch"), ("JAX", "jax"))}
    load = {"load before": f"{os.getloadavg()[0]:.2f}"} if hasattr(os, "getloadavg") else {}
    details = machine() | others | load | {"date": datetime.date.today().isoformat()}
    warning = "\nThese are from --quick: they show that all runs, and say little about how fast.\n" if quick else ""
    return f"# Benchmarks\n{warning}\n" + report.markdown([{"": what, "this machine": value} for what, value in details.items()])


def installed_version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def section(name, args):
    """The question, how it is answered, and the table. A benchmark that fails says so and does not take the others with it."""
    doc = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8")))
    question, *paragraphs = doc.split("\n\n")
    explained = "\n\n".join(part for part in paragraphs if not part.startswith("    "))
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            answer = report.markdown(pool.submit(report.rows_of, name, *settings(name, args)).result())
    except Exception as error:
        answer = f"This could not be measured: {type(error).__name__}: {error}"
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    return f"\n## {question}\n\n{explained}\n\n{answer}"


def settings(name, args):
    return args.quick, {"text": args.text} if name in ("tokenizer", "time_to_loss", "shakespeare") else {}


if __name__ == "__main__":
    main()
