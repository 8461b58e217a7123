"""Shared by the checks of layers: leading axes, two passes through one layer, and mistakes in earlier exercises."""

import sys
from contextlib import contextmanager

from .catalogue import EXERCISES
from .diagnose import same
from .judge import examine
from .learners_file import Unwritten, Wrong
from .nested import as_float32

OTHER_PASS = "this is right for another forward pass than the one of this cache; each needs a cache of its own"


def rows(x):
    """Merge all leading axes into one: (..., C) -> (N, C)"""
    return x.reshape(-1, x.shape[-1])


def product(x, dout):
    """dW = x' dout, over all leading axes: x (..., I), dout (..., O) -> (I, O)"""
    return rows(x).T @ rows(dout)


def leading_axes(attempt, trial, one, N, M):
    """(N,) in the first `one` trials, then (N, M). If M is not used, messages must not name it, so it leaves attempt.sizes."""
    if trial < one:
        attempt.sizes = {name: size for name, size in attempt.sizes.items() if size != M}
        return (N,)
    return (N, M)


def note_of(leading):
    return "with two leading axes" if len(leading) > 1 else ""


def hold_layer(attempt, forward, backward, dout, passes, note=""):
    """Check two forward passes and then the backward pass of each, as in a network that has such a layer twice.

    passes      two triples (args, right, wrong). args: of the forward function; right: {name: value}, first its output and then
                all results of the backward function; wrong: {sentence: {name: value}}, known mistakes in either
    """
    caches = []
    for args, right, wrong in passes:
        out = next(iter(right))
        result, cache = attempt.call(forward, *args, returns=f"{out} cache", note=note)
        attempt.compare(forward, args, result, {out: right[out]}, wrong, note)
        attempt.done[forward] = args, {out: right[out], "cache": None}
        caches.append(cache)
    for cache, (_, right, wrong), (_, other, _) in zip(caches, passes, reversed(passes)):
        gradients = dict(list(right.items())[1:])
        results = attempt.call(backward, dout, cache, returns=" ".join(gradients), note=note)
        attempt.compare(backward, (dout, cache), results, gradients, wrong | {
            OTHER_PASS: other}, note)
    small = attempt.call(forward, *as_float32(args), returns=f"{out} cache", note=note)[1]      # a cache may be any object
    attempt.done[backward] = (dout, small), gradients


def hold_earlier(attempt, parts):
    """Wrong if a function of an earlier exercise is wrong: else the learner would search for the mistake in the wrong file.

    parts       {(function, number of its exercise): (inputs, right results, their names)}; functions that the file does not
                import are left out
    """
    for (name, number), (args, right, returns) in parts.items():
        if hasattr(attempt.file.module, name):
            results = attempt.call(name, *args, returns=returns)
            attempt.insist(all(map(same, right, results if len(right) > 1 else [results])),
                           f"{name}, which this exercise builds on, is not right yet.", f"See `minillm check {number}`.")


@contextmanager
def looking_at_earlier_ones(attempt):
    """If something inside is Wrong, check the earlier exercises that the file imports, and name one that is wrong as a cause."""
    imported = [exercise for exercise in EXERCISES
                if exercise.file != attempt.file.path.name and exercise.file[:-3] in sys.modules]
    try:
        yield
    except Unwritten:
        raise
    except Wrong as wrong:
        for exercise in imported:
            path = attempt.file.folder / exercise.file
            if path.exists() and not (verdict := examine(exercise, path, 0)).passed and "not written yet" not in verdict.reason:
                raise Wrong(f"Exercise {exercise.number}, {exercise.name}, which this one builds on, is not right yet; it may be "
                            f"the cause of what follows. See `minillm check {exercise.number}` first.", str(wrong),
                            line=wrong.line) from None
        raise
