"""The training loop."""

import math

import numpy as np

from ..nn import CrossEntropy
from .flat import Flat
from .schedule import constant
from .workers import Workers


class Diverged(ArithmeticError):
    """The loss is not a number any more. `kept` is a file with the last good state of the run, or None."""

    def __init__(self, step, kept=None):
        told = f"; the last good state is kept in {kept}: remove it to start anew" if kept else ""
        super().__init__(f"the loss became NaN or infinite at step {step}; try a lower learning rate{told}")
        self.step = step


class Trainer:
    """Trains the trainable parameters of a model.

    optimizer   a rule such as AdamW(lr=1e-3)
    schedule    step -> factor on the learning rate (schedule.py)
    clip        the gradient's norm is cut down to this (Pascanu et al. 2013); None: never
    total       the count that the summed loss of a step is divided by. None: the targets that count in that batch; give the mean
                count when batches differ in length (see nn/cross_entropy.py)
    workers     processes that share each step (workers.py); None: one for each core
    accumulate  pieces in which each worker goes through its rows, one after the other, adding up their gradients: the step is the
                same, but only a piece's activations need memory at a time, so that a batch may be larger than memory
    rates       step -> {parameter: factor on its learning rate}; 0 freezes it for that step. None: 1 for all
    pull        a force on the weights besides the loss's gradient (finetune/remedies.py)
    on_step     called as on_step(trainer, loss) after each step
    """

    def __init__(self, model, optimizer, schedule=constant, clip=1.0, total=None, workers=None, accumulate=1,
                 rates=None, pull=None, on_step=None):
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.clip, self.total, self.on_step = clip, total, on_step
        self.flat = Flat(model.trainable_parameters())
        self.rates, self.frozen = rates, ()
        if rates:
            self.flat.scale = self.flat.zeros()
        if pull:
            pull.start(self.flat)
        self.workers = Workers(model, self.flat, optimizer, workers, accumulate, pull)
        self.steps_done = 0
        optimizer.start(self.flat)

    def step(self, tokens, targets):
        """One optimisation step on one batch, tokens and targets (B, T). Returns its loss before the step, in nats."""
        total = self.total or max(1, np.count_nonzero(targets >= 0))
        if self.rates:
            factors = self.rates(self.steps_done)
            self.flat.set_scale(factors)
            self.frozen = tuple(name for name in self.flat.parameters if factors[name] == 0)
        loss, norm = self.workers.forward_backward(tokens, targets, total, self.frozen)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise Diverged(self.steps_done + 1)
        # g <- g min(1, clip / |g|): the direction stays, and one strange batch cannot throw the weights far.
        clip = min(1.0, self.clip / norm) if self.clip and norm else 1.0
        self.workers.update(self.optimizer.plan(self.schedule(self.steps_done)), clip)
        self.steps_done += 1
        if self.on_step:
            self.on_step(self, loss)
        return loss

    def loss(self, tokens, targets):
        """The loss of a batch, without a step."""
        with np.errstate(over="ignore", invalid="ignore"):
            return CrossEntropy().forward(self.model.logits(tokens), targets, self.total)[0]
