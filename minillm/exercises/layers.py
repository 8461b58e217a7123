"""What the checks of layers share: leading axes, two passes through one layer, and earlier exercises that may be the cause."""

import sys
from contextlib import contextmanager

from .catalogue import EXERCISES
from .diagnose import same
from .judge import examine
from .learners_file import Unwritten, Wrong
from .nested import as_float32

OTHER_PASS = "this is right for another forward pass than that of this cache; each needs a cache of its own"


def rows(x):
    """All leading axes made one: (..., C) -> (N, C)"""
    return x.reshape(-1, x.shape[-1])


def product(x, dout):
    """dW = x' dout, over all leading axes: x (..., I), dout (..., O) -> (I, O)"""
    return rows(x).T @ rows(dout)


def leading_axes(attempt, trial, one, N, M):
    """(N,) in the first trials, `one` of them, then (N, M). Sizes that are not in the inputs are not spoken of."""
    if trial < one:
        attempt.sizes = {name: size for name, size in attempt.sizes.items() if size != M}
        return (N,)
    return (N, M)


def note_of(leading):
    return "with two leading axes" if len(leading) > 1 else ""


def hold_layer(attempt, forward, backward, dout, passes, note=""):
    """Two forward passes and only then the backward pass of each, as where a network has such a layer twice.

    passes      two of (args, right, wrong): what goes into the forward function; {name: value} of what comes out of it and then
                of all that comes out of the backward function; {sentence: {name: value}} of known mistakes in either
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
    """What an exercise is built of must be right, or the search would begin in the wrong file.

    parts       {(function, number of its exercise): (inputs, right results, their names)}; those that the file does not import
                are left out
    """
    for (name, number), (args, right, returns) in parts.items():
        if hasattr(attempt.file.module, name):
            results = attempt.call(name, *args, returns=returns)
            attempt.insist(all(map(same, right, results if len(right) > 1 else [results])),
                           f"{name}, which this exercise builds on, is not right yet.", f"See `minillm check {number}`.")


@contextmanager
def looking_at_earlier_ones(attempt):
    """Whatever is wrong inside may come from an earlier exercise that the file imports: if one of them is wrong, that is said."""
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
