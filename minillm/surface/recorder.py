"""The way that weights take during training."""

import numpy as np


class Recorder:
    """Keeps a copy of the trainable weights every few steps, and of step `last`.

    Call it once before training, for the start, and give it to a `Trainer` as `on_step`.

    steps       after how many steps each copy was made
    thetas      the copies, vectors as long as trainer.flat.data
    """

    def __init__(self, every, last=None):
        self.every, self.last = every, last
        self.steps, self.thetas = [], []
        self.flat = None

    def __call__(self, trainer, loss=None):
        self.flat = trainer.flat
        if trainer.steps_done % self.every == 0 or trainer.steps_done == self.last:
            self.steps.append(trainer.steps_done)
            self.thetas.append(trainer.flat.data.copy())

    def arrays(self):
        """{"steps": (T,), and each parameter by name: (T, ...)}"""
        steps, snapshots = self.way()
        return {"steps": np.array(steps)} | {name: np.stack([s[name] for s in snapshots]) for name in self.flat.parameters}

    def way(self):
        """steps, and {name: array} at each of them: as `measure_surface` takes it."""
        return self.steps, [self.flat.views(theta) for theta in self.thetas]

    def state(self):
        """For the file of a run in progress, so that a resumed run has its whole way."""
        return {"steps": np.array(self.steps), "thetas": np.stack(self.thetas)}

    def load_state(self, state):
        self.steps, self.thetas = state["steps"].tolist(), list(state["thetas"])
