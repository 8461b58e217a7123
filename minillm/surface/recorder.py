"""The way that weights take during training."""

import numpy as np


class Recorder:
    """Keeps a copy of the trainable weights every few steps.

    Call it once before training, for the start, and give it to a `Trainer` as `on_step`.

    steps       after how many steps each copy was made
    thetas      the copies, vectors as long as trainer.flat.data
    """

    def __init__(self, every):
        self.every = every
        self.steps, self.thetas = [], []
        self.flat = None

    def __call__(self, trainer, loss=None):
        self.flat = trainer.flat
        if trainer.steps_done % self.every == 0:
            self.steps.append(trainer.steps_done)
            self.thetas.append(trainer.flat.data.copy())

    def arrays(self):
        """{"steps": (T,), and each parameter by name: (T, ...)}"""
        return {"steps": np.array(self.steps)} | {name: np.stack(copies) for name, copies in self.by_name().items()}

    def by_name(self):
        views = [self.flat.views(theta) for theta in self.thetas]
        return {name: [view[name] for view in views] for name in self.flat.parameters}

    def state(self):
        """For the file of a run in progress, so that a resumed run has its whole way."""
        return {"steps": np.array(self.steps), "thetas": np.stack(self.thetas)}

    def load_state(self, state):
        self.steps, self.thetas = state["steps"].tolist(), list(state["thetas"])
