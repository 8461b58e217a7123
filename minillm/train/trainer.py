"""One training step: zero_grad, forward, loss, backward, clip, update. The loop around it is in fit.py.

Most of a step is done by `Workers`, processes that share the batch (workers.py). With one worker it is:

    model.zero_grad()
    logits, cache = model.forward(tokens)
    loss, loss_cache = CrossEntropy().forward(logits, targets)
    model.backward(CrossEntropy().backward(1.0, loss_cache), cache)
    shrink = min(1, clip / norm of the gradient)
    the optimizer updates the weights along shrink times the gradient
"""

import math
from operator import getitem, is_

import numpy as np

from ..nn import IGNORE, CrossEntropy, Module, Parameter
from .flat import FlatParameters
from .schedule import constant
from .workers import Workers, split_rows


class Diverged(ArithmeticError):
    """The loss or its gradient became NaN or infinite. `checkpoint` is a file with the last good state of the run, or None."""

    def __init__(self, step, checkpoint=None):
        hint = f"; the last good state is kept in {checkpoint}: remove it to start anew" if checkpoint else ""
        super().__init__(f"the loss or its gradient became NaN or infinite at step {step}; try a lower learning rate{hint}")
        self.step = step


class Trainer:
    """Trains the trainable parameters of a model. It refuses to go on if a newer Trainer was made or the model was changed.

    optimizer   an optimizer such as AdamW(lr=1e-3)
    schedule    step -> factor on the learning rate (schedule.py)
    clip        the largest norm of the gradient: a longer one is scaled down (Pascanu et al. 2013); None: no limit
    total       the number by which the summed loss of a step is divided. None: the count of targets in that batch; give the mean
                count if batches differ in length (see nn/cross_entropy.py)
    workers     number of processes that share each step (workers.py); None: one for each core
    accumulate  number of pieces into which each worker cuts its rows, at least two where lengths differ (`split_rows`). It goes
                through them one by one, adding up the gradients: the step is the same, but only the activations of one piece
                are in memory at a time
    lr_multipliers  step -> {parameter: factor on its learning rate}; 0 freezes it for that step. None: 1 for all
    penalty     something whose gradient is added to that of the loss, such as a QuadraticPenalty (finetune/remedies.py). The
                loss that is reported is without it
    on_step     called as on_step(trainer, loss) after each step
    """

    def __init__(self, model, optimizer, schedule=constant, clip=1.0, total=None, workers=None, accumulate=1,
                 lr_multipliers=None, penalty=None, on_step=None):
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.clip, self.total, self.on_step = clip, total, on_step
        self.flat = FlatParameters(model.trainable_parameters())
        self.lr_multipliers, self.frozen = lr_multipliers, ()
        if lr_multipliers:
            self.flat.scale = self.flat.zeros()
        if penalty:
            penalty.start(self.flat)
        self.workers = Workers(model, self.flat, optimizer, workers, accumulate, penalty)
        self.steps_done = 0
        optimizer.start(self.flat)
        self.workers.must_share(optimizer.state_dict())
        # The model as it is now, for `check`:
        self.holders, self.keys, self.parts = zip(*links(model))
        self.sizes = [(part, len(part)) for part in self.parts if isinstance(part, (list, dict))]
        self.arrays = [(p, p.data, name, name in self.flat.parameters) for name, p in model.parameters().items()]

    def step(self, tokens, targets):
        """One optimisation step on one batch, tokens and targets (B, T). Returns its loss before the step, in nats.

        Raises Diverged if the loss or the gradient is not finite, and ValueError if the model was changed (see `check`).
        """
        self.check()
        if self.lr_multipliers:
            factors = self.lr_multipliers(self.steps_done)
            self.flat.set_scale(factors)
            self.frozen = tuple(name for name in self.flat.parameters if factors[name] == 0)
        loss, norm = self.workers.forward_backward(tokens, targets, self.total, self.frozen)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise Diverged(self.steps_done + 1)
        # g <- g min(1, clip / |g|): the direction stays, and a single unusual batch cannot move the weights far.
        shrink = min(1.0, self.clip / norm) if self.clip and norm else 1.0
        self.workers.update(self.optimizer.plan(self.schedule(self.steps_done)), shrink)
        self.steps_done += 1
        if self.on_step:
            self.on_step(self, loss)
        return loss

    def check(self):
        """ValueError if the model is not as it was when this Trainer was made: its arrays, its modules, which parameters train.

        (Workers are forks: they still have the model as it was then, and would train that one.)
        """
        try:
            same = all(map(is_, map(getitem, self.holders, self.keys), self.parts))           # three times as fast as a loop
        except LookupError:
            same = False
        same = same and all(len(part) == n for part, n in self.sizes)
        if not same or not all(p.data is array and (p.trainable or name in self.frozen) == trains
                               for p, array, name, trains in self.arrays):
            raise ValueError("this Trainer cannot go on, for the model has changed since it was made: another Trainer was made "
                             "for it, or something was inserted, taken out, merged, frozen or thawed; make a new Trainer")

    def loss(self, tokens, targets):
        """The loss of the model on a batch, without a step."""
        total = self.total or max(1, np.count_nonzero(targets != IGNORE))
        parts = split_rows(targets, self.workers.n, self.workers.accumulate)      # in pieces, to need no more memory than a step
        with np.errstate(over="ignore", invalid="ignore"):
            return sum(CrossEntropy().forward(self.model.logits(tokens[rows, :T]), targets[rows, :T], total)[0]
                       for part in parts for rows, T in part)


def links(holder):
    """Yield (dict or list, key, part), with [key] being the part, for all modules and parameters inside a Module, dict or list,
    and for the dicts and lists that hold them."""
    items = vars(holder) if isinstance(holder, Module) else holder
    for key, part in list(items.items() if isinstance(items, dict) else enumerate(items)):
        below = list(links(part)) if isinstance(part, (Module, list, dict)) else []
        if below or isinstance(part, (Module, Parameter)):
            yield items, key, part
            yield from below
