"""The loss along the straight line between two models, and its barrier (Goodfellow et al. 2015; Frankle et al. 2020)."""

import numpy as np

from .data import Profile
from .measure import each_point


def interpolation_points(points=21, beyond=0.0):
    """Evenly spaced t from -beyond to 1 + beyond: `points` of them from 0 to 1, which are both included exactly."""
    step = 1 / (points - 1)
    outside = step * np.arange(1, round(beyond / step) + 1)
    return np.concatenate([-outside[::-1], np.linspace(0, 1, points), 1 + outside])


def barrier(t, loss):
    """The most by which the loss rises above the straight line between its two end *losses*: 0 if it never does.

    max over 0 <= t <= 1 of  L(t) - ((1 - t) L(0) + t L(1)).   nan if one of these losses is not a number.
    """
    t, loss = np.asarray(t), np.asarray(loss)
    inside = (t >= 0) & (t <= 1)
    start, end = loss[t == 0][0], loss[t == 1][0]
    return float(np.max((loss - ((1 - t) * start + t * end))[inside]))


def profile(space, names, curves, probe, t, workers=None, info=None):
    """The Profile of curves between two models.   curves: {name: function t -> vector}"""
    loss = {}
    for name, curve in curves.items():
        at_each_t = each_point(space, [lambda x=x: curve(x) for x in t], probe, workers)
        loss[name] = {task: np.array([losses[task] for losses in at_each_t]) for task in probe.tasks}
    heights = {name: {task: barrier(t, along) for task, along in tasks.items()} for name, tasks in loss.items()}
    return Profile(tuple(names), np.asarray(t), loss, heights, {"tokens": probe.count, "notes": []} | (info or {}))


def straight(x, y):
    """The straight line  t -> (1 - t) x + t y,  exactly x at 0 and exactly y at 1."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return lambda t: (1 - t) * x + t * y
