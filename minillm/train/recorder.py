"""Recording the trajectory of the weights during training, and reading it from its file."""

from pathlib import Path

import numpy as np

from ..ground.arrays import Arrays, write_arrays
from ..ground.files import CheckpointError, checked
from ..ground.schema import maybe, record
from .checkpoint import HISTORY, METADATA
from .old_names import current_name

TRAJECTORY = record(METADATA | {"history?": maybe(HISTORY)})


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
        """Copy the weights if it is time to. ValueError if the trainer's weights are not those of its model any more."""
        trainer.check()
        self.flat = trainer.flat
        if trainer.steps_done % self.every == 0 or trainer.steps_done == self.last:
            self.steps.append(trainer.steps_done)
            self.thetas.append(trainer.flat.data.copy())

    def trajectory(self):
        """steps, and {name: array} at each of them."""
        return self.steps, [self.flat.views(theta) for theta in self.thetas]

    def save(self, path, **metadata):
        """steps (T,), and each parameter by name (T, ...), in an .npz; `read_trajectory` reads it."""
        steps, snapshots = self.trajectory()
        arrays = {name: np.stack([s[name] for s in snapshots]) for name in self.flat.parameters}
        write_arrays(path, {"steps": np.array(steps)} | arrays, {"kind": "trajectory"} | metadata)

    def state_dict(self):
        """What was recorded, as arrays, for the file of a run in progress: so a resumed run has its whole trajectory."""
        return {"steps": np.array(self.steps), "thetas": np.stack(self.thetas)}

    def expected_state(self, n, trainer):
        """Arrays of the shapes and types of `state_dict` after n recordings, to check a file before it is read."""
        theta = trainer.flat.data
        return {"steps": np.empty(n, np.int64), "thetas": np.broadcast_to(theta, (n, theta.size))}

    def load_state_dict(self, state):
        self.steps, self.thetas = state["steps"].tolist(), list(state["thetas"])


def trajectory_path(out):
    """The file of the trajectory that led to the model in a file: beside it."""
    return Path(out).with_suffix(".trajectory.npz")


def read_trajectory(path):
    """steps, [{name: array} at each of them], and the metadata of a trajectory file. CheckpointError if it is not one."""
    with Arrays(path, "trajectory") as file:
        meta = checked(file.meta, TRAJECTORY, path, "trajectory")
        steps = file.headers.get("steps")
        if steps is None or len(steps.shape) != 1 or not steps.shape[0] or any(
                header.shape[:1] != steps.shape for header in file.headers.values()):
            file.refuse("does not hold a recorded trajectory: for each parameter as many values as there are steps")
        arrays = {current_name(name): array for name, array in file.read_all(finite=False).items()}
    steps = arrays.pop("steps").tolist()
    if steps != sorted(set(steps)) or steps[0] < 0:
        raise CheckpointError(f"{path} does not hold a recorded trajectory: its steps do not rise")
    return steps, [{name: array[i] for name, array in arrays.items()} for i in range(len(steps))], meta
