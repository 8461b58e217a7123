"""Checks once all numbers are right: the work is the learner's own, it is repeatable, and it keeps the type of its inputs."""

import os
import sys
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from .calls import described
from .diagnose import same
from .every_call import OPAQUE, hold_form
from .learners_file import Wrong
from .nested import as_float32, copied, mapped

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = str(Path(HERE).parent) + os.sep, str(Path(HERE).parents[1] / "tests") + os.sep      # both contain answers
NUMPY = dict(vars(np))
STORED = ("Likely: something is kept from call to call, in a global variable, say. What a function needs must come in as an "
          "argument, or in its cache.")


def hold_numpy(attempt):
    """Wrong if the learner's file has changed NumPy, which the checks use as well."""
    changed = [name for name, value in NUMPY.items() if vars(np).get(name) is not value]
    attempt.insist(not changed, f"np.{changed[0]} is no longer NumPy's: something in your file has put another function in "
                                "its place." if changed else "")


def hold_again(attempt, name, args, returns, before, like):
    """Repeat an earlier call twice: the results must be the same, and must not come from this project's own functions."""
    labels, function, called = returns.split(), attempt.get(name), set()
    call = described(name, attempt.signatures.get(name), args)
    for watch in (False, True):
        fresh_args = copied(args)
        watching = calls_of_the_project(called, attempt.file.folder) if watch and not any(map(callable, args)) else nullcontext()
        with attempt.file.explaining(f"when {call} is called again as before", STORED), watching:
            result = function(*fresh_args)
        attempt.calls += 1
        if like and isinstance(result, np.ndarray):
            result = tuple(result)
        result = hold_form(attempt, name, result, labels)
        pairs = zip(labels, *((before, result) if len(labels) > 1 else ([before], [result])))
        for label, then, now in pairs:
            attempt.insist(label == OPAQUE or alike(then, now),
                           f"All numbers are right. But {call}, called once more with the same inputs after other calls, "
                           f"returns another {label} than before.", STORED)
    if called:
        raise Wrong(f"All numbers are right. But {name} calls {min(called)} of this project, where somebody else has done "
                    "the work. That does not count: write it with NumPy, and with your own earlier exercises.")


def hold_precision(attempt, name, args, returns, results, like):
    """Wrong if a function returns a smaller type than float64 for float64 inputs."""
    labels = returns.split()
    if dtypes(args) != {np.dtype(np.float64)}:
        return
    for label, value in zip(labels, results if len(labels) > 1 else [results]):
        attempt.insist(label == OPAQUE or not dtypes(value) & {np.dtype(np.float16), np.dtype(np.float32)},
                       f"All numbers are nearly right. But {name} rounds: given float64 arrays, its {label} is of a smaller "
                       "type. Keep the type of what comes in.")


def hold_dtype(attempt, name, args, right):
    """Wrong if a function returns float64 for float32 inputs."""
    smaller = as_float32(args)
    if smaller is None:
        return
    function = attempt.get(name)
    with attempt.file.explaining(f"with float32 numbers in {described(name, attempt.signatures.get(name), args)}"):
        result = function(*smaller)
    right, results = attempt.flattened(name, right, dict(zip(right, result if len(right) > 1 else [result])))
    for label, value in results.items():
        if isinstance(value, (np.ndarray, np.generic)) and value.dtype == np.float64 and np.ndim(value):
            raise Wrong(f"All numbers are right. But {name} turns float32 into float64: given float32 arrays, its {label} is "
                        "float64. Networks are trained in float32, which is twice as fast; so keep the type.",
                        "Likely: an array that is made without saying of which type (np.zeros(shape), np.eye(n); "
                        "np.zeros_like(x) takes that of x), or a constant that is a NumPy number (np.sqrt(2); math.sqrt(2) "
                        "is a plain one).")


def dtypes(value):
    """The set of dtypes of all floating point arrays in a value."""
    kinds = set()
    mapped(lambda array: kinds.add(array.dtype) if array.dtype.kind == "f" else None, value)
    return kinds


def alike(then, now):
    """Are two results the same, up to rounding? What cannot be compared counts as the same."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return then.keys() == now.keys() and all(alike(then[key], now[key]) for key in then)
    if isinstance(then, Mapping) or isinstance(now, Mapping):
        return False
    return same(then, now) or np.array_equal(then, now, equal_nan=True)


@contextmanager
def calls_of_the_project(called, folder):
    """Inside, the names of all functions of this project that are called are added to the set `called`.

    Except those of the checks, and those in the learner's folder, which may be the folder of the solutions.
    """
    def note(frame, event, _):
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(PROJECT) and os.path.dirname(file) not in (HERE, str(folder)):
            called.add(getattr(frame.f_code, "co_qualname", frame.f_code.co_name))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
