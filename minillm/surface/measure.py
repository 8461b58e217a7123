"""Measure a loss surface: the losses of the models on a grid in a plane, all on the same few tokens."""

import time

import numpy as np

from ..ground.arrays import read_arrays, write_arrays
from ..ground.files import CheckpointError
from ..ground.processes import parallel_map
from ..ground.progress import progress
from .data import IN_PLANE, ProjectedTrajectory, Surface, ended_worse
from .plane import cosine

GRID = 17      # points along each axis of a surface, if nothing else is said

SAVE_EVERY = 5.0     # seconds


def each_point(space, points, probe, workers=None):
    """[{task: loss}] at some points, in order. `points` are functions that return a vector, so that few exist at a time."""
    return list(parallel_map(lambda point: space.losses(point(), probe), points, workers))


def measure_grid(space, plane, a, b, probe, workers=None, title="surface", keep=None):
    """{task: S (n_b, n_a)}: S[j, i] is the loss at theta(a_i, b_j). Measured row by row, in several processes.

    keep        a file for the finished rows, or None. It is read at the start, written now and then and when interrupted, and
                removed at the end. Its name must say what is measured (cache.py)
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
    """The finished rows of an interrupted grid, from its file; none if there is no such file, or if it does not fit."""
    try:
        rows = read_arrays(keep, "unfinished grid", finite=False)[0].get("rows")
    except CheckpointError:
        return []
    return [] if rows is None or rows.shape[1:] != shape or len(rows) > most else list(rows)


def grid_axis(ends, points, margin=0.3):
    """Evenly spaced coordinates from the smallest of `ends` to the largest, with a margin on both sides."""
    low, high = min(ends), max(ends)
    room = margin * (high - low)
    return np.linspace(low - room, high + room, points)


def measure_surface(space, plane, models, trajectories, probe, points=GRID, workers=None, extent=None, within=(), info=None,
                    keep=None):
    """Measure the Surface on a plane, with models and the trajectories of their weights projected onto it.

    space           its starting weights need not lie in the plane
    models          {name: vector}; the origin of the plane is named after a model that lies there
    trajectories    {name: (steps, [{parameter: array}])}; parameters without an array are as at the start of the space
    probe           the texts
    points          of the grid, along each axis
    extent          ((from, to) of a, (from, to) of b), or None: large enough for all models and trajectories, with a margin.
                    Trajectories that ended worse than they began would stretch the map, so they need not fit, nor need their
                    models, unless they lie in the plane
    within          further points (a, b) that must fit
    info            further entries of the surface's info
    keep            a file for unfinished work, see `measure_grid`
    """
    origin = plane.origin
    chance = float(np.log(space.model.config.vocab_size))
    delta = {name: np.subtract(theta, origin, dtype=np.float64) for name, theta in models.items()}
    distances = {name: float(np.linalg.norm(difference)) for name, difference in delta.items()}
    origin_name = next((name for name, distance in distances.items() if distance == 0), "the origin")
    moved = [name for name in models if distances[name]]

    single = {("model", name): ([0], [lambda theta=theta: theta]) for name, theta in models.items()}
    recorded = {("trajectory", name): (steps, [lambda arrays=arrays: space.vector(arrays) for arrays in snapshots])
                for name, (steps, snapshots) in trajectories.items()}
    projected = project_trajectories(space, plane, single | recorded, probe, workers)
    at, on_plane = ({name: projected[kind, name] for name in names}
                    for kind, names in (("model", models), ("trajectory", trajectories)))
    gaps = np.concatenate([abs(trajectory.loss[task] - trajectory.shown[task])[trajectory.residual < IN_PLANE]
                           for trajectory in projected.values() for task in probe.tasks])
    in_plane = [name for name, point in at.items() if point.residual[0] < IN_PLANE]
    away = [name for name, trajectory in on_plane.items() if ended_worse(trajectory.loss[probe.tasks[0]])]

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
    """{name: ProjectedTrajectory}: projections onto the plane, their errors, and both the true losses and those of the plane.

    trajectories    {name: (steps, [functions that return a vector])}; all are measured together, to keep the workers busy
    """
    projections = {name: [plane.project(theta()) for theta in thetas] for name, (_, thetas) in trajectories.items()}
    true = [theta for _, thetas in trajectories.values() for theta in thetas]
    in_plane = [lambda ab=ab: plane.at(*ab) for pairs in projections.values() for ab, _ in pairs]
    losses = np.array([[loss[task] for task in probe.tasks] for loss in each_point(space, true + in_plane, probe, workers)])
    measured = losses.reshape(2, -1, len(probe.tasks)).transpose(2, 0, 1)              # (task, true or shown, point)
    on_plane, start = {}, 0
    for name, (steps, _) in trajectories.items():
        own = slice(start, start + len(steps))
        loss, shown = ({task: both[k, own] for task, both in zip(probe.tasks, measured)} for k in range(2))
        ab, residual = (np.array(part) for part in zip(*projections[name]))
        on_plane[name] = ProjectedTrajectory(np.array(steps), ab, residual, loss, shown)
        start += len(steps)
    return on_plane
