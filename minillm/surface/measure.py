"""Measure a loss surface: the loss of every model of a plane, on the same few tokens."""

import time

import numpy as np

from ..ground.arrays import read_arrays, write_arrays
from ..ground.files import CheckpointError
from ..ground.processes import parallel_map
from ..ground.progress import progress
from .data import IN_PLANE, ProjectedTrajectory, Surface, lost
from .plane import cosine

SAVE_EVERY = 5.0     # seconds


def each_point(space, points, probe, workers=None):
    """{task: loss} at each of some weights, in order. `points` are functions that make a vector, so that few exist at a time."""
    return list(parallel_map(lambda point: space.losses(point(), probe), points, workers))


def measure_grid(space, plane, a, b, probe, workers=None, title="surface", keep=None):
    """{task: S (n_b, n_a)}: S[j, i] is the loss at theta(a_i, b_j). Row by row, in several processes.

    keep        a file for the rows that are done: written now and then and when interrupted, read at the start, removed at the
                end. Its name must say what is measured (views.py)
    """
    def row(j):
        base = plane.at_b(b[j])
        row_losses = [space.losses(plane.along(x, base, out=space.flat.data), probe) for x in a]
        return [[losses[task] for losses in row_losses] for task in probe.tasks]

    done = rows_kept(keep, (len(probe.tasks), len(a)), len(b)) if keep else []

    def save():
        if keep and done:
            write_arrays(keep, {"rows": np.array(done)}, {"kind": "unfinished grid"})

    saved = time.monotonic()

    def add(losses):
        nonlocal saved
        done.append(losses)
        bar.update(len(a))
        if time.monotonic() - saved > SAVE_EVERY:
            save()
            saved = time.monotonic()

    with progress(total=len(b) * len(a), initial=len(done) * len(a), desc=title, unit="point", quiet=not title) as bar:
        try:
            parallel_map(row, range(len(done), len(b)), workers, add)
        except KeyboardInterrupt:
            save()
            raise
    if keep:
        keep.unlink(missing_ok=True)
    return {task: np.array([losses[k] for losses in done]) for k, task in enumerate(probe.tasks)}


def rows_kept(keep, shape, most):
    """The rows of a grid that was interrupted, from its file; none if there is no such file, or none that fits."""
    try:
        rows = read_arrays(keep, "unfinished grid", finite=False)[0].get("rows")
    except CheckpointError:
        return []
    return [] if rows is None or rows.shape[1:] != shape or len(rows) > most else list(rows)


def grid_axis(ends, points, margin=0.3):
    """Evenly spaced coordinates from the least of `ends` to the largest, with a margin on both sides; every end lies inside."""
    low, high = min(ends), max(ends)
    room = margin * (high - low)
    return np.linspace(low - room, high + room, points)


def measure_surface(space, plane, models, trajectories, probe, points=21, workers=None, extent=None, within=(), info=None,
                    keep=None):
    """The surface on a plane, with models and the recorded ways of their weights on it.

    space       its starting weights need not lie in the plane
    models      {name: vector}, projected onto the plane; one at the plane's origin gives that its name
    ways        {name: (steps, [{parameter: array}])}; what an array is missing for is as at the start of the space
    probe       the texts
    points      of the grid, along each axis
    extent      ((from, to) of a, (from, to) of b), or None: so that all models and ways fit with a margin, but for ways that end
                with a higher loss than they began, which would stretch the map; of such a model only what spans the plane
    within      further points (a, b) that must fit
    info       further ones
    """
    origin = plane.origin
    chance = float(np.log(space.model.config.vocab_size))
    delta = {name: np.subtract(theta, origin, dtype=np.float64) for name, theta in models.items()}
    distances = {name: float(np.linalg.norm(way)) for name, way in delta.items()}
    origin_name = next((name for name, distance in distances.items() if distance == 0), "the origin")
    moved = [name for name in models if distances[name]]

    still = {("model", name): ([0], [lambda theta=theta: theta]) for name, theta in models.items()}
    moving = {("way", name): (steps, [lambda arrays=arrays: space.vector(arrays) for arrays in snapshots])
              for name, (steps, snapshots) in trajectories.items()}
    projected = project_trajectories(space, plane, still | moving, probe, workers)
    at, on_plane = ({name: projected[kind, name] for name in names} for kind, names in (("model", models), ("way", trajectories)))
    gaps = np.concatenate([abs(path.loss[task] - path.shown[task])[path.residual < IN_PLANE]
                           for path in projected.values() for task in probe.tasks])
    in_plane = [name for name, point in at.items() if point.residual[0] < IN_PLANE]
    away = [name for name, path in on_plane.items() if lost(path.loss[probe.tasks[0]])]

    if extent is None:
        fit = [at[name].ab for name in at if name not in away or name in in_plane]
        fit += [on_plane[name].ab for name in on_plane if name not in away]
        a, b = (grid_axis(ends, points) for ends in np.concatenate([*fit, np.reshape(within, (-1, 2))]).T)
    else:
        a, b = (np.linspace(*ends, points) for ends in extent)
    losses = measure_grid(space, plane, a, b, probe, workers, keep=keep)
    return Surface(
        a=a, b=b, loss=losses, points={name: tuple(point.ab[0].tolist()) for name, point in at.items()},
        residuals={name: float(point.residual[0]) for name, point in at.items()},
        point_loss={name: {task: float(point.loss[task][0]) for task in probe.tasks} for name, point in at.items()},
        trajectories=on_plane,
        distances={name: distances[name] for name in moved},
        cosines={f"{x},{y}": cosine(delta[x], delta[y]) for i, x in enumerate(moved) for y in moved[i + 1:]},
        info={"norm": float(np.linalg.norm(origin)), "chance": chance, "tokens": probe.count, "origin": origin_name,
               "unit": bool(np.allclose(np.diag(plane.gram), 1)), "labels": list(plane.labels), "directions": plane.directions,
               "notes": list(plane.notes), "in_plane": in_plane, "away": away,
               "gap": float(gaps[np.isfinite(gaps)].max(initial=0)),
               "not_numbers": int(sum((~np.isfinite(S)).sum() for S in losses.values()))} | (info or {}))


def project_trajectories(space, plane, trajectories, probe, workers=None):
    """{name: Path} of recorded ways: where they are in the plane, how far beside it, and their true loss beside the plane's.

    ways        {name: (steps, [functions that make a vector])}; all are measured together, which keeps the workers busy
    """
    where = {name: [plane.project(theta()) for theta in thetas] for name, (_, thetas) in trajectories.items()}
    true = [theta for _, thetas in trajectories.values() for theta in thetas]
    flat = [lambda ab=ab: plane.at(*ab) for places in where.values() for ab, _ in places]
    losses = np.array([[loss[task] for task in probe.tasks] for loss in each_point(space, true + flat, probe, workers)])
    measured = losses.reshape(2, -1, len(probe.tasks)).transpose(2, 0, 1)              # (task, true or shown, point)
    on_plane, start = {}, 0
    for name, (steps, _) in trajectories.items():
        own = slice(start, start + len(steps))
        loss, shown = ({task: both[k, own] for task, both in zip(probe.tasks, measured)} for k in range(2))
        ab, residual = (np.array(part) for part in zip(*where[name]))
        on_plane[name] = ProjectedTrajectory(np.array(steps), ab, residual, loss, shown)
        start += len(steps)
    return on_plane
