"""Every kind of picture, from one finished demo: what the README shows."""

from pathlib import Path

import numpy as np

from . import draw
from .demo import Plan
from .finetune.methods import LoRA, recipe_of
from .finetune.store import load
from .phases import finetune
from .processes import parallel_map
from .surface.movement import movement, spectrum, spectrum_of_chance
from .surface.recorder import trajectory_of
from .surface.runs import ORIGIN, read_family
from .surface.views import line, surface
from .train.optimizers import AdamW
from .train.tasks import SpecialTask

RATES = (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2, 2.56)      # of the adapter, the last far too large
PLAN = Plan()
MATRICES = ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")


def gallery(folder, plots, grid=31, seed=1, workers=None, dark=False, plan=PLAN):
    """Draw all pictures that there are into `plots`, from the models of a finished demo in `folder`; returns their paths.

    What more they need is trained (LoRA, and one adapter at several learning rates) or measured, and kept in the folder, so that
    a second time only draws. `plan` is that of the demo. CheckpointError if something of the demo is missing.
    """
    folder, plots = Path(folder), Path(plots)
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
        **{f"{view}.png": lambda path, found=found: draw.surface(found, path, dark=dark) for view, found in views.items()},
        "fan.png": lambda path: draw.fan(paths, rates, path, dark=dark),
        "line.png": lambda path: draw.profile(straight, path, dark=dark),
        "curve_profile.png": lambda path: draw.profile(around, path, dark=dark),
        "movement.png": lambda path: draw.movement(moves, path, dark=dark),
        "spectrum.png": lambda path: draw.spectrum(spectra, path, dark=dark)}
    list(parallel_map(lambda name: jobs[name](plots / name) and None, jobs, workers))
    return [plots / name for name in jobs]


def train_missing(folder, recipes, plan, seed, workers, base_folder=None):
    """Fine-tune, as the plan of a demo says, what a folder does not have yet.   recipes: {name: (recipe, learning rate)}"""
    base_path = (base_folder or folder) / f"{ORIGIN}.npz"
    for name, (recipe, lr) in recipes.items():
        out = folder / f"{name}.npz"
        if out.exists() and trajectory_of(out).exists():
            continue
        base = load(base_path)
        task = SpecialTask("novel", base.meta["task"]["seed"], plan.documents, workers=workers)
        finetune(base, base_path, task, recipe, out, optimizer=AdamW(lr), steps=plan.finetuning_steps,
                 batch=plan.finetuning_batch, seed=seed, workers=workers)


def moved(folder, names):
    """{run: {part of the model: (how far it moved, how large it was)}}"""
    family = read_family(folder, names)
    return {name: movement(family.space, family.start, family.end(name), family.body) for name in names}


def directions(folder, names, seed):
    """{matrix: {run: singular values of how it moved}}, of the four matrices of a block in the middle; and of noise as long."""
    family, rng = read_family(folder, names), np.random.default_rng(seed)
    block, found = len(family.base.model.blocks) // 2, {}
    for matrix in MATRICES:
        name = f"blocks.{block}.{matrix}.weight"
        values = {run: spectrum(family.space, family.start, family.end(run), name) for run in names}
        length = np.linalg.norm(values[names[0]])
        found[f"block {block}, {matrix}"] = values | {"chance": spectrum_of_chance(family.space.arrays(family.start)[name].shape,
                                                                                   length, rng)}
    return found
