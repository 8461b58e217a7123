"""The training loop: step after step, with a progress bar, checkpoints, and a clean stop at Ctrl-C."""

import math
from pathlib import Path

from ..ground.interrupts import pressed, shielded
from ..ground.progress import progress
from .checkpoint import load_training, save_training
from .trainer import Diverged


class Interrupted(Exception):
    """The user stopped a run. `saved` is the file from which it can be resumed, or None."""

    def __init__(self, step, saved=None):
        super().__init__(f"interrupted after step {step}")
        self.step, self.saved = step, saved

    def __reduce__(self):
        return Interrupted, (self.step, self.saved)


def fit(trainer, batches, steps, *, validate=None, validate_every=50, checkpoint=None, save_every=100, recorder=None,
        metadata=None, inputs=None, title="training", quiet=False):
    """Train until `steps` steps are done, counting those that the trainer has done already.

    batches         at(step) -> tokens, targets
    validate        called without arguments every `validate_every` steps and at the end; returns a dict for the history, whose
                    "mean_excess", or else "loss", is shown in the bar
    checkpoint      a file: written before the first step, every `save_every` steps and on Ctrl-C; read at the start if it exists.
                    The caller removes it, after saving the result of the run
    recorder        a Recorder, whose recordings are saved in the checkpoint (recorder.py)
    metadata        JSON that is saved in the checkpoint, to resume the run
    inputs          everything that the run is made from, a dictionary: saved too; a checkpoint with other inputs is refused

    Returns the history: {"steps": steps, "loss": [of each step], "validation": [dicts with "step"]}.
    Raises Interrupted, after saving, or Diverged; the file then holds the last good state that was saved.
    """
    run = Run(trainer, batches, steps, checkpoint, recorder, inputs or {}, metadata or {})
    bar = progress(total=steps, initial=trainer.steps_done, desc=title, unit="step", quiet=quiet)
    shown = {}
    with bar, pressed() as stop:
        while trainer.steps_done < steps:
            loss = run.step()
            done = trainer.steps_done
            if validate and (done % validate_every == 0 or done == steps):
                shown = run.note(validate())
            bar.update()
            bar.set_postfix({"loss": f"{loss:.3f}"} | shown, refresh=False)
            if stop.is_set():
                run.save()
                raise Interrupted(done, checkpoint)
            if done % save_every == 0 and done < steps:
                run.save()
        run.check_weights()
    return run.history


class Run:
    """A run in progress: its history and its checkpoint."""

    def __init__(self, trainer, batches, steps, checkpoint, recorder, inputs, metadata):
        self.trainer, self.batches, self.checkpoint, self.recorder = trainer, batches, checkpoint, recorder
        self.inputs, self.metadata = inputs, metadata
        self.history = {"steps": steps, "loss": [], "validation": []}
        self.resumed = self.has_checkpoint()
        self.saved = None                                   # how many steps were done when the checkpoint was written
        if self.resumed:
            self.history = load_training(checkpoint, trainer, recorder, steps, inputs)["history"] | {"steps": steps}
            self.saved = trainer.steps_done
        else:
            self.save()

    def has_checkpoint(self):
        return bool(self.checkpoint) and Path(self.checkpoint).exists()

    def step(self):
        """One step, and its loss. Raises Diverged."""
        try:
            loss = self.trainer.step(*self.batches.at(self.trainer.steps_done))
        except Diverged as error:
            raise self.diverged(error.step) from None
        self.history["loss"].append(loss)
        return loss

    def note(self, validation):
        """Add a validation to the history; returns what the bar shows of it."""
        self.history["validation"].append({"step": self.trainer.steps_done} | validation)
        if "mean_excess" in validation:
            return {"excess over the floor": f"{validation['mean_excess']:.3f}"}
        return {"validation": f"{validation['loss']:.3f}"}

    def save(self):
        """Write the checkpoint, if there is one. Raises Diverged, and leaves the last one, if the weights are ruined."""
        self.check_weights()
        if self.checkpoint:
            self.saved = self.trainer.steps_done
            with shielded():
                save_training(self.checkpoint, self.trainer, self.recorder, history=self.history, inputs=self.inputs,
                              **self.metadata)

    def check_weights(self):
        """Raises Diverged unless the loss of the next batch is finite: weights can be finite and yet ruined."""
        if not math.isfinite(self.trainer.loss(*self.batches.at(self.trainer.steps_done))):
            raise self.diverged(self.trainer.steps_done)

    def diverged(self, step):
        """The exception to raise. A checkpoint of a run that has not got beyond its start is removed."""
        if self.saved == 0 and not self.resumed:
            Path(self.checkpoint).unlink(missing_ok=True)
        return Diverged(step, self.checkpoint if self.has_checkpoint() else None)
