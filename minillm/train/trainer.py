"""One training step: forward, loss, backward, clip, update. (The loop around it is in fit.py.)"""

import math
from operator import getitem, is_

import numpy as np

from ..nn import IGNORE, CrossEntropy, Module, Parameter
from .flat import FlatParameters
from .schedule import constant
from .workers import Workers, split_rows


class Diverged(ArithmeticError):
    """The loss is not a number any more. `kept` is a file with the last good state of the run, or None."""

    def __init__(self, step, kept=None):
        told = f"; the last good state is kept in {kept}: remove it to start anew" if kept else ""
        super().__init__(f"the loss became NaN or infinite at step {step}; try a lower learning rate{told}")
        self.step = step


class Trainer:
    """Trains the trainable parameters of a model, as long as it is the newest Trainer of that model and the model is as it was.

    optimizer   a rule such as AdamW(lr=1e-3)
    schedule    step -> factor on the learning rate (schedule.py)
    clip        the gradient's norm is cut down to this (Pascanu et al. 2013); None: never
    total       the count that the summed loss of a step is divided by. None: the targets that count in that batch; give the mean
                count when batches differ in length (see nn/cross_entropy.py)
    workers     processes that share each step (workers.py); None: one for each core
    accumulate  pieces in which each worker goes through its rows, one after the other, adding up their gradients: the step is the
                same, but only a piece's activations need memory at a time, so that a batch may be larger than memory
    lr_multipliers  step -> {parameter: factor on its learning rate}; 0 freezes it for that step. None: 1 for all
    pull        a force on the weights besides the loss's gradient (finetune/remedies.py)
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
        self.holders, self.keys, self.parts = zip(*links(model))
        self.sizes = [(part, len(part)) for part in self.parts if isinstance(part, (list, dict))]
        self.held = [(p, p.data, name, name in self.flat.parameters) for name, p in model.parameters().items()]

    def step(self, tokens, targets):
        """One optimisation step on one batch, tokens and targets (B, T). Returns its loss before the step, in nats.

        Diverged if that is not a number; ValueError if the model is another's by now, see `check`.
        """
        self.check()
        if self.lr_multipliers:
            factors = self.lr_multipliers(self.steps_done)
            self.flat.set_scale(factors)
            self.frozen = tuple(name for name in self.flat.parameters if factors[name] == 0)
        loss, norm = self.workers.forward_backward(tokens, targets, self.total, self.frozen)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise Diverged(self.steps_done + 1)
        # g <- g min(1, clip / |g|): the direction stays, and one strange batch cannot throw the weights far.
        clip = min(1.0, self.clip / norm) if self.clip and norm else 1.0
        self.workers.update(self.optimizer.plan(self.schedule(self.steps_done)), clip)
        self.steps_done += 1
        if self.on_step:
            self.on_step(self, loss)
        return loss

    def check(self):
        """ValueError if what would be trained is not the model as it was: its arrays, its modules, what of it trains.

        (Workers were forked from the model as it was. So if it were to be trained as it is now, each would train another.)
        """
        try:
            same = all(map(is_, map(getitem, self.holders, self.keys), self.parts))           # a loop, at a third of its price
        except LookupError:
            same = False
        same = same and all(len(part) == n for part, n in self.sizes)
        if not same or not all(p.data is array and (p.trainable or name in self.frozen) == trains
                               for p, array, name, trains in self.held):
            raise ValueError("this Trainer cannot go on, for the model has changed since it was made: another Trainer was made "
                             "for it, or something was inserted, taken out, merged, frozen or thawed; make a new Trainer")

    def loss(self, tokens, targets):
        """The loss of a batch, without a step: of the model as it is now."""
        total = self.total or max(1, np.count_nonzero(targets != IGNORE))
        parts = split_rows(targets, self.workers.n, self.workers.accumulate)      # for as little memory as a step
        with np.errstate(over="ignore", invalid="ignore"):
            return sum(CrossEntropy().forward(self.model.logits(tokens[rows, :T]), targets[rows, :T], total)[0]
                       for part in parts for rows, T in part)


def links(thing):
    """Yield (holder, key, part), with holder[key] being the part, of all modules and parameters of a model, and of the lists and
    dicts of them."""
    holder = vars(thing) if isinstance(thing, Module) else thing
    for key, part in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
        below = list(links(part)) if isinstance(part, (Module, list, dict)) else []
        if below or isinstance(part, (Module, Parameter)):
            yield holder, key, part
            yield from below
