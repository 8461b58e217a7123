"""The examples in a stub: what they show is what the learner's functions must give."""

import ast
import re
import sys
from pathlib import Path

import numpy as np

NUMBER = re.compile(r"-?(?:\d+\.?\d*(?:e[+-]?\d+)?|nan|inf)")


def hold_examples(attempt):
    """What the exercise shows is what the learner's functions give."""
    def counted(function):
        def call(*args, **options):
            attempt.calls += 1
            return function(*args, **options)
        return call

    shown = examples(attempt.stub)
    words = set(re.findall(r"\w+", " ".join(source for source, _ in shown)))
    names = {name: counted(attempt.get(name)) for name in attempt.signatures if name in words}
    for source, due in shown:
        with attempt.file.explaining("in the example of the exercise"):
            printed = run_example(source, due, names)
        attempt.insist(same_text(due, printed), "What is drawn at random comes out right, but not the example of the exercise:",
                       *(f"    {line}" for line in source.split("\n")), f"should give  {due}", f"and gives    {printed}")


def examples(stub):
    """[(source, what it prints)] of the examples in its docstring, which are written as at Python's prompt."""
    pairs = []
    for line in (ast.get_docstring(ast.parse(Path(stub).read_text(encoding="utf-8"))) or "").split("\n"):
        mark, code = line.strip()[:4], line.strip()[4:]
        if mark == ">>> ":
            pairs.append(([code], []))
        elif mark.startswith("...") and pairs and not pairs[-1][1]:
            pairs[-1][0].append(code)
        elif not line.strip():
            pairs.append(([], []))                      # the end of what the one before prints
        elif pairs and pairs[-1][0]:
            pairs[-1][1].append(line.strip())
    return [("\n".join(source), "\n".join(due)) for source, due in pairs if source]


def run_example(source, due, names):
    """What it prints; of an error, if it is to be one, its kind. Names that it sets are added to `names`.

    What the learner's own functions print does not belong to it.
    """
    lines = []
    names |= {"np": np, "print": lambda *values: lines.append(" ".join(map(str, values)))}
    display, sys.displayhook = sys.displayhook, lambda value: None if value is None else lines.append(repr(value))
    try:
        exec(compile(f"{source}\n", "<example>", "single"), names)
    except Exception as error:
        if not due.startswith("Traceback") or due.split("\n")[-1].partition(":")[0] not in (
                kind.__name__ for kind in type(error).__mro__):
            raise
        return due
    finally:
        sys.displayhook = display
    return "\n".join(lines)


def same_text(due, printed):
    """Equal but for the last digit of numbers, and for brackets, commas and spaces."""
    def parts(text):
        text = re.sub(r"np\.\w+\((.+?)\)", r"\1", text)
        return re.sub(r"[\s,]+", "", NUMBER.sub("#", text)).translate(str.maketrans("()", "[]")), NUMBER.findall(text)

    (form, numbers), (other, others) = parts(due), parts(printed)
    return form == other and all(abs(float(a) - float(b)) <= 1.01 * min(1e-4, 10.0 ** -len(a.partition(".")[2]))
                                 for a, b in zip(numbers, others))
