"""From a folder of fine-tunings to a surface: which plane to choose, and which texts to measure the loss on.

All results are kept in the folder (cache.py), so drawing them again, in another style say, measures nothing.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..ground.arrays import write_arrays
from ..ground.files import CheckpointError, writable
from ..ground.locks import alone
from ..ground.processes import parallel_map
from ..ground.progress import progress
from ..inference.generate import generate_text
from ..runs.saved import Loaded
from ..text.batches import texts_of
from .cache import cache_file, read_cached, write_cached
from .curve import bezier, train_curve
from .data import Profile, Surface, ended_worse
from .directions import curvature_plane, pca_plane, random_plane
from .family import ORIGIN, read_family, runs_in
from .line import interpolation_points, profile, straight
from .measure import GRID, measure_surface
from .plane import Plane, plane_through
from .sharpness import Curvature, extremes
from .space import Probe

RISE = 1.0           # nats: the walls at the edge of a map along eigenvectors rise at most this high
SAMPLE, SAMPLE_SEED = 60, 3      # length in tokens of the texts that recorded weights write, and the seed of their random numbers
CURVE_STEPS = 200
TRAINING_TEXTS = 8   # to measure curvature on; with fewer, it would depend on single tokens
STRAIGHT, CURVED = "straight line", "trained curve"


class Layout(NamedTuple):
    """A plane and what is to be shown on it: arguments of `measure_surface`."""

    plane: Plane
    models: dict
    trajectories: list = ()
    extent: tuple | None = None
    within: list = ()
    info: dict = {}


def surface(folder, view="three", names=None, points=GRID, workers=None, seed=1):
    """The Surface of a view of the fine-tunings in a folder, measured or, if it was measured before, read.

    view        one of VIEWS
    names       of fine-tunings; by default all in the folder but one from scratch. `three` and `curve` are spanned by the first
                two, `random` and `hessian` are centred on the first, which may also be "pretrained"
    points      of the grid, along each axis
    CheckpointError or ValueError, in one sentence, if something is missing or does not span a plane.
    """
    _, needed = VIEWS[view]
    names = chosen_names(folder, names, needed)
    if ORIGIN in names and view in ("three", "pca"):
        raise ValueError(f"this view always shows {ORIGIN}, the base of all fine-tunings; name only fine-tunings")
    key, path = cache_file(folder, view, names, points, seed)
    if path.exists():
        return read_cached(path, key, Surface.of)
    family = read_family(folder, [name for name in names if name != ORIGIN] or runs_in(folder)[:1])
    writable(path.parent)
    with alone(path):
        measured = measure_view(family, view, names, points, workers, seed, path.with_suffix(".part.npz"))
        write_cached(path, key, measured)
    return measured


def measure_view(family, view, names, points, workers, seed, unfinished):
    """Measure the Surface of a view.   unfinished: the file for the rows of an interrupted grid"""
    lay_out, _ = VIEWS[view]
    names, probe = family.names_in_space(names), probe_of(family, trained=view == "hessian")
    layout = lay_out(family, names, probe, np.random.default_rng([seed, 5]), workers)
    layout.plane.notes[:0] = family.notes()                         # first, because a caption quotes only the first few
    measured = measure_surface(family.space, layout.plane, layout.models, family.trajectories(layout.trajectories), probe, points,
                               workers, layout.extent, layout.within, {"view": view, "seed": seed} | layout.info, unfinished)
    for name, texts in texts_along(family, measured.trajectories, workers).items():
        measured.trajectories[name].texts = texts
    return measured


def line(folder, names=None, curve=False, points=41, workers=None, seed=1):
    """The Profile of the straight line between two models, and with `curve` of a trained curve too; measured, or read.

    names       of two fine-tunings, or of one and "pretrained". By default "pretrained" and the first fine-tuning in the folder;
                with `curve`, the first two, as for the view `curve`
    """
    two = curve or names and len(names) > 1
    names = chosen_names(folder, names, 2)[:2] if two else [ORIGIN, chosen_names(folder, names, 1)[0]]
    if names == [ORIGIN, ORIGIN]:
        raise ValueError(f"a line needs two models, and {ORIGIN} is one; name a fine-tuning")
    key, path = cache_file(folder, "curve-line" if curve else "line", names, points, seed)
    if path.exists():
        return read_cached(path, key, Profile.of)
    family = read_family(folder, [name for name in names if name != ORIGIN])
    writable(path.parent)
    with alone(path):
        return measure_line(family, names, curve, points, workers, seed, key, path)


def measure_line(family, names, curve, points, workers, seed, key, path):
    """A Profile, measured and written to its file."""
    names, probe = family.names_in_space(names), probe_of(family)
    ends = [family.end(name) for name in names]
    curves = {STRAIGHT: straight(*ends)}
    if curve:
        m = curve_middle(family, names, np.random.default_rng([seed, 5]), workers)
        curves[CURVED] = bezier(ends[0], m, ends[1])
    measured = profile(family.space, names, curves, probe, interpolation_points(points, 0 if curve else 0.5), workers,
                       {"seed": seed, "notes": family.notes()})
    write_cached(path, key, measured)
    return measured


# The views.

def plane_through_models(family, names, probe, rng, workers):
    """The plane through the base and two fine-tunings; further ones are projected onto it."""
    models = {family.origin: family.start} | {name: family.end(name) for name in names}
    first, second = names[:2]
    labels = (f"towards {first}", f"towards {second}")
    inserted = [name for name in (first, second) if not family.runs[name].end.keys() <= family.body]
    if len(inserted) == 1:
        labels = tuple("what was inserted moves" if name in inserted else "the body moves" for name in (first, second))
    plane = plane_through(family.start, models[first], models[second], (family.origin, first, second), labels=labels,
                          directions=f"the plane through {family.origin}, {first} and {second}")
    return Layout(plane, models, names)


def plane_of_most_movement(family, names, probe, rng, workers):
    """The plane that shows most of the trajectories, those of failed runs left out."""
    failed = [name for name in names if ended_worse(family.runs[name].info["history"]["loss"])]
    runs = [family.runs[name] for name in names if name not in failed or len(failed) == len(names)]
    plane = pca_plane([[family.space.vector(arrays) for arrays in run.snapshots] for run in runs], [run.steps for run in runs],
                      "end" if len(runs) == 1 else "start")
    plane.notes += [f"{name} ended worse than it began, so the directions do not depend on it" for name in failed]
    return Layout(plane, {family.origin: family.start} | {name: family.end(name) for name in names}, names)


def plane_of_random_directions(family, names, probe, rng, workers):
    """Two random directions around a model, scaled filter by filter to the lengths in the model."""
    centre = family.end(names[0])
    plane = random_plane(family.space, centre, rng)
    for name in family.runs:
        other = family.origin if name == names[0] else name
        rho = plane.project(family.end(other))[1]                   # `project` measures from the centre
        plane.notes.append(f"of the squared distance between {names[0]} and {other}, this plane shows {1 - rho ** 2:.1e}")
    return Layout(plane, {names[0]: centre}, extent=((-1, 1), (-1, 1)))


def plane_of_most_curvature(family, names, probe, rng, workers):
    """The two directions of largest curvature around a model, on texts that it was trained on."""
    centre, task = family.end(names[0]), probe.tasks[0]
    with progress(desc="curvature", unit="product") as bar:
        curvature = Curvature(family.space.put(centre), probe.batches_of(task), workers=workers)
        top, bottom = extremes(curvature.product, curvature.n, rng, top=2, progress=lambda m, value: bar.update())
    plane = curvature_plane(centre, top)
    plane.notes.append(f"the smallest eigenvalue is {bottom[0].value:.4g} (± {bottom[0].error:.1g})")
    reach = [reach_of_parabola(lambda theta: family.space.losses(theta, probe)[task], centre, eigen) for eigen in top]
    plane.notes.append(f"the loss follows these parabolas up to a distance of about {reach[0]:.2g} and {reach[1]:.2g}")
    return Layout(plane, {names[0]: centre}, [name for name in names[:1] if name in family.runs],
                  tuple((-r, r) for r in reach), info={"eigenvalues": [eigen.value for eigen in (*top, *bottom)]})


def reach_of_parabola(loss, theta, eigen):
    """The distance along an eigenvector up to which the loss rises at least half as high as its curvature predicts.

    At most the distance at which the prediction is RISE nats, and at most a tenth of the length of theta.
    """
    centre, far = loss(theta), 0.1 * np.linalg.norm(theta)
    if eigen.value <= 0:
        return float(far)
    reach = min(far, np.sqrt(2 * RISE / eigen.value))
    for _ in range(12):
        rise = (loss(theta + reach * eigen.vector) + loss(theta - reach * eigen.vector)) / 2 - centre
        if rise >= 0.5 * (eigen.value * reach ** 2 / 2):
            break
        reach /= np.sqrt(2)
    return float(reach)


def plane_of_trained_curve(family, names, probe, rng, workers):
    """The plane of a trained curve between two models, along which the loss stays low."""
    x, y = (family.end(name) for name in names[:2])
    m = curve_middle(family, names, rng, workers)
    plane = plane_through(x, y, m, (*names[:2], "the middle of the curve"),
                    labels=(f"from {names[0]} to {names[1]}", "the curve bends"),
                    directions=f"the plane of a quadratic Bezier curve from {names[0]} to {names[1]}")
    ts = np.linspace(0, 1, 51)
    along = [plane.project(bezier(x, m, y)(t))[0] for t in ts]
    return Layout(plane, {names[0]: x, names[1]: y}, within=along, info={"curve": along, "t": ts.tolist()})


VIEWS = {"three": (plane_through_models, 2), "pca": (plane_of_most_movement, 1), "random": (plane_of_random_directions, 1),
         "hessian": (plane_of_most_curvature, 1), "curve": (plane_of_trained_curve, 2)}


def curve_middle(family, names, rng, workers):
    """The trained vector m of a Bezier curve between two models. It is kept, because training takes a while."""
    models = [ORIGIN if name == family.origin else name for name in names[:2]]
    key, path = cache_file(family.folder, "bend", models, CURVE_STEPS, rng.bit_generator.state["state"])
    if path.exists():
        return read_cached(path, key, lambda arrays, meta: middle_of(arrays, family.space.size))
    batches = new_task(family).batches(16, family.space.model.config.context)
    m = train_curve(family.space, family.end(names[0]), family.end(names[1]), batches, CURVE_STEPS, rng, workers=workers)
    write_arrays(path, {"m": m}, {"kind": "surface", "key": key})
    return m


def middle_of(arrays, size):
    """The vector m of a file. ValueError if there is none of this size."""
    if arrays.keys() != {"m"} or arrays["m"].shape != (size,):
        raise ValueError("it does not hold a vector m of the right length")
    return arrays["m"]


# What they share.

def chosen_names(folder, names, needed):
    """The names given, or by default those in the folder. ValueError if they are too few or repeated."""
    recorded = runs_in(folder)
    names = list(names or [name for name in recorded if name != "scratch"] or recorded)
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(names)}: each can be named once")
    if len(names) < needed or not recorded:
        folder = Path(folder)
        number = f"{needed} fine-tunings" if needed > 1 else "a fine-tuning"
        raise CheckpointError(f"this view takes {number}, and {folder} has {', '.join(recorded) or 'none'}; make more with   "
                              f"minillm finetune --base {folder / ORIGIN}.npz --method METHOD")
    return names


def new_task(family):
    """The task that the first fine-tuning learned."""
    first = next(iter(family.runs.values()))
    return Loaded(family.base.model, family.base.tokenizer, first.info, first.path).task()


def probe_of(family, trained=False):
    """The Probe of a few texts of the new task and a few of the old.

    They are texts that no model has seen, except for facts, which can only be known by heart. If `trained`, those of the new task
    are texts that were learned from.
    """
    new, old = new_task(family), family.base.task()
    context = family.base.model.config.context
    names = [new.name, old.name if old.name != new.name else f"{old.name}, the old"]
    return Probe({names[0]: training_texts(new, context) if trained else new.probe(context), names[1]: old.probe(context)})


def training_texts(task, context):
    """A few texts that a task trains on: only there is training likely to have reached the bottom of a valley."""
    return texts_of(*task.batches(TRAINING_TEXTS, context).at(0))


def texts_along(family, names, workers=None):
    """{run: [the text that each of its recorded weights writes]}. All use the same random numbers, so only weights differ."""
    space, tokenizer = family.space, family.base.tokenizer
    beginning = new_task(family).probe(family.base.model.config.context)[0].beginning
    snapshots = [(name, arrays) for name in names for arrays in family.runs[name].snapshots]

    def write(snapshot):
        model, rng = space.put(space.vector(snapshot[1])), np.random.default_rng(SAMPLE_SEED)
        return generate_text(model, tokenizer, beginning, SAMPLE, rng)

    texts = list(parallel_map(write, snapshots, workers))
    return {name: [text for text, (run, _) in zip(texts, snapshots) if run == name] for name in names}
