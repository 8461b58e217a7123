"""Fine-tunings on disk, as points and trajectories of one space, so that different methods can be compared.

    full, frozen, scratch       theta, the weights of the body; what is frozen has not moved
    LoRA, DoRA, (IA)^3          theta as well, after merging. The factors themselves would not do: A -> cA, B -> B/c changes them
                                as much as we like, but not the model
    adapters, prefixes, heads   (theta, phi): the weights of the body and the inserted ones, which initially, at phi_0, do
                                nothing. A run without some inserted module is at its phi_0, which leaves its model unchanged
    prompts, prefixes without   always change the text that they precede, so there is no phi_0. Only runs of exactly the same
    a gate                      recipe have a space in common; its origin is where the first of them began

Parts of phi_0 are random numbers (W_1 of an adapter, the vectors of a prefix), so it depends on the seed. The origin has the
phi_0 of the first run that inserts such a module. A run of another seed begins elsewhere, at another form of the same model, and
`Family.notes` says how far away: that distance is nothing that was learned.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..finetune.adapter_file import base_of
from ..finetune.merge import merge
from ..finetune.methods.head import Untied
from ..finetune.wrapper import all_mergeable, inserted, slots
from ..ground.arrays import read_meta
from ..ground.files import CheckpointError
from ..runs.saved import Loaded, load
from ..train.checkpoint import fingerprints
from ..train.recorder import read_trajectory, trajectory_path
from .space import Space

ORIGIN = "pretrained"


@dataclass
class Run:
    """One fine-tuning in a space shared with others. Weights are {parameter: array} of those that differ from the space's start.

    end         weights of the saved model
    steps       the steps after which the weights were recorded
    snapshots   [weights] at these steps: its trajectory
    info        what its file says: recipe, task, seed; and history, the losses of its training
    path        of that file
    inserted    names of the space's parameters that its recipe inserted
    """

    end: dict
    steps: list
    snapshots: list
    info: dict = field(default_factory=dict)
    path: Path | None = None
    inserted: set = field(default_factory=set)


@dataclass
class Family:
    """A base and its specialists, in one space.

    folder      where they are
    base        the base as it was read
    runs        {name: Run} of the specialists
    space       its start is the base, where all inserted modules do nothing: the phi_0 of the first run that has them
    origin      the name of that start
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

    def names_in_space(self, names):
        """These names, with "pretrained" replaced by the name of the space's origin, which may not be the base."""
        return [self.origin if name == ORIGIN else name for name in names]

    def end(self, name):
        """The weights of the saved model of this name, a vector."""
        return self.start if name == self.origin else self.space.vector(self.runs[name].end)

    def trajectories(self, names):
        """{name: (steps, snapshots)} of these runs; the origin is left out, for it has no trajectory."""
        return {name: (self.runs[name].steps, self.runs[name].snapshots) for name in names if name != self.origin}

    def notes(self):
        """Sentences about runs that began with other values of what was inserted than the origin has, for a caption."""
        notes, origin = [], self.space.arrays(self.start)
        for name, run in self.runs.items():
            start = self.space.vector(run.snapshots[0])
            began = self.space.arrays(start)
            if any((began[key] != origin[key]).any() for key in run.inserted):
                first = next(other for other in self.runs if self.runs[other].inserted & run.inserted)
                away, moved = (np.linalg.norm(np.subtract(to, start, dtype=np.float64)) for to in (self.start, self.end(name)))
                notes.append(f"{name} began with other random numbers than {first if first != name else 'the base'}, "
                             f"{away:.2f} away from {self.origin}, and moved {moved:.2f} from there, so "
                             "distances and angles show not only what was learned")
        return notes


def runs_in(folder):
    """Names of the fine-tunings in a folder whose trajectories were recorded: full and adapter first, scratch last."""
    first = ["full", "adapter"]
    recorded = [path.name.removesuffix(".trajectory.npz") for path in sorted(Path(folder).glob("[!.]*.trajectory.npz"))]
    recorded = [name for name in recorded if (Path(folder) / f"{name}.npz").exists()]
    return sorted(recorded, key=lambda name: (first.index(name) if name in first else len(first), name == "scratch"))


def files_of(folder, names):
    """(file of the base, files of some runs and of their trajectories). CheckpointError says which is missing."""
    folder = Path(folder)
    recorded_names = runs_in(folder)
    for name in names:
        if name not in recorded_names:
            if not folder.is_dir():
                raise CheckpointError(f"there is no folder {folder}")
            listed = f"it has {', '.join(recorded_names)}" if recorded_names else "it has none; make some with minillm finetune"
            raise CheckpointError(f"{folder} has no fine-tuning {name!r} with its trajectory ({name}.npz and "
                                  f"{name}.trajectory.npz); {listed}")
    base = folder / f"{ORIGIN}.npz"
    if not base.exists():
        base = folder / base_of(read_meta(folder / f"{names[0]}.npz"), folder / f"{names[0]}.npz")["path"]
    if not base.exists():
        raise CheckpointError(f"the base of {names[0]} is not at {base}")
    return base, [path for name in names for path in (folder / f"{name}.npz", trajectory_path(folder / f"{name}.npz"))]


def read_family(folder, names):
    """The Family of the base in a folder and its fine-tunings of these names.

    CheckpointError for files that are missing, broken or made from another base; ValueError if they have no space in common.
    """
    base_path, _ = files_of(folder, names)
    base = load(base_path)
    of_base = fingerprints(base.model)
    loaded_runs = {}
    for name in names:
        path = Path(folder) / f"{name}.npz"
        loaded = load(path, base_path)
        if loaded.meta.get("base", {}).get("fingerprint") not in of_base:
            raise CheckpointError(f"{path} was trained on another base than {base_path}")
        loaded_runs[name] = loaded, *read_trajectory(trajectory_path(path))
    joint, origin = common_model(base.model, loaded_runs)
    space = Space(joint)
    body = set(base.model.parameters())
    runs = {}
    for name, (loaded, steps, snapshots, meta) in loaded_runs.items():
        info = {part: loaded.meta[part] for part in ("recipe", "task", "seed") if part in loaded.meta}
        info["history"] = meta.get("history") or {"loss": []}
        expected = {key: (p.shape, p.data.dtype) for key, p in loaded.model.parameters().items()}
        if any(expected.get(key) != (array.shape, array.dtype) for key, array in snapshots[0].items()):
            raise CheckpointError(f"{trajectory_path(Path(folder) / f'{name}.npz')} is not the trajectory of "
                                  f"{Path(folder) / f'{name}.npz'}")
        points = [weights_in_space(loaded.model, arrays, space) for arrays in [loaded.model.state_dict(), *snapshots]]
        own = set() if is_mergeable(loaded.model) else expected.keys() - body
        runs[name] = Run(points[0], steps, points[1:], info, loaded.path, own)
    return Family(Path(folder), base, runs, space, origin, body)


def common_model(base, loaded_runs):
    """A model whose parameters include those of all the fine-tunings; and the name of the origin, which is its weights.

    They are those of the base. What was inserted has the values with which the first run that inserts it began.

    loaded_runs     {name: (Loaded, steps, snapshots, meta)}
    """
    without_phi_0 = [name for name, (loaded, *_) in loaded_runs.items() if not can_be_base(loaded.model)]
    if without_phi_0:
        recipes = [loaded.meta["recipe"] for loaded, *_ in loaded_runs.values()]
        if any(recipe != recipes[0] for recipe in recipes):
            raise ValueError(f"{without_phi_0[0]} puts vectors before every text, and no values of these leave the base as it "
                             "was, so it needs a surface of its own; leave it out, or name only runs of exactly the same "
                             "recipe, options included")
        loaded, _, snapshots, _ = loaded_runs[without_phi_0[0]]
        model = copy.deepcopy(loaded.model)
        model.load_state_dict(model.state_dict() | base.state_dict() | snapshots[0])
        return model, "the start"
    model = copy.deepcopy(base)
    for name, (loaded, _, snapshots, _) in loaded_runs.items():
        graft(model, loaded.model, snapshots[0], name)
    return model, ORIGIN


def can_be_base(model):
    """Do the inserted modules of a model have values, phi_0, at which they change nothing?"""
    return all(slot.module.can_be_identity for slot in inserted(model))


def is_mergeable(model):
    """Was something inserted that can be merged completely into the weights of the base?"""
    return bool(inserted(model)) and all_mergeable(model)


def graft(model, specialist, first, name):
    """Insert the modules of a specialist that cannot be merged into a model as well, with the values `first`.

    first       {parameter: array}; a parameter that is missing in it has not moved, so it gets the specialist's value. What an
                earlier run has inserted keeps its values
    name        of the specialist, for the ValueError if the model has a different module of the same kind in one of the places
    """
    if is_mergeable(specialist):
        return
    old_names = model.parameters().keys()
    for slot in reversed(inserted(specialist)):
        target = next(other for other in slots(model) if other.path == slot.path)
        twin = next((other.module for other in inserted(model)
                     if other.path == slot.path and other.module.label == slot.module.label), None)
        if twin is None:
            module = copy.deepcopy(slot.module)
            module.inner = target.module
            target.put(module)
        elif signature(twin) != signature(slot.module):
            raise ValueError(f"{name} has another {twin.label} at {slot.path} than an earlier run, different in form or size, so "
                             "they have no space in common; leave one of them out")
    specialist_parameters = specialist.parameters()
    for key, p in model.parameters().items():
        if key not in old_names:
            p.data[...] = first.get(key, specialist_parameters[key].data)
    for slot in inserted(model):
        if isinstance(slot.module, Untied):                     # a run from scratch began with another table than the base has
            slot.module.head.weight.data[...] = slot.module.weight.data


def signature(module):
    """What two inserted modules must agree in to share a space: their class, and the shapes and scales of what they add."""
    body = module.inner.parameters()
    sizes = {name: p.shape for name, p in module.parameters().items() if name not in body}
    return type(module), sizes, [vars(part).get("scale") for _, part in module.added()]


def weights_in_space(model, arrays, space):
    """{parameter: array} of a specialist in a space, for `Space.vector`.

    If all that was inserted into `model` can be merged, the given `arrays` are written into the model, merged to read off the
    weights of the body, and the merge is undone: the model keeps the arrays. If the space has a separate output head and the
    specialist has none, the head gets the values of the table of words.

    model       the specialist, as it was loaded or trained
    arrays      {parameter: array}, the recorded weights
    """
    if is_mergeable(model):
        for name, array in arrays.items():
            model.parameters()[name].data[...] = array
        merged = merge(model)
        body = {name: array.copy() for name, array in model.state_dict().items()}
        merged.undo()
        start = space.arrays(space.start)
        arrays = {name: array for name, array in body.items() if (array != start[name]).any()}
    arrays = dict(arrays)
    for slot in inserted(space.model):
        if isinstance(slot.module, Untied) and f"{slot.path}.head.weight" not in arrays and f"{slot.path}.weight" in arrays:
            arrays[f"{slot.path}.head.weight"] = arrays[f"{slot.path}.weight"]
    return arrays
