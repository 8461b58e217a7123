"""What pretraining and fine-tuning share so that an interrupted run can go on bit for bit."""

from pathlib import Path

from ..ground.arrays import read_meta
from ..ground.files import checked
from ..ground.processes import default_workers
from ..ground.schema import anything, record, table, whole

RESUMED = record({"inputs": record({"workers": whole(1, 256)}), "options?": table(anything)})


def settings(optimizer, steps, batch, seed, workers, accumulate):
    """The inputs of a run that both phases have. With other values it would end in other weights."""
    return {"optimizer": optimizer.settings(), "steps": steps, "batch": batch, "seed": seed, "workers": workers,
            "accumulate": accumulate}


def n_workers(out, workers=None):
    """How many workers a run gets: as many as asked for, or as an interrupted run had, or one for each core.

    (Another number of workers would add up gradients in another order, and round differently.)
    """
    if workers is None and unfinished(out).exists():
        return checked(read_meta(unfinished(out), "training"), RESUMED, unfinished(out), "run in progress")["inputs"]["workers"]
    return workers or default_workers()


def unfinished(out):
    """The checkpoint of a run in progress."""
    return Path(out).with_suffix(".training.npz")
