"""The examples in a stub: the learner's functions must give the results that they show."""

import ast
import re
import sys
from pathlib import Path

import numpy as np

NUMBER = re.compile(r"-?(?:\d+\.?\d*(?:e[+-]?\d+)?|nan|inf)")


def hold_examples(attempt):
    """Wrong unless the learner's functions give what the examples of the exercise show."""
    def counted(function):
        def call(*args, **options):
            attempt.calls += 1
            return function(*args, **options)
        return call

    shown = examples(attempt.stub)
    words = set(re.findall(r"\w+", " ".join(source for source, _ in shown)))
    names = {name: counted(attempt.get(name)) for name in attempt.signatures if name in words}
    for source, expected in shown:
        with attempt.file.explaining("in the example of the exercise"):
            printed = run_example(source, expected, names)
        attempt.insist(same_text(expected, printed), "With random numbers all is right, but not the example of the exercise:",
                       *(f"    {line}" for line in source.split("\n")), f"should give  {expected}", f"and gives    {printed}")


def examples(stub):
    """[(source, what it should print)] of the examples in a stub's docstring, which look like Python's prompt."""
    pairs = []
    for line in (ast.get_docstring(ast.parse(Path(stub).read_text(encoding="utf-8"))) or "").split("\n"):
        mark, code = line.strip()[:4], line.strip()[4:]
        if mark == ">>> ":
            pairs.append(([code], []))
        elif mark.startswith("...") and pairs and not pairs[-1][1]:
            pairs[-1][0].append(code)
        elif not line.strip():
            pairs.append(([], []))                      # the end of the previous example's output
        elif pairs and pairs[-1][0]:
            pairs[-1][1].append(line.strip())
    return [("\n".join(source), "\n".join(expected)) for source, expected in pairs if source]


def run_example(source, expected, names):
    """What an example prints; `expected` itself if it raises the expected kind of error. Adds the names that it sets to `names`.

    What the learner's own functions print is left out.
    """
    lines = []
    names |= {"np": np, "print": lambda *values: lines.append(" ".join(map(str, values)))}
    display, sys.displayhook = sys.displayhook, lambda value: None if value is None else lines.append(repr(value))
    try:
        exec(compile(f"{source}\n", "<example>", "single"), names)
    except Exception as error:
        if not expected.startswith("Traceback") or expected.split("\n")[-1].partition(":")[0] not in (
                kind.__name__ for kind in type(error).__mro__):
            raise
        return expected
    finally:
        sys.displayhook = display
    return "\n".join(lines)


def same_text(expected, printed):
    """Are two texts equal, except for the last digit of numbers, and brackets, commas and spaces?"""
    def parts(text):
        text = re.sub(r"np\.\w+\((.+?)\)", r"\1", text)
        return re.sub(r"[\s,]+", "", NUMBER.sub("#", text)).translate(str.maketrans("()", "[]")), NUMBER.findall(text)

    (text, numbers), (printed_text, printed_numbers) = parts(expected), parts(printed)
    return text == printed_text and all(abs(float(a) - float(b)) <= 1.01 * min(1e-4, 10.0 ** -len(a.partition(".")[2]))
                                        for a, b in zip(numbers, printed_numbers))
