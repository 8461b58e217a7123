"""Arrays within arguments, which may be tuples of tuples: a cache, say."""

from collections.abc import Mapping

import numpy as np


def mapped(function, value):
    if isinstance(value, np.ndarray):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(function, part) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(function, part) for part in value)
    if isinstance(value, Mapping):
        return {key: mapped(function, part) for key, part in value.items()}
    return value


def copied(args):
    return mapped(np.copy, args)


def frozen(args):
    def freeze(array):
        array = array.copy()
        array.flags.writeable = False
        return array
    return mapped(freeze, args)


def as_float32(args):
    """The arguments with float32 in the place of float64; None if there is no float64 array in them, or an object of the
    learner's own, in which there may be others."""
    if not transparent(args):
        return None
    seen = []

    def cast(array):
        if array.dtype == np.float64:
            seen.append(array)
            return array.astype(np.float32)
        return array.copy()

    smaller = mapped(cast, args)
    return smaller if seen else None


def transparent(value):
    """Can one see all that is in it?"""
    if isinstance(value, Mapping):
        return all(map(transparent, value.values()))
    if isinstance(value, (tuple, list)):
        return all(map(transparent, value))
    return value is None or callable(value) or isinstance(value, (np.ndarray, np.generic, int, float, str))


def equal(x, y):
    """The same arrays, to the bit, and NaN equal to NaN."""
    if isinstance(x, np.ndarray):
        return isinstance(y, np.ndarray) and x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()
    if isinstance(x, (tuple, list)):
        return isinstance(y, (tuple, list)) and len(x) == len(y) and all(map(equal, x, y))
    if isinstance(x, Mapping):
        return isinstance(y, Mapping) and x.keys() == y.keys() and all(equal(x[key], y[key]) for key in x)
    return True

