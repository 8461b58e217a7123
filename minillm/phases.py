"""The phases of training, each a function that the commands, the demo and the lessons share: pretrain, finetune."""

import time
from pathlib import Path

import numpy as np

from .finetune.methods import to_json
from .finetune.report import announcement, size
from .finetune.specialist import prepare, specialise
from .finetune.store import Loaded, save_specialist
from .nn import GPT, Config
from .surface.recorder import Recorder, trajectory_of
from .train.checkpoint import fingerprint, save_model, written_whole
from .train.costs import check_memory
from .train.fit import fit
from .train.muon import Muon
from .train.optimizers import SGD, AdamW
from .train.schedule import warmup_linear
from .train.tasks import task_of
from .train.trainer import Trainer

OPTIMIZERS = {"muon": Muon, "adamw": AdamW, "sgd": SGD}
SNAPSHOTS = 20      # recorded on the way of each fine-tuning


def pretrain(task, config, out, *, optimizer, steps, batch, seed=0, workers=None, accumulate=1, save_every=100, facts=None):
    """Train a GPT from nothing on a task; `out` is the .npz to write. Returns a Loaded with "history" and "seconds" in its meta.

    config      sizes (a Config without its vocabulary: a dict), completed from the task
    optimizer   one of train/
    Raises Interrupted or Diverged after saving; a second call with the same arguments then goes on from there.
    """
    start = time.perf_counter()
    config = Config(vocab_size=len(task.tokenizer), **config)
    check_memory(config, batch, accumulate, workers)
    batches = task.batches(batch, config.context, seed)
    model = GPT(config, np.random.default_rng([seed, 0]))
    writable(Path(out).parent)
    trainer = Trainer(model, optimizer, warmup_linear(steps), total=batches.total, workers=workers, accumulate=accumulate)
    history = fit(trainer, batches, steps, validate=lambda: task.validate(model), validate_every=max(1, steps // 10),
                  checkpoint=unfinished(out), save_every=save_every, facts=facts, title="pretraining")
    meta = {"task": task.facts(), "seed": seed, "seconds": time.perf_counter() - start, "history": history} | size(model)
    save_model(out, model, task.tokenizer, **meta)
    unfinished(out).unlink(missing_ok=True)
    return Loaded(model, task.tokenizer, meta)


def finetune(base, base_path, task, recipe, out, *, optimizer, steps, batch, seed=0, workers=None, accumulate=1, save_every=100,
             facts=None, remedy=None, scratch=False, announce=None):
    """Apply a recipe to a copy of a base model and train it on a task; `out` is the .npz to write.

    Saves the specialist, and beside it the way of its weights and the history of the run (out with the ending .trajectory.npz).
    Returns a Loaded.
    remedy      against forgetting (finetune/remedies.py)
    scratch     draw the weights anew first (finetune/specialist.py)
    announce    called with the lines that say what will train
    """
    start = time.perf_counter()
    recorder = Recorder(every=max(1, steps // SNAPSHOTS), last=steps)
    config, adds = base.model.config, recipe.adds(base.model.config)
    copies = 2 * (steps // recorder.every + 2) + 3          # what is recorded, again while it is saved; the start, a remedy's

    def check(trains):
        check_memory(config, batch, accumulate, workers, adds, trains, kept=config.parameters + copies * trains)

    check(config.parameters if recipe.stands_alone else adds)                   # before anything is built
    model = prepare(base.model, recipe, seed, scratch)
    check(size(model)["trainable_parameters"])
    old_task = task_of(base.meta["task"], base.tokenizer, workers) if remedy and remedy.reads_old else None
    run = specialise(model, recipe, task, old_task, optimizer, steps, batch, seed, remedy, workers, accumulate, recorder)
    if announce:
        announce([*announcement(run.trainer, run.trainer.workers.at_a_time(run.batches.at(0)[1])),
                  f"{type(optimizer).__name__} at a learning rate of {optimizer.lr:g}, {steps} steps of {batch}"])
    writable(Path(out).parent)
    title = "from scratch" if scratch else f"fine-tuning, {recipe.method}"
    recorder(run.trainer)
    history = fit(run.trainer, run.batches, steps, validate=lambda: task.validate(model), validate_every=max(1, steps // 5),
                  checkpoint=unfinished(out), save_every=save_every, recorder=recorder, facts=facts, title=title)
    run.finish()
    meta = {"task": task.facts(), "seed": seed, "seconds": time.perf_counter() - start} | size(model)
    recorder.save(trajectory_of(out), recipe=to_json(recipe), history=history)
    save_specialist(out, model, task.tokenizer, recipe, base_path, fingerprint(base.model), **meta)
    unfinished(out).unlink(missing_ok=True)
    return Loaded(model, task.tokenizer, meta | {"recipe": to_json(recipe), "history": history})


def writable(folder):
    """Make a folder if it is not there. OSError now, rather than after the work, if nothing can be written to it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / "try") as temporary:
        temporary.touch()
    (folder / "try").unlink()


def unfinished(out):
    """The file that a run in progress can go on from."""
    return Path(out).with_suffix(".training.npz")
