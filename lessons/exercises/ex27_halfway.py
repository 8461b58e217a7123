"""Exercise 27: part of the way back.

A model's weights are a dictionary {name: array}, as `model.state_dict()` gives them: `before` fine-tuning and `after` it, with
the
same names and shapes. The straight line between them is, for each of the arrays,

    theta(t) = before + t (after - before)            t = 0: before,  t = 1: after

Write `interpolate`. It returns a new dictionary of new arrays.

`excess_new(weights)` is a function that returns the excess of any such weights on the new task, a number e. The share of what was
learned that is kept at t is

    learned(t) = (e(0) - e(t)) / (e(0) - e(1))        0 at t = 0,  1 at t = 1

Write `halfway`: the smallest t among 0, 0.05, 0.1, ..., 1 at which at least `share` of what was learned is kept (0 < share < 1).
The excess need not fall all the way, so try them in order.

    >>> before, after = {"w": np.array([1.0, 3.0])}, {"w": np.array([2.0, 1.0])}
    >>> print(interpolate(before, after, 0.25)["w"].tolist())
    [1.25, 2.5]
    >>> t = halfway(before, after, lambda weights: float(np.sum((weights["w"] - after["w"]) ** 2)), 0.7)
    >>> print(round(t, 2))
    0.5
"""

import numpy as np


def interpolate(before, after, t):
    """before, after {name: array}, t a number -> {name: array} at t on the line from before to after."""
    raise NotImplementedError


def halfway(before, after, excess_new, share):
    """before, after {name: array}, excess_new(weights) -> a number, share a number -> t, a number."""
    raise NotImplementedError
