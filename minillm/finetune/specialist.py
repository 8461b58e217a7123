"""From a base, a recipe and a task to a model that can be trained: what `finetune` and `compare` share."""

from dataclasses import dataclass

import numpy as np

from ..nn import GPT
from ..train.schedule import warmup_linear
from ..train.trainer import Trainer
from .insert import inserted
from .remedies import Remedy


def prepare(base, recipe, seed=0, scratch=False):
    """A copy of a base model with a recipe applied. ValueError if the base has inserted structure itself.

    With `scratch` its weights are drawn anew: the baseline that has the same documents and steps but no pretraining.
    """
    if inserted(base):
        raise ValueError("this model is a base with an adapter on; fine-tune the base itself, or merge the adapter into it first")
    rng = np.random.default_rng([seed, 1])
    model = GPT(base.config, rng)
    if not scratch:
        model.load_state(base.state())
    recipe.apply(model, rng)
    return model


@dataclass
class Specialist:
    """A model on its way.

    batches     what it trains on
    start       {name: array}, what the weights that train were at first
    """

    model: GPT
    trainer: Trainer
    batches: object
    start: dict
    remedy: Remedy

    def finish(self):
        """The remedy's last word, when all is trained; what a schedule froze in the last step counts as trained, too."""
        for name in self.start:
            self.model.parameters()[name].trainable = True
        self.remedy.finish(self.model, self.start)


def specialise(model, recipe, task, old_task, optimizer, steps, batch, seed=0, remedy=None, workers=None, accumulate=1,
               on_step=None):
    """A prepared model with all that its training needs.

    old_task    what the base was pretrained on, from which a remedy takes old documents; None will do if it `reads_old` none
    """
    remedy, context = remedy or Remedy(), model.config.context
    batches = remedy.batches(task.batches(batch, context, seed), lambda size: old_task.batches(size, context, seed))
    penalty = remedy.penalty(model, lambda n: [ids[:context + 1] for ids in old_task.old_sequences(n)])
    trainer = Trainer(model, optimizer, warmup_linear(steps), total=batches.total, workers=workers, accumulate=accumulate,
                      rates=recipe.lr_multipliers(model, steps), penalty=penalty, on_step=on_step)
    start = {name: p.data.copy() for name, p in model.trainable_parameters().items()}
    return Specialist(model, trainer, batches, start, remedy)
