"""Fine-tuning to look at while it happens: a fresh specialist on the map of finished ones, one optimisation step at a time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .finetune.methods import from_json, recipe_of
from .finetune.specialist import prepare, specialise
from .inference.generate import generate_text
from .surface.family import read_family, weights_in_space
from .surface.views import SAMPLE, SAMPLE_SEED, new_task, plane_through_models, probe_of
from .train.optimizers import AdamW
from .train.trainer import Diverged

METHODS = ("full", "frozen", "adapter", "lora")
FACTORS = (0.25, 0.5, 1, 2, 4, 16)      # on a method's usual learning rate; at the last, not every method survives
LOSSES_EVERY, TEXT_EVERY = 5, 10        # steps: from one measurement, and from one text, to the next

TRAINING, FINISHED, DIVERGED = "training", "finished", "diverged"


@dataclass
class Moment:
    """A run after some steps.

    step        how many
    loss        of the last step's batch, before that step, in nats a token; None at the start
    ab          (a, b), where the weights project to on the plane
    residual    the part of the way from the base that the plane does not show, 0 to 1
    losses      {task: true loss} on the texts of the surface, in nats a token; None where it was not measured
    text        what the weights write; None where they were not asked
    """

    step: int
    loss: float | None
    ab: tuple
    residual: float
    losses: dict | None = None
    text: str | None = None


class Live:
    """A specialist that trains from the base of a folder, in the plane of finished fine-tunings.

    surface     a Surface of view "three" of that folder
    methods     names of those one can choose from; afterwards {name: recipe}. A method that the folder has is set as there, so
                that it lives in the same space
    seed        of the data's order and of what is inserted; by default that of the folder, with which a run at the folder's
                learning rate takes the folder's way
    steps       of a run; by default as many as the folder's

    method, factor, lr      what is being trained, and at which learning rate: factor times the usual one
    moments                 all there have been, the start first
    state                   TRAINING, FINISHED, or DIVERGED: the loss is no number any more
    ValueError for a method that has no place in this space.
    """

    def __init__(self, folder, surface, methods=METHODS, seed=None, steps=None, batch=16, workers=None):
        names = list(surface.points)[1:]
        self.surface, self.family = surface, read_family(Path(folder), names)
        runs = list(self.family.runs.values())
        self.probe, self.task = probe_of(self.family), new_task(self.family)
        self.beginning = self.task.probe(self.family.base.model.config.context)[0].beginning
        self.plane = plane_through_models(self.family, names, self.probe, None, workers).plane
        own = {run.info["recipe"]["method"]: from_json(run.info["recipe"]) for run in runs}
        self.methods = {name: own.get(name) or recipe_of(name) for name in methods}
        self.factors, self.factor = FACTORS, 1
        self.seed = runs[0].info["seed"] if seed is None else seed
        self.steps, self.batch, self.workers = steps or runs[0].steps[-1], batch, workers
        for name in reversed(self.methods):                     # what has no place is said now, and not when it is chosen
            self.reset(name)

    def reset(self, method=None, factor=None):
        """Begin anew from the base; by default with the method and factor as they are."""
        self.method = method or self.method
        self.factor = factor or self.factor
        recipe = self.methods[self.method]
        self.lr = self.factor * recipe.lr
        self.model = prepare(self.family.base.model, recipe, self.seed)
        self.run = specialise(self.model, recipe, self.task, None, AdamW(self.lr), self.steps, self.batch, self.seed,
                              workers=self.workers)
        self.state, self.moments = TRAINING, []
        self.moments.append(self.look(None))

    def step(self):
        """One optimisation step: the new Moment, or None if there was none to make, or if it was the one that ruined the run."""
        if self.state != TRAINING:
            return None
        trainer = self.run.trainer
        try:
            loss = trainer.step(*self.run.batches.at(trainer.steps_done))
        except Diverged:
            self.state = DIVERGED
            return None
        if trainer.steps_done == self.steps:
            self.run.finish()
            self.state = FINISHED
        self.moments.append(self.look(loss))
        return self.moments[-1]

    def look(self, loss):
        """The present as a Moment."""
        step = self.run.trainer.steps_done
        due = lambda every: step % every == 0 or step == self.steps
        ab, residual = self.plane.project(self.theta())
        return Moment(step, loss, ab, residual, self.probe.losses(self.model) if due(LOSSES_EVERY) else None,
                      self.write() if due(TEXT_EVERY) else None)

    def theta(self):
        """The weights as a point of the space, in which LoRA is merged into the body."""
        flat = self.run.trainer.flat
        return self.family.space.vector(weights_in_space(self.model, flat.views(flat.data), self.family.space))

    def write(self):
        """What the model writes now, always with the same random numbers: so that a change is one of the weights."""
        return generate_text(self.model, self.family.base.tokenizer, self.beginning, SAMPLE, np.random.default_rng(SAMPLE_SEED))

    @property
    def chance(self):
        """The loss of a blind guess among all words, ln V."""
        return self.surface.info["chance"]

    @property
    def worse_than_chance(self):
        loss = self.moments[-1].loss
        return loss is not None and not loss < self.chance
