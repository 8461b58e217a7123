"""A run: many steps, a progress bar, a file to go on from, and a polite answer to Ctrl-C."""

import math
from pathlib import Path

from ..interrupts import pressed, shielded
from ..progress import progress
from .checkpoint import load_training, save_training
from .trainer import Diverged


class Interrupted(Exception):
    """The user stopped a run. `saved` is the file it can go on from, or None."""

    def __init__(self, step, saved=None):
        super().__init__(f"interrupted after step {step}")
        self.step, self.saved = step, saved

    def __reduce__(self):
        return Interrupted, (self.step, self.saved)


def fit(trainer, batches, steps, *, validate=None, validate_every=50, checkpoint=None, save_every=100, recorder=None,
        facts=None, inputs=None, title="training", quiet=False):
    """Train until `steps` steps are done, from wherever the trainer stands.

    batches         at(step) -> tokens, targets
    validate        called without arguments each `validate_every` steps and at the end; returns a dict for the history, of
                    which "mean_excess", or else "loss", is shown in the bar
    checkpoint      a file: written before the first step, each `save_every` steps and on Ctrl-C, read at the start if it exists.
                    Removing it is left to the caller, who first saves what came of the run
    recorder        whose recordings go into the checkpoint (train/recorder.py)
    facts           JSON saved in the checkpoint, for whoever resumes
    inputs          all that the run is made from, a dictionary: saved as well, and a checkpoint of other inputs is refused

    Returns the history: {"steps": steps, "loss": [of each step], "validation": [dicts with "step"]}.
    Raises Interrupted, after saving, or Diverged; the file then holds the last good state that was saved.
    """
    history = {"steps": steps, "loss": [], "validation": []}
    resumed = bool(checkpoint) and Path(checkpoint).exists()
    if resumed:
        history = load_training(checkpoint, trainer, recorder, steps, inputs)["history"] | {"steps": steps}

    saved = trainer.steps_done if resumed else None         # after how many steps the checkpoint was written

    def diverged(step):
        if saved == 0 and not resumed:                      # nothing but the start is in it, which is no loss
            Path(checkpoint).unlink(missing_ok=True)
        return Diverged(step, checkpoint if checkpoint and Path(checkpoint).exists() else None)

    def make_sure():
        """Finite weights can be ruined already; they are good if they can read the next batch."""
        if not math.isfinite(trainer.loss(*batches.at(trainer.steps_done))):
            raise diverged(trainer.steps_done)

    def save():
        nonlocal saved
        make_sure()
        if checkpoint:
            saved = trainer.steps_done
            with shielded():
                save_training(checkpoint, trainer, recorder, history=history, inputs=inputs or {}, **(facts or {}))

    if not resumed:
        save()
    bar = progress(total=steps, initial=trainer.steps_done, desc=title, unit="step", quiet=quiet)
    shown = {}
    with bar, pressed() as stop:
        while trainer.steps_done < steps:
            try:
                loss = trainer.step(*batches.at(trainer.steps_done))
            except Diverged as error:
                raise diverged(error.step) from None
            done = trainer.steps_done
            history["loss"].append(loss)
            if validate and (done % validate_every == 0 or done == steps):
                found = {"step": done} | validate()
                history["validation"].append(found)
                shown = {"excess over the floor": f"{found['mean_excess']:.3f}"} if "mean_excess" in found else {
                    "validation": f"{found['loss']:.3f}"}
            bar.update()
            bar.set_postfix({"loss": f"{loss:.3f}"} | shown, refresh=False)
            if stop.is_set():
                save()
                raise Interrupted(done, checkpoint)
            if done % save_every == 0 and done < steps:
                save()
        make_sure()
    return history

