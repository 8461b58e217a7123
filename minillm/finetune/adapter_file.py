"""Specialists as files: of most only what trained is saved, with the fingerprint of the base that it was trained on."""

from pathlib import Path

import numpy as np

from ..ground.arrays import write_arrays
from ..ground.files import checked
from ..ground.schema import anything, many, record, table, text, whole
from ..tasks.source import portable_path
from ..train.checkpoint import METADATA, describe
from .methods import to_json

ADAPTER = record(METADATA | {"recipe": table(anything), "base": record({"path": text(4096), "fingerprint": text(100)}),
                          "shapes?": table(many(whole(), most=16))})


def save_specialist(path, model, tokenizer, recipe, base_path, base_fingerprint, **metadata):
    """Save what a recipe made: all of a model that stands alone, of others what trained, four bytes a number and 2 KB more."""
    base = {"path": portable_path(base_path, Path(path).parent), "fingerprint": base_fingerprint}
    meta = {"recipe": to_json(recipe), "base": base} | metadata
    if recipe.stands_alone:
        write_arrays(path, model.state(), {"kind": "model"} | describe(model, tokenizer) | meta)
    else:
        theta, shapes = pack(model)
        write_arrays(path, {"theta": theta}, {"kind": "adapter", "shapes": shapes} | meta)


def base_of(meta, path):
    """What an adapter's file says of its base. CheckpointError if it does not say how it was made, or from which base."""
    return checked(meta, ADAPTER, path, "adapter")["base"]


def pack(model):
    """All that trains as one vector, and {name: shape} of its parts: one array needs one header, not hundreds."""
    trains = model.trainable_parameters()
    return np.concatenate([p.data.reshape(-1) for p in trains.values()]), {name: p.shape for name, p in trains.items()}


def unpack(model, theta, shapes):
    """Write such a vector into what trains in a model. ValueError if names, shapes or sizes differ; then nothing is written."""
    trains = model.trainable_parameters()
    if trains.keys() != shapes.keys() or any(list(trains[name].shape) != list(shape) for name, shape in shapes.items()):
        odd = sorted(trains.keys() ^ shapes.keys()) or [name for name, p in trains.items() if list(p.shape) != list(shapes[name])]
        raise ValueError(f"{odd[0][:60]} differs in name or shape")
    if list(trains) != list(shapes):
        raise ValueError("its parts are in another order")
    if theta.shape != (sum(p.size for p in trains.values()),):
        raise ValueError(f"there are {theta.size} numbers, but {sum(p.size for p in trains.values())} parameters")
    if any(p.data.dtype != theta.dtype for p in trains.values()):
        raise ValueError(f"its numbers are of type {theta.dtype}")
    start = 0
    for name in shapes:
        p = trains[name]
        p.data[...] = theta[start:start + p.size].reshape(p.shape)
        start += p.size
