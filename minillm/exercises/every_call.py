"""What must hold for every call, before its numbers are compared: its arguments, unchanged inputs, and its results' types."""

import inspect
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .calls import article
from .learners_file import Wrong
from .nested import copied, equal, frozen

NUMBERS = np.ndarray, np.generic, int, float, bool
OPAQUE = "cache"                             # the name of results that may be anything
DICTIONARIES = "p", "dp", "weights"          # the names of results that are {name: array}


def hold_signature(attempt, name, function, args):
    """Wrong unless the function takes the arguments that the exercise gives it, in the same order."""
    expected = attempt.signatures.get(name)
    try:
        signature = inspect.signature(function)
        signature.bind(*args)
    except TypeError:
        line = getattr(getattr(function, "__code__", None), "co_firstlineno", None)
        raise Wrong(f"{name} must take ({', '.join(expected)}), as in the exercise; in {attempt.file.path.name}"
                    f"{f', line {line},' if line else ''} it takes {signature}.", line=line) from None
    except ValueError:
        return
    own = [p.name for p in signature.parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
    if expected and own != expected and sorted(own) == sorted(expected):
        raise Wrong(f"{name} must take its arguments in the order ({', '.join(expected)}); yours has ({', '.join(own)}).",
                    line=function.__code__.co_firstlineno)


def find_changed_input(attempt, name, function, original, args):
    """Raise Wrong with the input that was changed, and the line: call the function again with arrays that are read-only."""
    names = attempt.signatures.get(name) or [f"argument {i + 1}" for i in range(len(args))]
    i = next(i for i, (before, after) in enumerate(zip(original, args)) if not equal(before, after))
    lines = [f"{name} has changed its input {names[i]}. The caller may still need it: make a new array instead "
             f"(`y = x - 1`, or `x.copy()` first, where you have `x -= 1` or `x[...] = ...`)."]
    try:
        function(*(frozen(value) if j == i else value for j, value in enumerate(copied(original))))
    except Exception as error:
        frames = attempt.file.frames(error)
        if frames and isinstance(error, ValueError) and "read-only" in str(error):
            raise Wrong(*lines, f"Line {frames[-1].lineno} of {Path(frames[-1].filename).name}:", f"    {frames[-1].line}",
                        line=frames[-1].lineno) from None
    raise Wrong(*lines)


def hold_form(attempt, name, result, returns):
    """The results, if there are as many as asked for and each is a number, an array or, where asked for, a dictionary."""
    line = getattr(getattr(attempt.get(name), "__code__", None), "co_firstlineno", None)
    if result is None:
        raise Wrong(f"{name} returns nothing; it must end with `return {', '.join(returns)}`.", line=line)
    n = len(result) if isinstance(result, (tuple, list)) else article(type(result).__name__)
    if len(returns) > 1 and n != len(returns):
        raise Wrong(f"{name} must return {len(returns)} results, ({', '.join(returns)}); yours returns {n}.", line=line)
    results = list(result) if len(returns) > 1 else [result]
    for i, (label, value) in enumerate(zip(returns, results)):
        if label == OPAQUE:
            continue
        if isinstance(value, Mapping) and label in DICTIONARIES:
            continue
        expected = "a dictionary" if label in DICTIONARIES else "an array"
        if isinstance(value, (np.matrix, np.ma.MaskedArray)) or not isinstance(value, NUMBERS):
            advice = "; np.array makes one of it" if expected == "an array" and isinstance(value, (list, np.ndarray)) else ""
            raise Wrong(f"{name} must return {expected} as {label}; yours is {article(type(value).__name__)}{advice}.", line=line)
        if np.asarray(value).dtype.kind not in "biuf":
            raise Wrong(f"{name} must return plain numbers as {label}; yours are of the type {np.asarray(value).dtype}.",
                        line=line)
        results[i] = value
    return tuple(results) if len(returns) > 1 else results[0]
