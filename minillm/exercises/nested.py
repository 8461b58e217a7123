"""Functions for all arrays in nested arguments, such as a cache: tuples, lists and dictionaries of arrays."""

from collections.abc import Mapping

import numpy as np


def mapped(function, value):
    """The value with function(array) in place of every array in it."""
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
    """The arguments with copies of all arrays."""
    return mapped(np.copy, args)


def frozen(args):
    """The arguments with read-only copies of all arrays."""
    def freeze(array):
        array = array.copy()
        array.flags.writeable = False
        return array
    return mapped(freeze, args)


def as_float32(args):
    """The arguments with float32 in place of float64. None if they contain no float64 array, or an object of the learner's own,
    in which there may be others."""
    if not transparent(args):
        return None
    cast_arrays = []

    def cast(array):
        if array.dtype == np.float64:
            cast_arrays.append(array)
            return array.astype(np.float32)
        return array.copy()

    smaller = mapped(cast, args)
    return smaller if cast_arrays else None


def transparent(value):
    """Does the value contain only arrays, numbers and other known types, so that no array in it can be missed?"""
    if isinstance(value, Mapping):
        return all(map(transparent, value.values()))
    if isinstance(value, (tuple, list)):
        return all(map(transparent, value))
    return value is None or callable(value) or isinstance(value, (np.ndarray, np.generic, int, float, str))


def equal(x, y):
    """Are all arrays the same, bit for bit? (So NaN equals NaN.)"""
    if isinstance(x, np.ndarray):
        return isinstance(y, np.ndarray) and x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()
    if isinstance(x, (tuple, list)):
        return isinstance(y, (tuple, list)) and len(x) == len(y) and all(map(equal, x, y))
    if isinstance(x, Mapping):
        return isinstance(y, Mapping) and x.keys() == y.keys() and all(equal(x[key], y[key]) for key in x)
    return True

