"""Draw every kind of picture from one finished demo: those that the README shows."""

from pathlib import Path

from . import draw
from .demo import Plan
from .finetune.methods import LoRA, recipe_of
from .ground.arrays import read_meta
from .ground.files import CheckpointError, read_json, writable
from .ground.processes import parallel_map
from .runs.demo_folder import NOTE
from .runs.finetuning import finetune
from .runs.saved import load
from .surface.family import ORIGIN, read_family
from .surface.movement import movements, spectra
from .surface.views import line, surface
from .tasks.special import SpecialTask
from .train.checkpoint import fingerprints
from .train.optimizers import AdamW
from .train.recorder import trajectory_path

RATES = (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2, 2.56)      # learning rates of the adapter, the last far too large
MADE_BY = {"made_by": "gallery"}


def gallery(folder, plots, grid=31, seed=None, workers=None, dark=False):
    """Draw all kinds of pictures into `plots`, from the models of a finished demo in `folder`. Returns their paths.

    The other models they need (LoRA, and one adapter at several learning rates) are trained and saved in the folder, as are all
    measurements, so the second call only draws. Sizes, and the seed unless it is given, are those of the demo. CheckpointError if
    a file of the demo is missing.
    """
    folder, plots = Path(folder), Path(plots)
    writable(plots)
    note = folder / "demo.json"
    settings = read_json(note, NOTE, "note of a demo") if note.exists() else {"seed": 1, "plan": {}}
    try:
        plan, seed = Plan(**settings["plan"]), settings["seed"] if seed is None else seed
    except TypeError:
        raise CheckpointError(f"{note} was written by a demo of another version; run the demo again") from None
    train_missing(folder, {"lora": (LoRA(), LoRA.lr)}, plan, seed, workers)
    fan = folder / "fan"
    rates = {f"lr-{rate:g}": rate for rate in RATES}
    train_missing(fan, {name: (recipe_of("adapter"), rate) for name, rate in rates.items()}, plan, seed, workers, folder)

    through_models = surface(folder, "three", ["full", "adapter", "frozen"], grid, workers, seed)
    views = {view: surface(folder, view, names, grid, workers, seed)
             for view, names in (("pca", ["full"]), ("random", ["full"]), ("hessian", ["full"]), ("curve", ["full", "scratch"]))}
    several_rates = surface(fan, "pca", list(rates), grid, workers, seed)
    straight = line(folder, [ORIGIN, "full"], workers=workers, seed=seed)
    curved = line(folder, ["full", "scratch"], True, workers=workers, seed=seed)
    moved = movements(read_family(folder, ["full", "frozen", "adapter"]), ["full", "frozen", "adapter"])
    singular_values = spectra(read_family(folder, ["full", "lora"]), ["full", "lora"], seed)

    jobs = {
        "weights_moving.gif": lambda path: draw.animate(through_models, path, dark=dark),
        "weights_moving.html": lambda path: draw.player(through_models, path, dark=dark),
        "surface.png": lambda path: draw.surface(through_models, path, dark=dark),
        "relief.png": lambda path: draw.relief(through_models, path, dark=dark),
        **{f"{view}.png": lambda path, measured=measured: draw.surface(measured, path, dark=dark)
           for view, measured in views.items()},
        "fan.png": lambda path: draw.fan(several_rates, rates, path, dark=dark),
        "line.png": lambda path: draw.profile(straight, path, dark=dark),
        "curve_profile.png": lambda path: draw.profile(curved, path, dark=dark),
        "movement.png": lambda path: draw.movement(moved, path, dark=dark),
        "spectrum.png": lambda path: draw.spectrum(singular_values, path, dark=dark)}
    list(parallel_map(lambda name: jobs[name](plots / name) and None, jobs, workers))
    return [plots / name for name in jobs]


def train_missing(folder, recipes, plan, seed, workers, base_folder=None):
    """Fine-tune the models that are missing in a folder, as the plan of a demo says.   recipes: {name: (recipe, learning rate)}

    A model that an earlier gallery made from another generalist is trained again. CheckpointError for such a file that no gallery
    made.
    """
    base_path = (base_folder or folder) / f"{ORIGIN}.npz"
    base = load(base_path)
    task = base.task(workers)
    if not task.world:
        raise CheckpointError(f"{base_path} was pretrained on a text, but a gallery shows a demo; make one with minillm demo")
    of_base = fingerprints(base.model)
    for name, (recipe, lr) in recipes.items():
        out = folder / f"{name}.npz"
        if out.exists():
            meta = read_meta(out)
            same_base = meta.get("base", {}).get("fingerprint") in of_base
            if same_base and trajectory_path(out).exists():
                continue
            if meta.get("made_by") != "gallery":
                raise CheckpointError(f"{out} was not made from {base_path}, or its trajectory is missing; move it away, and the "
                                      "gallery makes its own")
        finetune(base, base_path, SpecialTask("novel", task.world.seed, plan.documents, workers=workers), recipe, out,
                 optimizer=AdamW(lr), steps=plan.finetuning_steps, batch=plan.finetuning_batch, seed=seed, workers=workers,
                 about=MADE_BY)
