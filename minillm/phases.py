"""The phases of training, each a function that the commands, the demo and the lessons share: pretrain, finetune."""

import time
from pathlib import Path

import numpy as np

from .files import alone, checked, not_others, read_meta, writable
from .finetune.methods import to_json
from .finetune.report import announcement, size
from .finetune.specialist import prepare, specialise
from .finetune.store import Loaded, save_specialist
from .nn import GPT, Config
from .processes import default_workers
from .schema import anything, record, table, whole
from .surface.recorder import Recorder, trajectory_of
from .train.checkpoint import fingerprint, save_model
from .train.costs import check_memory
from .train.fit import fit
from .train.muon import Muon
from .train.optimizers import SGD, AdamW
from .train.schedule import warmup_linear
from .train.tasks import identity, task_from_json
from .train.trainer import Trainer

OPTIMIZERS = {"muon": Muon, "adamw": AdamW, "sgd": SGD}
SNAPSHOTS = 20      # recorded on the way of each fine-tuning
RESUMED = record({"inputs": record({"workers": whole(1, 256)}), "options?": table(anything)})


def pretrain(task, config, out, *, optimizer, steps, batch, seed=0, workers=None, accumulate=1, save_every=100, facts=None,
             about=None):
    """Train a GPT from nothing on a task; `out` is the .npz to write. Returns a Loaded with "history" and "seconds" in its meta.

    config      sizes (a Config without its vocabulary: a dict), completed from the task
    optimizer   one of train/
    facts       JSON for the file of the run in progress; about: for that and for the model's
    Raises Interrupted or Diverged after saving; a second call with the same arguments then goes on from there.
    """
    start, out, about = time.perf_counter(), Path(out), about or {}
    config, workers = Config(vocab_size=len(task.tokenizer), **config), workers_of(out, workers)
    check_memory(config, batch, accumulate, workers)
    batches = task.batches(batch, config.context, seed)
    model = GPT(config, np.random.default_rng([seed, 0]))
    inputs = {"phase": "pretraining", "task": identity(task.to_json()), "config": vars(config)} | settings(
        optimizer, steps, batch, seed, workers, accumulate)
    trainer = Trainer(model, optimizer, warmup_linear(steps), total=batches.total, workers=workers, accumulate=accumulate)
    not_others(out, kinds=("model", "adapter"))
    writable(out.parent)
    with alone(out):
        history = fit(trainer, batches, steps, validate=lambda: task.validate(model), validate_every=max(1, steps // 10),
                      checkpoint=unfinished(out), save_every=save_every, facts=about | (facts or {}), inputs=inputs,
                      title="pretraining")
        meta = {"task": task.to_json(out.parent), "seed": seed, "seconds": time.perf_counter() - start, "history": history}
        meta |= size(model) | about
        save_model(out, model, task.tokenizer, **meta)
        unfinished(out).unlink(missing_ok=True)
    return Loaded(model, task.tokenizer, meta, out)


def finetune(base, base_path, task, recipe, out, *, optimizer, steps, batch, seed=0, workers=None, accumulate=1, save_every=100,
             facts=None, about=None, remedy=None, scratch=False, announce=None):
    """Apply a recipe to a copy of a base model and train it on a task; `out` is the .npz to write.

    Saves the specialist, and beside it the way of its weights and the history of the run (out with the ending .trajectory.npz).
    Returns a Loaded.
    facts       JSON for the file of the run in progress; about: for that, the specialist's and the trajectory's
    remedy      against forgetting (finetune/remedies.py)
    scratch     draw the weights anew first (finetune/specialist.py)
    announce    called with the lines that say what will train
    """
    start, out, about = time.perf_counter(), Path(out), about or {}
    workers = workers_of(out, workers)
    recorder = Recorder(every=max(1, steps // SNAPSHOTS), last=steps)
    config, adds = base.model.config, recipe.adds(base.model.config)
    copies = 2 * (steps // recorder.every + 2) + 3          # what is recorded, again while it is saved; the start, a remedy's

    def check(trains):
        check_memory(config, batch, accumulate, workers, adds, trains, kept=config.parameters + copies * trains)

    check(config.parameters if recipe.stands_alone else adds)                   # before anything is built
    model = prepare(base.model, recipe, seed, scratch)
    check(size(model)["trainable_parameters"])
    old_task = None
    if remedy and remedy.reads_old:
        old_task = task_from_json(base.meta["task"], base.tokenizer, workers, Path(base_path).parent)
    base_print = fingerprint(base.model)
    inputs = {"phase": "fine-tuning", "base": base_print, "recipe": to_json(recipe), "remedy": remedy and to_json(remedy),
              "scratch": scratch, "task": identity(task.to_json()), "old task": old_task and identity(old_task.to_json())}
    inputs |= settings(optimizer, steps, batch, seed, workers, accumulate)
    run = specialise(model, recipe, task, old_task, optimizer, steps, batch, seed, remedy, workers, accumulate, recorder)
    not_others(out, kinds=("model", "adapter"))
    not_others(trajectory_of(out), kinds=("trajectory",))
    if announce:
        announce([*announcement(run.trainer, run.trainer.workers.at_a_time(run.batches.at(0)[1])),
                  f"{type(optimizer).__name__} at a learning rate of {optimizer.lr:g}, {steps} steps of {batch}"])
    writable(out.parent)
    with alone(out):
        recorder(run.trainer)
        history = fit(run.trainer, run.batches, steps, validate=lambda: task.validate(model), validate_every=max(1, steps // 5),
                      checkpoint=unfinished(out), save_every=save_every, recorder=recorder, facts=about | (facts or {}),
                      inputs=inputs, title="from scratch" if scratch else f"fine-tuning, {recipe.method}")
        run.finish()
        meta = {"task": task.to_json(out.parent), "seed": seed, "seconds": time.perf_counter() - start} | size(model) | about
        recorder.save(trajectory_of(out), recipe=to_json(recipe), history=history, **about)
        save_specialist(out, model, task.tokenizer, recipe, base_path, base_print, **meta)
        unfinished(out).unlink(missing_ok=True)
    return Loaded(model, task.tokenizer, meta | {"recipe": to_json(recipe), "history": history}, out)


def settings(optimizer, steps, batch, seed, workers, accumulate):
    """What of a run's inputs both phases have: with other values the same run would end in other weights."""
    return {"optimizer": optimizer.settings(), "steps": steps, "batch": batch, "seed": seed, "workers": workers,
            "accumulate": accumulate}


def workers_of(out, workers=None):
    """As many as asked for; else as many as an interrupted run had (another number sums in another order); else one a core."""
    if workers is None and unfinished(out).exists():
        return checked(read_meta(unfinished(out), "training"), RESUMED, unfinished(out), "run in progress")["inputs"]["workers"]
    return workers or default_workers()




def unfinished(out):
    """The file that a run in progress can go on from."""
    return Path(out).with_suffix(".training.npz")
