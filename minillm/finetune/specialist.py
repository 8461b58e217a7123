"""From a base, a recipe and a task to a model with a Trainer: shared by `finetune` and `compare`."""

from dataclasses import dataclass

import numpy as np

from ..nn import GPT
from ..train.schedule import warmup_linear
from ..train.trainer import Trainer
from .remedies import Remedy
from .wrapper import must_be_bare


def prepare(base, recipe, seed=0, scratch=False):
    """A copy of a base model with a recipe applied. ValueError if something has been inserted into the base.

    scratch     draw its weights anew: the baseline with the same documents and steps, but no pretraining
    """
    must_be_bare(base)
    rng = np.random.default_rng([seed, 1])
    model = GPT(base.config, rng, base.wte.weight.data.dtype)
    if not scratch:
        model.load_state_dict(base.state_dict())
    return recipe.apply(model, rng)


@dataclass
class Specialist:
    """A model in training.

    batches     what it trains on: at(step) -> tokens, targets
    start       {name: array}, the initial values of the weights that train
    """

    model: GPT
    trainer: Trainer
    batches: object
    start: dict
    remedy: Remedy

    def finish(self):
        """Let the remedy change the trained weights, including those that a schedule froze in the last step."""
        for name in self.start:
            self.model.parameters()[name].trainable = True
        self.remedy.finish(self.model, self.start)


def specialise(model, recipe, task, old_task, optimizer, steps, batch, seed=0, remedy=None, workers=None, accumulate=1,
               on_step=None):
    """A prepared model with everything that its training needs: a `Specialist`.

    old_task    the base's pretraining task, from which a remedy takes old documents; may be None unless remedy.reads_old
    """
    remedy, context = remedy or Remedy(), model.config.context
    batches = remedy.batches(task.batches(batch, context, seed), lambda size: old_task.batches(size, context, seed))
    penalty = remedy.penalty(model, lambda n: [ids[:context + 1] for ids in old_task.old_sequences(n)])
    trainer = Trainer(model, optimizer, warmup_linear(steps), total=batches.total, workers=workers, accumulate=accumulate,
                      lr_multipliers=recipe.lr_multipliers(model, steps), penalty=penalty, on_step=on_step)
    start = {name: p.data.copy() for name, p in model.trainable_parameters().items()}
    return Specialist(model, trainer, batches, start, remedy)
