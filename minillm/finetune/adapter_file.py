"""Specialists as files: usually only the weights that trained, with the fingerprint of the base that they belong to."""

from pathlib import Path

import numpy as np

from ..ground.arrays import write_arrays
from ..ground.files import checked
from ..ground.schema import anything, many, record, table, text, whole
from ..tasks.source import portable_path
from ..train.checkpoint import METADATA, describe
from ..train.old_names import current_name
from .methods import to_json

ADAPTER = record(METADATA | {"recipe": table(anything), "base": record({"path": text(4096), "fingerprint": text(100)}),
                             "shapes?": table(many(whole(), most=16))})


def save_specialist(path, model, tokenizer, recipe, base_path, base_fingerprint, **metadata):
    """Save a fine-tuned model: whole if its recipe stands alone, else only what trained, four bytes a number plus about 1 KB."""
    base = {"path": portable_path(base_path, Path(path).parent), "fingerprint": base_fingerprint}
    meta = {"recipe": to_json(recipe), "base": base} | metadata
    if recipe.stands_alone:
        write_arrays(path, model.state_dict(), {"kind": "model"} | describe(model, tokenizer) | meta)
    else:
        theta, shapes = pack(model)
        write_arrays(path, {"theta": theta}, {"kind": "adapter", "shapes": shapes} | meta)


def base_of(meta, path):
    """{"path": ..., "fingerprint": ...} of the base, from an adapter's metadata. CheckpointError if that is not complete."""
    return checked(meta, ADAPTER, path, "adapter")["base"]


def pack(model):
    """All that trains as one vector, theta, and {name: shape} of its parts. (One array needs one header, not hundreds.)"""
    parameters = model.trainable_parameters()
    theta = np.concatenate([p.data.reshape(-1) for p in parameters.values()])
    return theta, {name: p.shape for name, p in parameters.items()}


def unpack(model, theta, shapes):
    """Write theta into what trains in a model. ValueError if names, shapes or sizes differ; then nothing is written."""
    parameters, shapes = model.trainable_parameters(), {current_name(name): list(shape) for name, shape in shapes.items()}
    expected = {name: list(p.shape) for name, p in parameters.items()}
    if shapes != expected:
        odd = sorted(expected.keys() ^ shapes.keys()) or [name for name in expected if expected[name] != shapes[name]]
        raise ValueError(f"{odd[0][:60]} differs in name or shape")
    if list(shapes) != list(expected):
        raise ValueError("its parts are in another order")
    size = sum(p.size for p in parameters.values())
    if theta.shape != (size,):
        raise ValueError(f"there are {theta.size} numbers, but {size} parameters")
    if any(p.data.dtype != theta.dtype for p in parameters.values()):
        raise ValueError(f"its numbers are of type {theta.dtype}")
    start = 0
    for p in parameters.values():
        p.data[...] = theta[start:start + p.size].reshape(p.shape)
        start += p.size
