"""From a folder of fine-tunings to a surface: which plane, which texts, and what has been measured already.

All that is measured is kept in `surfaces/` in that folder, under a name that holds a hash of what it was measured from: models,
ways, a person's own text or pairs, settings. So nothing is measured twice, nothing outdated is ever shown, and to draw in another
style computes nothing.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..ground.arrays import read_arrays, read_meta, write_arrays
from ..ground.files import CheckpointError, opened, writable
from ..ground.files import digest as file_digest
from ..ground.locks import alone
from ..ground.processes import parallel_map
from ..ground.progress import progress
from ..inference.generate import generate_text
from ..runs.saved import Loaded
from ..tasks.source import candidates, locate
from ..text.batches import texts_of
from .curve import bezier, train_curve
from .data import Profile, Surface, lost
from .directions import curvature_plane, pca_plane, random_plane
from .family import ORIGIN, files_of, read_family, runs_in
from .line import interpolation_points, profile, straight
from .measure import measure_surface
from .plane import Plane, plane_through
from .sharpness import Curvature, extremes
from .space import Probe

MEASURED = 2         # goes up when the same models would be measured otherwise, so that what was kept before is left alone
RISE = 1.0           # nats: as high may the walls rise at the edge of a map along eigenvectors
SAMPLE, SAMPLE_SEED = 60, 3      # tokens of a text that recorded weights write, and of its random numbers
CURVE_STEPS = 200
LEARNED = 8          # texts of training for curvature, which depends on single tokens if they are few
STRAIGHT, BENT = "straight line", "trained curve"


class Layout(NamedTuple):
    """A plane, and what is to be seen on it; as `measure_surface` takes it."""

    plane: Plane
    models: dict
    trajectories: list = ()
    extent: tuple | None = None
    within: list = ()
    info: dict = {}


def surface(folder, view="three", names=None, points=21, workers=None, seed=1):
    """The surface of a view of fine-tunings in a folder, measured or read.

    view        one of VIEWS
    names       of fine-tunings; by default all that are there, a start from scratch left out. `three` and `curve` are spanned by
                the first two, `random` and `hessian` lie around the first, which may also be "pretrained"
    points      of the grid, along each axis
    CheckpointError or ValueError, in a sentence, for what is missing or has no plane.
    """
    lay, needed = VIEWS[view]
    names = chosen(folder, names, needed)
    if ORIGIN in names and view in ("three", "pca"):
        raise ValueError(f"{ORIGIN} is where all ways begin, and on this view in any case; name fine-tunings")
    key, keep = kept_as(folder, view, names, points, seed)
    if keep.exists():
        return read_kept(keep, key, Surface.of)
    family = read_family(folder, [name for name in names if name != ORIGIN] or runs_in(folder)[:1])
    writable(keep.parent)
    with alone(keep):
        return measured(family, view, names, points, workers, seed, key, keep)


def measured(family, view, names, points, workers, seed, key, keep):
    """The surface, measured and kept."""
    lay, _ = VIEWS[view]
    names, probe = family.called(names), probe_of(family, trained=view == "hessian")
    layout = lay(family, names, probe, np.random.default_rng([seed, 5]), workers)
    trajectories = family.trajectories(layout.trajectories)
    found = measure_surface(family.space, layout.plane, layout.models, trajectories, probe, points, workers,
                            layout.extent, layout.within, {"view": view, "seed": seed} | layout.info,
                            keep.with_suffix(".part.npz"))
    for name, texts in texts_on_the_way(family, found.trajectories, workers).items():
        found.trajectories[name].texts = texts
    write_arrays(keep, found.arrays(), {"kind": "surface", "key": key, "checks": found.checks()} | found.meta())
    return found


def line(folder, names=None, curve=False, points=41, workers=None, seed=1):
    """A Profile of the straight line between two models, and of a trained curve beside it; measured, or read.

    names       of two fine-tunings, or of one and "pretrained". By default that and the first there; with a curve the first two,
                as of the view `curve`
    """
    two = curve or names and len(names) > 1
    names = chosen(folder, names, 2)[:2] if two else [ORIGIN, chosen(folder, names, 1)[0]]
    if names == [ORIGIN, ORIGIN]:
        raise ValueError(f"a line needs two models, and {ORIGIN} is one; name a fine-tuning")
    key, keep = kept_as(folder, "curve-line" if curve else "line", names, points, seed)
    if keep.exists():
        return read_kept(keep, key, Profile.of)
    family = read_family(folder, [name for name in names if name != ORIGIN])
    names, probe = family.called(names), probe_of(family)
    ends = [family.end(name) for name in names]
    curves = {STRAIGHT: straight(*ends)}
    if curve:
        curves[BENT] = bezier(ends[0], bend(family, names, np.random.default_rng([seed, 5]), workers), ends[1])
    t = interpolation_points(points, 0 if curve else 0.5)
    found = profile(family.space, names, curves, probe, t, workers, {"seed": seed})
    write_arrays(keep, found.arrays(), {"kind": "surface", "key": key, "checks": found.checks()} | found.meta())
    return found


# The views.

def plane_through_models(family, names, probe, rng, workers):
    """The plane through the base and two fine-tunings; further ones are projected onto it."""
    models = {family.origin: family.start} | {name: family.end(name) for name in names}
    first, second = names[:2]
    labels = (f"the way to {first}", f"the way to {second}")
    inserted = [name for name in (first, second) if not family.runs[name].end.keys() <= family.body]
    if len(inserted) == 1 and max(family.runs[name].end.keys() <= family.body for name in (first, second)):
        labels = tuple("what was inserted moves" if name in inserted else "the body moves" for name in (first, second))
    plane = plane_through(family.start, models[first], models[second], (family.origin, first, second), labels=labels,
                    directions=f"the plane through {family.origin}, {first} and {second}")
    return Layout(plane, models, names)


def pca(family, names, probe, rng, workers):
    """The plane that shows most of the recorded ways; of those that led to nothing it may show little."""
    astray = [name for name in names if lost(family.runs[name].info["history"]["loss"])]
    runs = [family.runs[name] for name in names if name not in astray or len(astray) == len(names)]
    plane = pca_plane([[family.space.vector(arrays) for arrays in run.snapshots] for run in runs], [run.steps for run in runs],
                      "end" if len(runs) == 1 else "start")
    plane.notes += [f"{name} ended worse than it began and has not chosen the directions" for name in astray]
    return Layout(plane, {family.origin: family.start} | {name: family.end(name) for name in names}, names)


def random(family, names, probe, rng, workers):
    """Two random directions around a model, each filter as long as in the model."""
    centre = family.end(names[0])
    plane = random_plane(family.space, centre, rng)
    for name in family.runs:
        other = family.start if name == names[0] else family.end(name)
        rho = plane.project(other)[1]
        plane.notes.append(f"of the way between {name} and {family.origin}, this plane shows {1 - rho ** 2:.1e} of the square")
    return Layout(plane, {names[0]: centre}, extent=((-1, 1), (-1, 1)))


def hessian(family, names, probe, rng, workers):
    """Along the two directions of largest curvature around a model, on texts it was trained on."""
    centre, task = family.end(names[0]), probe.tasks[0]
    with progress(desc="curvature", unit="product") as bar:
        curvature = Curvature(family.space.put(centre), probe.only(task), workers=workers)
        top, bottom = extremes(curvature.product, curvature.n, rng, top=2, progress=lambda m, value: bar.update())
    plane = curvature_plane(centre, top)
    plane.notes.append(f"the smallest eigenvalue is {bottom[0].value:.4g} (± {bottom[0].error:.1g})")
    reach = [reach_of_parabola(lambda theta: family.space.losses(theta, probe)[task], centre, pair) for pair in top]
    plane.notes.append(f"the loss follows these parabolas no farther than about {reach[0]:.2g} and {reach[1]:.2g}")
    return Layout(plane, {names[0]: centre}, [name for name in names[:1] if name in family.runs],
                  tuple((-r, r) for r in reach), info={"eigenvalues": [pair.value for pair in (*top, *bottom)]})


def reach_of_parabola(loss, theta, eigen):
    """How far along an eigenvector the loss still rises half as high as its curvature says; but no farther than RISE nats,
    or a tenth of the length of theta."""
    here, far = loss(theta), 0.1 * np.linalg.norm(theta)
    if eigen.value <= 0:
        return float(far)
    reach = min(far, np.sqrt(2 * RISE / eigen.value))
    for _ in range(12):
        rise = (loss(theta + reach * eigen.vector) + loss(theta - reach * eigen.vector)) / 2 - here
        if rise >= 0.5 * (eigen.value * reach ** 2 / 2):
            break
        reach /= np.sqrt(2)
    return float(reach)


def curve(family, names, probe, rng, workers):
    """The plane of a trained curve between two models, around what may stand between them."""
    x, y = (family.end(name) for name in names[:2])
    m = bend(family, names, rng, workers)
    plane = plane_through(x, y, m, (*names[:2], "the middle of the curve"),
                    labels=(f"from {names[0]} to {names[1]}", "the curve bends"),
                    directions=f"the plane of a quadratic Bezier curve from {names[0]} to {names[1]}")
    ts = np.linspace(0, 1, 51)
    along = [plane.project(bezier(x, m, y)(t))[0] for t in ts]
    return Layout(plane, {names[0]: x, names[1]: y}, within=along, info={"curve": along, "t": ts.tolist()})


VIEWS = {"three": (plane_through_models, 2), "pca": (pca, 1), "random": (random, 1), "hessian": (hessian, 1), "curve": (curve, 2)}


def bend(family, names, rng, workers):
    """The trained middle of a curve between two models; kept, for it takes a while."""
    asked = [ORIGIN if name == family.origin else name for name in names[:2]]
    key, keep = kept_as(family.folder, "bend", asked, rng.bit_generator.state["state"])
    if keep.exists():
        return read_kept(keep, key, lambda arrays, meta: middle(arrays, family.space.size))
    batches = new_task(family).batches(16, family.space.model.config.context)
    m = train_curve(family.space, family.end(names[0]), family.end(names[1]), batches, CURVE_STEPS, rng, workers=workers)
    write_arrays(keep, {"m": m}, {"kind": "surface", "key": key})
    return m


# What they share.

def chosen(folder, names, needed):
    """The names asked for, or those there are; ValueError if they are too few."""
    there = runs_in(folder)
    names = list(names or [name for name in there if name != "scratch"] or there)
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(names)}: each can be named once")
    if len(names) < needed or not there:
        folder = Path(folder)
        what = f"takes {needed} fine-tunings" if needed > 1 else "takes a fine-tuning"
        raise CheckpointError(f"this view {what}, and {folder} has {', '.join(there) or 'none'}; make more with   minillm "
                              f"finetune --base {folder / ORIGIN}.npz --method METHOD")
    return names


def new_task(family):
    """What the first fine-tuning has learned."""
    first = next(iter(family.runs.values()))
    return Loaded(family.base.model, family.base.tokenizer, first.info, first.path).task()


def probe_of(family, trained=False):
    """A few texts of what was learned, and a few of what the base knew: such as no model has seen (of info, some that were
    taught), or, of what was learned, such as it was learned from."""
    new, old = new_task(family), family.base.task()
    context = family.base.model.config.context
    names = [new.name, old.name if old.name != new.name else f"{old.name}, the old"]
    return Probe({names[0]: learned_from(new, context) if trained else new.probe(context), names[1]: old.probe(context)})


def learned_from(task, context):
    """A few texts that a task teaches with: only on these is training likely to have found the bottom of a valley."""
    return texts_of(*task.batches(LEARNED, context).at(0))


def texts_on_the_way(family, names, workers=None):
    """{run: what its recorded weights write}, always with the same random numbers: so that a change is one of the weights."""
    space, tokenizer = family.space, family.base.tokenizer
    beginning = new_task(family).probe(family.base.model.config.context)[0].beginning
    snapshots = [(name, arrays) for name in names for arrays in family.runs[name].snapshots]

    def write(snapshot):
        model, rng = space.put(space.vector(snapshot[1])), np.random.default_rng(SAMPLE_SEED)
        return generate_text(model, tokenizer, beginning, SAMPLE, rng)

    texts = list(parallel_map(write, snapshots, workers))
    return {name: [text for text, (own, _) in zip(texts, snapshots) if own == name] for name in names}


def kept_as(folder, what, names, *settings):
    """(key, file): the name for what is measured from these models. ValueError if the text of one of them is another now."""
    runs = [name for name in names if name != ORIGIN] or runs_in(folder)[:1]
    base, files = files_of(folder, runs)
    digest = hashlib.sha256(repr((MEASURED, what, names, settings)).encode())
    for path in (base, *files):
        with opened(path) as file:
            while part := file.read(1 << 20):
                digest.update(part)
    for path in (base, *files[::2]):                        # of all models; a text or pairs that they learned from may be edited
        task = read_meta(path).get("task") or {}
        if isinstance(task, dict) and isinstance(task.get("path"), str) and candidates(task, path.parent):
            digest.update(file_digest(locate(task, path.parent)).encode())
    key = digest.hexdigest()[:12]
    return key, Path(folder) / "surfaces" / f"{what}-{key}.npz"


def middle(arrays, size):
    if arrays.keys() != {"m"} or arrays["m"].shape != (size,):
        raise ValueError("it has no vector m of the right length")
    return arrays["m"]


def read_kept(path, key, make):
    """make(arrays, meta). CheckpointError if the file is one of other models, put there under this name, or not whole."""
    try:
        arrays, meta = read_arrays(path, "surface", finite=False)
        if meta.get("key") == key:
            return make(arrays, meta)
        reason = f"{path} was measured from other models or settings than its name says"
    except CheckpointError as error:
        reason = str(error)
    except ValueError as error:
        reason = f"{path} is not as minillm has written it ({error})"
    raise CheckpointError(f"{reason}; remove it, and it is measured anew")
