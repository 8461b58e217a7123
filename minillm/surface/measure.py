"""Measure a loss surface: the loss of every model of a plane, on the same few tokens."""

import copy

import numpy as np

from ..nn import IGNORE
from ..processes import parallel_map
from ..text.batches import pad
from ..train.evaluate import log_softmax_at
from ..train.flat import Flat
from .data import Path, Surface
from .plane import Plane, cosine


def fixed_batches(documents, rows=6):
    """Documents (lists of ids) -> [(tokens, targets)], short with short; the tag is given, not counted, as in every score."""
    ordered = sorted(documents, key=len)
    batches = [pad(ordered[i:i + rows]) for i in range(0, len(ordered), rows)]
    for _, targets in batches:
        targets[:, 0] = IGNORE
    return batches


def count(batches):
    return sum(int(np.count_nonzero(targets != IGNORE)) for _, targets in batches)


def mean_loss(model, batches):
    """Mean of -log p(target) over the targets that count, in nats."""
    total = sum(log_softmax_at(model.logits(tokens), targets)[targets != IGNORE].sum() for tokens, targets in batches)
    return float(-total / count(batches))


class Space:
    """All weights of one model as a vector: the space in which every method's weights are points.

    The model is the *adapted* one, with weights (theta, phi): the body and the inserted adapters. Full fine-tuning is then
    (theta', phi_0), an adapter (theta, phi'), and since phi_0 is the identity, every point in between is a working model.
    """

    def __init__(self, model):
        self.model = copy.deepcopy(model)
        self.flat = Flat(self.model.parameters(), gradients=False)
        self.start = self.flat.data.copy()

    def vector(self, arrays):
        """The starting weights with some arrays {name: array} in their place. KeyError for a name that the model lacks."""
        theta = self.start.copy()
        views = self.flat.views(theta)
        for name, array in arrays.items():
            views[name][...] = array
        return theta

    def losses(self, theta, tasks):
        """{task: loss} of the model with these weights, which it then has. No copy if theta was written into flat.data."""
        if theta is not self.flat.data:
            self.flat.data[...] = theta
        return {task: mean_loss(self.model, batches) for task, batches in tasks.items()}


def each_point(space, points, tasks, workers=None, title=None):
    """{task: loss} at each of many weights, in order. `points` are functions that make a vector, so that few exist at a time."""
    from tqdm import tqdm

    found = parallel_map(lambda point: space.losses(point(), tasks), points, workers)
    return list(tqdm(found, total=len(points), desc=title, unit="point", disable=None if title else True))


def grid_axis(ends, points, margin=0.3):
    """Evenly spaced coordinates from the least of `ends` to the largest, with a margin on both sides; every end lies inside."""
    low, high = min(ends), max(ends)
    room = margin * (high - low)
    return np.linspace(low - room, high + room, points)


def measure_surface(model, ends, ways, tasks, points=21, workers=None, facts=None):
    """The surface through the model's own weights (the origin) and two end points, with the recorded ways on it.

    model    the adapted model, at the starting weights
    ends     {name: {parameter: array}}; the first two span the plane, further ones are projected onto it
    ways     {name: (steps, [{parameter: array}])} as a `Recorder` keeps them
    tasks    {task: batches} from `fixed_batches`
    points   of the grid, along each axis
    """
    space = Space(model)
    P = space.start
    theta = {name: space.vector(arrays) for name, arrays in ends.items()}
    first, second = list(ends)[:2]
    plane = Plane(P, theta[first], theta[second])
    ab = {"pretrained": (0.0, 0.0)} | {name: plane.project(vector)[0] for name, vector in theta.items()}
    a = grid_axis([point[0] for point in ab.values()], points)
    b = grid_axis([point[1] for point in ab.values()], points)

    grid = [(lambda x=x, y=y: plane.at(x, y, out=space.flat.data)) for y in b for x in a]
    found = each_point(space, grid, tasks, workers, title="surface")
    losses = {task: np.array([f[task] for f in found]).reshape(len(b), len(a)) for task in tasks}

    named = {"pretrained": {}} | ends
    true = each_point(space, [lambda arrays=arrays: space.vector(arrays) for arrays in named.values()], tasks, workers)
    spanning = [lambda name=name: plane.at(*ab[name]) for name in ("pretrained", first, second)]
    at_points = each_point(space, spanning, tasks, workers)
    gap = max(abs(shown[task] - apart[task]) for shown, apart in zip(at_points, true) for task in tasks)
    delta = {name: vector.astype(np.float64) - P for name, vector in theta.items()}
    names = list(delta)
    return Surface(
        a=a, b=b, loss=losses, points=ab, point_loss=dict(zip(named, true)),
        paths={name: project_way(space, plane, *way, tasks, workers) for name, way in ways.items()},
        distances={name: float(np.linalg.norm(way)) for name, way in delta.items()},
        cosines={f"{x},{y}": cosine(delta[x], delta[y]) for i, x in enumerate(names) for y in names[i + 1:]},
        facts={"norm": float(np.linalg.norm(P.astype(np.float64))), "chance": float(np.log(model.config.vocab_size)),
               "tokens": {task: count(batches) for task, batches in tasks.items()},
               "spanned_by": [first, second], "gap": gap} | (facts or {}))


def project_way(space, plane, steps, snapshots, tasks, workers=None):
    """A recorded way as a Path: where it is in the plane, how far beside it, and its true loss."""
    shown = [plane.project(space.vector(arrays)) for arrays in snapshots]
    makers = [lambda arrays=arrays: space.vector(arrays) for arrays in snapshots]
    true = each_point(space, makers, tasks, workers)
    return Path(steps=np.array(steps), ab=np.array([point for point, _ in shown]),
                residual=np.array([residual for _, residual in shown]),
                loss={task: np.array([losses[task] for losses in true]) for task in tasks})
