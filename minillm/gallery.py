"""Every kind of picture, from one finished demo: what the README shows."""

from pathlib import Path

import numpy as np

from . import draw
from .demo import NOTE, Plan
from .finetune.methods import LoRA, recipe_of
from .ground.arrays import read_meta
from .ground.files import CheckpointError, read_json, writable
from .ground.processes import parallel_map
from .runs.finetuning import finetune
from .runs.saved import load
from .surface.family import ORIGIN, read_family
from .surface.movement import movement, spectrum, spectrum_of_chance
from .surface.views import line, surface
from .tasks.special import SpecialTask
from .train.checkpoint import fingerprint
from .train.optimizers import AdamW
from .train.recorder import trajectory_path

RATES = (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2, 2.56)      # of the adapter, the last far too large
OURS = {"made_by": "gallery"}
MATRICES = ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")


def gallery(folder, plots, grid=31, seed=None, workers=None, dark=False):
    """Draw all pictures that there are into `plots`, from the models of a finished demo in `folder`; returns their paths.

    What more they need is trained (LoRA, and one adapter at several learning rates) or measured, and kept in the folder, so that
    a second time only draws. Sizes, and the seed unless one is given, are those of the demo. CheckpointError if something of the
    demo is missing.
    """
    folder, plots = Path(folder), Path(plots)
    writable(plots)
    note = folder / "demo.json"
    kept = read_json(note, NOTE, "note of a demo") if note.exists() else {"seed": 1, "plan": {}}
    try:
        plan, seed = Plan(**kept["plan"]), kept["seed"] if seed is None else seed
    except TypeError:
        raise CheckpointError(f"{note} is of a demo that this version does not know; run the demo again") from None
    train_missing(folder, {"lora": (LoRA(), LoRA.lr)}, plan, seed, workers)
    fan = folder / "fan"
    rates = {f"lr-{rate:g}": rate for rate in RATES}
    train_missing(fan, {name: (recipe_of("adapter"), rate) for name, rate in rates.items()}, plan, seed, workers, folder)

    three = surface(folder, "three", ["full", "adapter", "frozen"], grid, workers, seed)
    views = {view: surface(folder, view, names, grid, workers, seed)
             for view, names in (("pca", ["full"]), ("random", ["full"]), ("hessian", ["full"]), ("curve", ["full", "scratch"]))}
    paths = surface(fan, "pca", list(rates), grid, workers, seed)
    straight = line(folder, [ORIGIN, "full"], workers=workers, seed=seed)
    around = line(folder, ["full", "scratch"], True, workers=workers, seed=seed)
    moves, spectra = moved(folder, ["full", "frozen", "adapter"]), directions(folder, ["full", "lora"], seed)

    jobs = {
        "weights_moving.gif": lambda path: draw.animate(three, path, dark=dark),
        "weights_moving.html": lambda path: draw.player(three, path, dark=dark),
        "surface.png": lambda path: draw.surface(three, path, dark=dark),
        "relief.png": lambda path: draw.relief(three, path, dark=dark),
        **{f"{view}.png": lambda path, plane=plane: draw.surface(plane, path, dark=dark) for view, plane in views.items()},
        "fan.png": lambda path: draw.fan(paths, rates, path, dark=dark),
        "line.png": lambda path: draw.profile(straight, path, dark=dark),
        "curve_profile.png": lambda path: draw.profile(around, path, dark=dark),
        "movement.png": lambda path: draw.movement(moves, path, dark=dark),
        "spectrum.png": lambda path: draw.spectrum(spectra, path, dark=dark)}
    list(parallel_map(lambda name: jobs[name](plots / name) and None, jobs, workers))
    return [plots / name for name in jobs]


def train_missing(folder, recipes, plan, seed, workers, base_folder=None):
    """Fine-tune, as the plan of a demo says, what a folder does not have yet.   recipes: {name: (recipe, learning rate)}

    What an earlier gallery has made from another generalist is made again. CheckpointError for such a file of somebody else.
    """
    base_path = (base_folder or folder) / f"{ORIGIN}.npz"
    base = load(base_path)
    task = base.task(workers)
    if not task.world:
        raise CheckpointError(f"{base_path} was pretrained on a text; a gallery shows a demo, which minillm demo makes")
    for name, (recipe, lr) in recipes.items():
        out = folder / f"{name}.npz"
        if out.exists():
            meta = read_meta(out)
            of_this = meta.get("base", {}).get("fingerprint") == fingerprint(base.model)
            if of_this and trajectory_path(out).exists():
                continue
            if meta.get("made_by") != "gallery":
                raise CheckpointError(f"{out} was not made from {base_path}, or the way of its weights is missing; move it away, "
                                      "and the gallery makes its own")
        finetune(base, base_path, SpecialTask("novel", task.world.seed, plan.documents, workers=workers), recipe, out,
                 optimizer=AdamW(lr), steps=plan.finetuning_steps, batch=plan.finetuning_batch, seed=seed, workers=workers,
                 about=OURS)


def moved(folder, names):
    """{run: {part of the model: (how far it moved, how large it was)}}"""
    family = read_family(folder, names)
    return {name: movement(family.space, family.start, family.end(name), family.body) for name in names}


def directions(folder, names, seed):
    """{matrix: {run: singular values of how it moved}}, of the four matrices of a block in the middle; and of noise as long."""
    family, rng = read_family(folder, names), np.random.default_rng(seed)
    block, spectra = len(family.base.model.blocks) // 2, {}
    for matrix in MATRICES:
        name = f"blocks.{block}.{matrix}.weight"
        values = {run: spectrum(family.space, family.start, family.end(run), name) for run in names}
        length, shape = np.linalg.norm(values[names[0]]), family.space.arrays(family.start)[name].shape
        spectra[f"block {block}, {matrix}"] = values | {"chance": spectrum_of_chance(shape, length, rng)}
    return spectra
