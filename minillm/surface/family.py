"""Fine-tunings on disk, as points and ways of one space: whatever their method, they become comparable.

    full, frozen, scratch       theta, the weights of the body; what is frozen has not moved
    LoRA, DoRA, (IA)^3          theta as well, after merging. The factors themselves would not do: A -> cA, B -> B/c changes them
                                as far as one likes, and the model not at all
    adapters, prefixes, heads   (theta, phi): the body's weights and those inserted, which at first, phi_0, do nothing. Runs that
                                lack what another has are at phi_0 there, so all remain the models that they are
    prompts, prefixes without   cannot be put before a text without changing it, so there is no phi_0, and only runs of that very
    a gate                      method have a space in common; its origin is where they began
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path

from ..finetune.adapter_file import base_of
from ..finetune.merge import merge
from ..finetune.methods.head import Untied
from ..finetune.wrapper import inserted, slots
from ..ground.arrays import read_meta
from ..ground.files import CheckpointError
from ..runs.saved import Loaded, load
from ..train.checkpoint import fingerprint
from ..train.recorder import read_trajectory, trajectory_path
from .space import Space

ORIGIN = "pretrained"


@dataclass
class Run:
    """One fine-tuning in a space that it shares with others: {parameter: array} of all that is not as at the space's start.

    end         of the saved model
    steps       and snapshots: its recorded way
    info       what its file says: recipe, task, seed; and history, the losses of its training
    path        of that file
    """

    end: dict
    steps: list
    snapshots: list
    info: dict = field(default_factory=dict)
    path: Path | None = None


@dataclass
class Family:
    """A base and its specialists, in one space.

    space       starts at the base, with whatever is inserted doing nothing
    origin      the name of that point
    body        names of the base's own parameters
    """

    folder: Path
    base: Loaded
    runs: dict
    space: Space
    origin: str
    body: set

    @property
    def start(self):
        return self.space.start

    def called(self, names):
        """Names as they are in this space, where the origin may be another model than the base."""
        return [self.origin if name == ORIGIN else name for name in names]

    def end(self, name):
        """The weights of a model by name, a vector."""
        return self.start if name == self.origin else self.space.vector(self.runs[name].end)

    def trajectories(self, names):
        return {name: (self.runs[name].steps, self.runs[name].snapshots) for name in names if name != self.origin}


def runs_in(folder):
    """Names of the fine-tunings in a folder whose way was recorded: full and adapter first, a start from scratch last."""
    first = ["full", "adapter"]
    recorded = [path.name.removesuffix(".trajectory.npz") for path in sorted(Path(folder).glob("[!.]*.trajectory.npz"))]
    recorded = [name for name in recorded if (Path(folder) / f"{name}.npz").exists()]
    return sorted(recorded, key=lambda name: (first.index(name) if name in first else len(first), name == "scratch"))


def files_of(folder, names):
    """The files of some runs, and of their base. CheckpointError says which is missing."""
    folder = Path(folder)
    there = runs_in(folder)
    for name in names:
        if name not in there:
            if not folder.is_dir():
                raise CheckpointError(f"there is no folder {folder}")
            listed = f"it has {', '.join(there)}" if there else "it has none; make some with minillm finetune"
            raise CheckpointError(f"{folder} has no fine-tuning {name!r} with its recorded way ({name}.npz and "
                                  f"{name}.trajectory.npz); {listed}")
    base = folder / f"{ORIGIN}.npz"
    if not base.exists():
        base = folder / base_of(read_meta(folder / f"{names[0]}.npz"), folder / f"{names[0]}.npz")["path"]
    if not base.exists():
        raise CheckpointError(f"the base of {names[0]} is not at {base}")
    return base, [path for name in names for path in (folder / f"{name}.npz", trajectory_path(folder / f"{name}.npz"))]


def read_family(folder, names):
    """The base in a folder and its fine-tunings of these names, in one space.

    CheckpointError for what is missing, broken or of another base; ValueError if they have no space in common.
    """
    base_path, _ = files_of(folder, names)
    base = load(base_path)
    base_fingerprint = fingerprint(base.model)
    read = {}
    for name in names:
        path = Path(folder) / f"{name}.npz"
        loaded = load(path, base_path)
        if loaded.meta.get("base", {}).get("fingerprint") != base_fingerprint:
            raise CheckpointError(f"{path} was trained on another base than {base_path}")
        read[name] = loaded, *read_trajectory(trajectory_path(path))
    joint, origin = common_model(base.model, read)
    space = Space(joint)
    body = set(base.model.parameters())
    runs = {}
    for name, (loaded, steps, snapshots, meta) in read.items():
        info = {part: loaded.meta[part] for part in ("recipe", "task", "seed") if part in loaded.meta}
        info["history"] = meta.get("history") or {"loss": []}
        like = {own: (p.shape, p.data.dtype) for own, p in loaded.model.parameters().items()}
        if any(like.get(own) != (array.shape, array.dtype) for own, array in snapshots[0].items()):
            raise CheckpointError(f"{trajectory_path(Path(folder) / f'{name}.npz')} is the way of another model than "
                                  f"{Path(folder) / f'{name}.npz'}")
        points = [embed(loaded.model, arrays, space) for arrays in [loaded.model.state(), *snapshots]]
        runs[name] = Run(points[0], steps, points[1:], info, loaded.path)
    return Family(Path(folder), base, runs, space, origin, body)


def common_model(base, read):
    """A model that each of the fine-tunings is a setting of, at the weights from which they all began; and the name of those.

    read: {name: (Loaded, steps, snapshots, meta)}
    """
    lost = [name for name, (loaded, *_) in read.items() if not starts_as_base(loaded.model)]
    if lost:
        recipes = [loaded.meta["recipe"] for loaded, *_ in read.values()]
        if any(recipe != recipes[0] for recipe in recipes):
            raise ValueError(f"{lost[0]} begins with vectors before every text, and no values of these leave the base as it was; "
                             "so it has a surface of its own, and none in common with other methods")
        loaded, _, snapshots, _ = read[lost[0]]
        model = copy.deepcopy(loaded.model)
        model.load_state(base.state() | {k: v for k, v in model.state().items() if k not in base.state()} | snapshots[0])
        return model, "the start"
    model = copy.deepcopy(base)
    for innermost in (True, False):                     # a prefix goes into attention itself, an adapter behind both
        for name, (loaded, _, snapshots, _) in read.items():
            if innermost == any(slot.module.label == "prefix" for slot in inserted(loaded.model)):
                graft(model, loaded.model, snapshots[0], name)
    return model, ORIGIN


def starts_as_base(model):
    """Is there a setting of what was inserted that changes nothing?"""
    return not any(slot.module.label == "prompt" or slot.module.label == "prefix" and slot.module.prefix.gate is None
                   for slot in inserted(model))


def is_mergeable(model):
    return bool(inserted(model)) and all(hasattr(slot.module, "merged") for slot in inserted(model))


def graft(model, specialist, first, name):
    """Insert into a model, at the values `first` {parameter: array}, what a specialist has inserted and cannot be merged."""
    if is_mergeable(specialist):
        return
    there = model.parameters().keys()
    for slot in reversed(inserted(specialist)):
        place = next(place for place in slots(model) if place.path == slot.path)
        twin = next((other.module for other in inserted(model)
                     if other.path == slot.path and other.module.label == slot.module.label), None)
        if twin is None:
            module = copy.deepcopy(slot.module)
            module.inner = place.module
            place.put(module)
        elif make(twin) != make(slot.module):
            raise ValueError(f"{name} has another {twin.label} at {slot.path} than a run before it, in form or size: two "
                             "different things in one place have no space in common; leave one of them out")
    own = specialist.parameters()
    for key, p in model.parameters().items():
        if key not in there:
            p.data[...] = first.get(key, own[key].data)


def make(module):
    """What an inserted module is, whatever its weights: its form, and the sizes and settings of what it has of its own."""
    body = module.inner.parameters()
    sizes = {name: p.shape for name, p in module.parameters().items() if name not in body}
    return type(module), sizes, [vars(part).get("scale") for _, part in module.added()]


def embed(model, arrays, space):
    """{parameter: array}, of a specialist with these weights, in a space: merged where that can be, and a head set that follows
    the table of words where the specialist has none of its own."""
    if is_mergeable(model):
        for name, array in arrays.items():
            model.parameters()[name].data[...] = array
        merged = merge(model)
        at = {name: array.copy() for name, array in model.state().items()}
        merged.undo()
        start = space.arrays(space.start)
        arrays = {name: array for name, array in at.items() if (array != start[name]).any()}
    arrays = dict(arrays)
    for slot in inserted(space.model):
        if isinstance(slot.module, Untied) and f"{slot.path}.head.weight" not in arrays and f"{slot.path}.weight" in arrays:
            arrays[f"{slot.path}.head.weight"] = arrays[f"{slot.path}.weight"]
    return arrays
