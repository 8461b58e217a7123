"""The way that weights take during training."""

from pathlib import Path

import numpy as np

from ..train.checkpoint import CheckpointError, read_arrays, write_arrays


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
        """ValueError if the trainer's weights are not those of its model any more."""
        trainer.check()
        self.flat = trainer.flat
        if trainer.steps_done % self.every == 0 or trainer.steps_done == self.last:
            self.steps.append(trainer.steps_done)
            self.thetas.append(trainer.flat.data.copy())

    def way(self):
        """steps, and {name: array} at each of them."""
        return self.steps, [self.flat.views(theta) for theta in self.thetas]

    def save(self, path, **facts):
        """steps (T,), and each parameter by name (T, ...), in an .npz; `read_trajectory` reads it."""
        steps, snapshots = self.way()
        arrays = {name: np.stack([s[name] for s in snapshots]) for name in self.flat.parameters}
        write_arrays(path, {"steps": np.array(steps)} | arrays, {"kind": "trajectory"} | facts)

    def state(self):
        """For the file of a run in progress, so that a resumed run has its whole way."""
        return {"steps": np.array(self.steps), "thetas": np.stack(self.thetas)}

    def load_state(self, state):
        self.steps, self.thetas = state["steps"].tolist(), list(state["thetas"])


def trajectory_of(out):
    """Where the way to the model in a file is kept: beside it."""
    return Path(out).with_suffix(".trajectory.npz")


def read_trajectory(path):
    """steps, [{name: array} at each of them], and the facts saved with them. CheckpointError if it holds something else."""
    arrays, meta = read_arrays(path)
    if meta["kind"] != "trajectory":
        raise CheckpointError(f"{path} holds a {meta['kind']}, not a recorded trajectory")
    steps = arrays.pop("steps").tolist()
    return steps, [{name: array[i] for name, array in arrays.items()} for i in range(len(steps))], meta
