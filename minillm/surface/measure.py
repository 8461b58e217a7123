"""Measure a loss surface: the loss of every model of a plane, on the same few tokens."""

import time

import numpy as np

from ..processes import parallel_map
from ..train.checkpoint import read_arrays, write_arrays
from .data import IN_PLANE, Path, Surface, lost
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
    from tqdm import tqdm

    def row(j):
        base = plane.at_b(b[j])
        found = [space.losses(plane.along(x, base, out=space.flat.data), probe) for x in a]
        return [[losses[task] for losses in found] for task in probe.tasks]

    done = list(read_arrays(keep)[0]["rows"]) if keep and keep.exists() else []

    def save():
        if keep and done:
            write_arrays(keep, {"rows": np.array(done)}, {"kind": "unfinished grid"})

    bar = tqdm(total=len(b) * len(a), initial=len(done) * len(a), desc=title, unit="point", disable=None if title else True)
    saved = time.monotonic()
    try:
        for losses in parallel_map(row, range(len(done), len(b)), workers):
            done.append(losses)
            bar.update(len(a))
            if time.monotonic() - saved > SAVE_EVERY:
                save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        save()
        raise
    finally:
        bar.close()
    if keep:
        keep.unlink(missing_ok=True)
    return {task: np.array([losses[k] for losses in done]) for k, task in enumerate(probe.tasks)}


def grid_axis(ends, points, margin=0.3):
    """Evenly spaced coordinates from the least of `ends` to the largest, with a margin on both sides; every end lies inside."""
    low, high = min(ends), max(ends)
    room = margin * (high - low)
    return np.linspace(low - room, high + room, points)


def measure_surface(space, plane, models, ways, probe, points=21, workers=None, extent=None, within=(), facts=None,
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
    facts       further ones
    """
    origin = plane.origin
    chance = float(np.log(space.model.config.vocab_size))
    delta = {name: np.subtract(theta, origin, dtype=np.float64) for name, theta in models.items()}
    distances = {name: float(np.linalg.norm(way)) for name, way in delta.items()}
    origin_name = next((name for name, distance in distances.items() if distance == 0), "the origin")
    moved = [name for name in models if distances[name]]
    projected = {name: plane.project(theta) for name, theta in models.items()}
    paths = {name: project_way(space, plane, *way, probe, workers) for name, way in ways.items()}
    away = [name for name, path in paths.items() if lost(path.loss[probe.tasks[0]])]

    true = each_point(space, [lambda theta=theta: theta for theta in models.values()], probe, workers)
    shown = each_point(space, [lambda ab=ab: plane.at(*ab) for ab, _ in projected.values()], probe, workers)
    in_plane = [name for name, (_, residual) in projected.items() if residual < IN_PLANE]
    gaps = [abs(apart[task] - there[task]) for name, apart, there in zip(models, true, shown) if name in in_plane
            for task in probe.tasks]
    gaps += [abs(path.loss[task] - path.shown[task])[path.residual < IN_PLANE].max(initial=0)
             for path in paths.values() for task in probe.tasks]

    if extent is None:
        fit = [ab for name, (ab, _) in projected.items() if name not in away or name in in_plane]
        fit += [ab for name in paths if name not in away for ab in paths[name].ab]
        a, b = (grid_axis(ends, points) for ends in np.array([*fit, *within]).T)
    else:
        a, b = (np.linspace(*ends, points) for ends in extent)
    losses = measure_grid(space, plane, a, b, probe, workers, keep=keep)
    return Surface(
        a=a, b=b, loss=losses, points={name: ab for name, (ab, _) in projected.items()},
        residuals={name: residual for name, (_, residual) in projected.items()}, point_loss=dict(zip(models, true)), paths=paths,
        distances={name: distances[name] for name in moved},
        cosines={f"{x},{y}": cosine(delta[x], delta[y]) for i, x in enumerate(moved) for y in moved[i + 1:]},
        facts={"norm": float(np.linalg.norm(origin)), "chance": chance, "tokens": probe.count, "origin": origin_name,
               "unit": bool(np.allclose(np.diag(plane.gram), 1)), "labels": list(plane.labels), "directions": plane.directions,
               "notes": list(plane.notes), "in_plane": in_plane, "gap": float(max(gaps, default=0)), "away": away,
               "not_numbers": int(sum((~np.isfinite(S)).sum() for S in losses.values()))} | (facts or {}))


def project_way(space, plane, steps, snapshots, probe, workers=None):
    """A recorded way as a Path: where it is in the plane, how far beside it, and its true loss beside that of the plane."""
    where = [plane.project(space.vector(arrays)) for arrays in snapshots]
    true = each_point(space, [lambda arrays=arrays: space.vector(arrays) for arrays in snapshots], probe, workers)
    shown = each_point(space, [lambda ab=ab: plane.at(*ab) for ab, _ in where], probe, workers)
    return Path(steps=np.array(steps), ab=np.array([ab for ab, _ in where]), residual=np.array([rho for _, rho in where]),
                loss={task: np.array([losses[task] for losses in true]) for task in probe.tasks},
                shown={task: np.array([losses[task] for losses in shown]) for task in probe.tasks})
