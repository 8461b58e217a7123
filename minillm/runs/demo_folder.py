"""The folder of a demo: which files are its own, so that it can begin anew or go on, and never removes what others made."""

from ..ground import schema
from ..ground.arrays import read_meta
from ..ground.files import CheckpointError, read_json, write_json
from ..ground.processes import default_workers
from ..train.checkpoint import fingerprints
from ..train.recorder import trajectory_path
from .saved import load

MODELS = ("pretrained", "full", "frozen", "adapter", "scratch")
MADE_BY = {"made_by": "demo"}              # stored in all files of a demo, so that others are never removed
FILES = [*(f"{name}{ending}" for name in MODELS for ending in (".npz", ".trajectory.npz", ".training.npz")), "metrics.json"]
NOTE = schema.record({"seed": schema.whole(), "plan": schema.table(schema.number()), "workers": schema.whole(1, 256)})


def begin(out, settings, workers, resume):
    """Prepare a folder: remove what an earlier demo made; or, with `resume`, check that it can continue. Returns the workers.

    Only files that a demo has written are ever removed, with a message. ValueError if other files have the names of a demo's
    files, or if the demo in the folder had other settings.
    """
    note, existing = out / "demo.json", [out / name for name in FILES if (out / name).exists()]
    saved = read_json(note, NOTE, "note of a demo") if note.exists() else None
    for path in existing:
        if not made_by_demo(path):
            raise ValueError(f"{path} exists and no demo of this version made it, so it is not overwritten; choose another "
                             "--out, or move it away")
    if resume and existing and not saved:
        raise ValueError(f"{existing[0]} exists, but no {note} that says which demo made it; run it without --resume")
    if resume and saved:
        if {name: saved[name] for name in settings} != settings:
            raise ValueError(f"{out} holds a demo of another seed or size; --resume needs the same --seed and --quick")
        if workers not in (None, saved["workers"]):
            raise ValueError(f"{out} holds a demo with {saved['workers']} workers, not {workers}, and another number rounds "
                             "differently; --resume needs the same --workers")
        for name in MODELS[1:]:                             # a model without its trajectory cannot be shown
            if not trajectory_path(out / f"{name}.npz").exists():
                (out / f"{name}.npz").unlink(missing_ok=True)
        return saved["workers"]
    if existing:
        print(f"What an earlier demo made in {out} is removed: {', '.join(path.name for path in existing)}.", flush=True)
    workers = workers or default_workers()
    write_json(note, settings | {"workers": workers})
    for path in existing:
        path.unlink()
    return workers


def made_by_demo(path):
    """Does a file say that a demo made it?"""
    try:
        about = read_meta(path) if path.suffix == ".npz" else read_json(path, schema.table(schema.anything), "note of a demo")
    except CheckpointError:
        return False
    return all(about.get(name) == value for name, value in MADE_BY.items())


def load_of(base, path):
    """Load a base (if `base` is None) or a specialist that a demo finished. CheckpointError if it is not of this demo."""
    loaded = load(path)
    if not {"trainable_parameters", "total_parameters", "seconds"} <= loaded.meta.keys():
        raise CheckpointError(f"{path} does not say how it was trained; run the demo without --resume")
    if base and loaded.meta.get("base", {}).get("fingerprint") not in fingerprints(base.model):
        raise CheckpointError(f"{path} was made from another generalist than the one beside it; run the demo without --resume")
    return loaded
