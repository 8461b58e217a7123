"""Pretraining: from random weights to a generalist on disk."""

import time
from pathlib import Path

import numpy as np

from ..finetune.summary import parameter_counts
from ..ground.files import writable
from ..ground.locks import alone
from ..ground.ownership import not_others
from ..nn import GPT, Config
from ..tasks import identity
from ..train.checkpoint import save_model
from ..train.costs import check_memory
from ..train.fit import fit
from ..train.schedule import warmup_linear
from ..train.trainer import Trainer
from .resuming import n_workers, settings, unfinished
from .saved import Loaded


def pretrain(task, config, out, *, optimizer, steps, batch, seed=0, workers=None, accumulate=1, save_every=100, metadata=None,
             about=None):
    """Train a new GPT on a task; `out` is the .npz to write. Returns a Loaded with "history" and "seconds" in its meta.

    config      the arguments of Config without the size of the vocabulary, which the task knows: a dict
    optimizer   one of train/optimizers/
    metadata    JSON for the checkpoint of the run in progress
    about       JSON for that, and for the file of the model
    Raises Interrupted or Diverged after saving; a second call with the same arguments goes on from there.
    """
    start, out, about = time.perf_counter(), Path(out), about or {}
    config, workers = Config(vocab_size=len(task.tokenizer), **config), n_workers(out, workers)
    check_memory(config, batch, accumulate, workers)
    batches = task.batches(batch, config.context, seed)
    model = GPT(config, np.random.default_rng([seed, 0]))
    inputs = {"phase": "pretraining", "task": identity(task.to_json()), "config": config.to_json()} | settings(
        optimizer, steps, batch, seed, workers, accumulate)
    trainer = Trainer(model, optimizer, warmup_linear(steps), total=batches.total, workers=workers, accumulate=accumulate)
    not_others(out, kinds=("model", "adapter"))
    writable(out.parent)
    with alone(out):
        history = fit(trainer, batches, steps, validate=lambda: task.validate(model), validate_every=max(1, steps // 10),
                      checkpoint=unfinished(out), save_every=save_every, metadata=about | (metadata or {}), inputs=inputs,
                      title="pretraining")
        meta = {"task": task.to_json(out.parent), "seed": seed, "seconds": time.perf_counter() - start, "history": history}
        meta |= parameter_counts(model) | about
        save_model(out, model, task.tokenizer, **meta)
        unfinished(out).unlink(missing_ok=True)
    return Loaded(model, task.tokenizer, meta, out)
