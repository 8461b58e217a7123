"""What a run in progress keeps, so that it can go on bit for bit."""

from pathlib import Path

from ..ground.arrays import read_meta
from ..ground.files import checked
from ..ground.processes import default_workers
from ..ground.schema import anything, record, table, whole

RESUMED = record({"inputs": record({"workers": whole(1, 256)}), "options?": table(anything)})


def settings(optimizer, steps, batch, seed, workers, accumulate):
    """What of a run's inputs both phases have: with other values the same run would end in other weights."""
    return {"optimizer": optimizer.settings(), "steps": steps, "batch": batch, "seed": seed, "workers": workers,
            "accumulate": accumulate}


def n_workers(out, workers=None):
    """As many as asked for; else as many as an interrupted run had (another number sums in another order); else one a core."""
    if workers is None and unfinished(out).exists():
        return checked(read_meta(unfinished(out), "training"), RESUMED, unfinished(out), "run in progress")["inputs"]["workers"]
    return workers or default_workers()


def unfinished(out):
    """The file that a run in progress can go on from."""
    return Path(out).with_suffix(".training.npz")
