"""Fine-tuning step by step, for the live window: a new specialist on the map of finished ones."""

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
FACTORS = (0.25, 0.5, 1, 2, 4, 16)      # times a method's usual learning rate; with the last, some methods diverge
LOSSES_EVERY, TEXT_EVERY = 5, 10        # steps between two measurements of the losses, and between two texts

TRAINING, FINISHED, DIVERGED = "training", "finished", "diverged"


@dataclass
class Moment:
    """The state of a run after some steps.

    step        number of steps so far
    loss        of the last step's batch, before that step, in nats per token; None at the start
    ab          (a, b) of the projection of the weights onto the plane
    residual    projection error relative to the distance from the base, 0 to 1
    losses      {task: true loss} on the texts of the surface, in nats per token; None if they were not measured
    text        written with these weights; None if there is none at this step
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
    methods     names of the methods to choose from; as an attribute {name: recipe}. A method that the folder has gets the same
                options, so that its weights lie in the same space
    seed        of the order of the data and of inserted weights; by default that of the folder, which reproduces the folder's
                trajectory if the learning rate is the same
    steps       of a run; by default as many as in the folder

    method, factor, lr      the current method, and its learning rate: factor times the usual one
    moments                 all moments so far, the start first
    state                   TRAINING, FINISHED, or DIVERGED: the loss is not a number
    ValueError if the weights of a method do not lie in this space.
    """

    def __init__(self, folder, surface, methods=METHODS, seed=None, steps=None, batch=12, workers=None):
        names = list(surface.points)[1:]
        self.surface, self.family = surface, read_family(Path(folder), names)
        runs = list(self.family.runs.values())
        self.probe, self.task = probe_of(self.family), new_task(self.family)
        self.beginning = self.task.probe(self.family.base.model.config.context)[0].beginning
        self.plane = plane_through_models(self.family, names, self.probe, None, workers).plane
        recipes = {run.info["recipe"]["method"]: from_json(run.info["recipe"]) for run in runs}
        self.methods = {name: recipes.get(name) or recipe_of(name) for name in methods}
        self.factors, self.factor = FACTORS, 1
        self.seed = runs[0].info["seed"] if seed is None else seed
        self.steps, self.batch, self.workers = steps or runs[0].steps[-1], batch, workers
        for name in reversed(self.methods):                     # an error shows now, and not when the method is chosen
            self.reset(name)

    def reset(self, method=None, factor=None):
        """Start again from the base; by default with the current method and factor."""
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
        """Make one optimisation step. Returns the new Moment; None if the run had ended, or if this step made it diverge."""
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
        """The current state as a Moment.   loss: of the last batch"""
        step = self.run.trainer.steps_done
        due = lambda every: step % every == 0 or step == self.steps
        ab, residual = self.plane.project(self.theta())
        return Moment(step, loss, ab, residual, self.probe.losses(self.model) if due(LOSSES_EVERY) else None,
                      self.write() if due(TEXT_EVERY) else None)

    def theta(self):
        """The weights as a vector of the space, in which LoRA is merged into the body."""
        flat = self.run.trainer.flat
        return self.family.space.vector(weights_in_space(self.model, flat.views(flat.data), self.family.space))

    def write(self):
        """A text that the model writes now, always with the same random numbers, so that only the weights change it."""
        return generate_text(self.model, self.family.base.tokenizer, self.beginning, SAMPLE, np.random.default_rng(SAMPLE_SEED))

    @property
    def chance(self):
        """The loss of a uniform guess among all words, ln V."""
        return self.surface.info["chance"]

    @property
    def worse_than_chance(self):
        loss = self.moments[-1].loss
        return loss is not None and not loss < self.chance
