"""Fine-tuning: from a base to a specialist on disk."""

import time
from pathlib import Path

from ..finetune.adapter_file import save_specialist
from ..finetune.methods import to_json
from ..finetune.specialist import prepare, specialise
from ..finetune.summary import announcement, parameter_counts
from ..ground.files import writable
from ..ground.locks import alone
from ..ground.ownership import not_others
from ..tasks import identity
from ..train.blueprint import n_parameters
from ..train.checkpoint import fingerprint
from ..train.costs import check_memory
from ..train.fit import fit
from ..train.recorder import Recorder, trajectory_path
from .resuming import n_workers, settings, unfinished
from .saved import Loaded

SNAPSHOTS = 20      # how many copies of the weights are recorded in each fine-tuning


def finetune(base, base_path, task, recipe, out, *, optimizer, steps, batch, seed=0, workers=None, accumulate=1, save_every=100,
             metadata=None, about=None, remedy=None, scratch=False, announce=None):
    """Apply a recipe to a copy of a base model and train it on a task; `out` is the .npz to write.

    Saves the specialist, and beside it the trajectory of its weights with the history of the run (in `out` with the ending
    .trajectory.npz). Returns a Loaded.
    metadata    JSON for the checkpoint of the run in progress
    about       JSON for that, and for the files of the specialist and the trajectory
    remedy      against forgetting (finetune/remedies.py)
    scratch     train a model with new random weights instead of a copy of the base (finetune/specialist.py)
    announce    called with lines of text that say what will train
    """
    start, out, about = time.perf_counter(), Path(out), about or {}
    workers = n_workers(out, workers)
    recorder = Recorder(every=max(1, steps // SNAPSHOTS), last=steps)
    config, adds = base.model.config, recipe.adds(base.model.config)
    copies = 2 * (steps // recorder.every + 2) + 3          # recorded, twice while they are saved; the start, and a remedy's

    def check(trains):
        check_memory(config, batch, accumulate, workers, adds, trains, others=n_parameters(config) + copies * trains)

    check(n_parameters(config) if recipe.stands_alone else adds)                   # before anything is built
    model = prepare(base.model, recipe, seed, scratch)
    check(parameter_counts(model)["trainable_parameters"])
    old_task = base.task(workers) if remedy and remedy.reads_old else None
    base_fingerprint = fingerprint(base.model)
    inputs = {"phase": "fine-tuning", "base": base_fingerprint, "recipe": to_json(recipe), "remedy": remedy and to_json(remedy),
              "scratch": scratch, "task": identity(task.to_json()), "old task": old_task and identity(old_task.to_json())}
    inputs |= settings(optimizer, steps, batch, seed, workers, accumulate)
    # Here a penalty notes where the weights start: before `fit`, which may load those of an interrupted run.
    run = specialise(model, recipe, task, old_task, optimizer, steps, batch, seed, remedy, workers, accumulate, recorder)
    not_others(out, kinds=("model", "adapter"))
    not_others(trajectory_path(out), kinds=("trajectory",))
    if announce:
        announce([*announcement(run.trainer, run.trainer.workers.at_a_time(run.batches.at(0)[1])),
                  f"{type(optimizer).__name__} at a learning rate of {optimizer.lr:g}, {steps} steps of {batch}"])
    writable(out.parent)
    with alone(out):
        recorder(run.trainer)
        history = fit(run.trainer, run.batches, steps, validate=lambda: task.validate(model), validate_every=max(1, steps // 5),
                      checkpoint=unfinished(out), save_every=save_every, recorder=recorder, metadata=about | (metadata or {}),
                      inputs=inputs, title="from scratch" if scratch else f"fine-tuning, {recipe.method}")
        run.finish()
        meta = {"task": task.to_json(out.parent), "seed": seed, "seconds": time.perf_counter() - start}
        meta |= parameter_counts(model) | about
        recorder.save(trajectory_path(out), recipe=to_json(recipe), history=history, **about)
        save_specialist(out, model, task.tokenizer, recipe, base_path, base_fingerprint, **meta)
        unfinished(out).unlink(missing_ok=True)
    return Loaded(model, task.tokenizer, meta | {"recipe": to_json(recipe), "history": history}, out)
