"""Specialists on disk: an adapter is saved alone, with the fingerprint of the base it was trained on."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..nn import GPT
from ..text.tokenizer import Tokenizer
from ..train.checkpoint import CheckpointError, build, describe, fill, fingerprint, read_arrays, write_arrays
from .recipes import from_json, to_json


@dataclass
class Loaded:
    model: GPT
    tokenizer: Tokenizer
    meta: dict = field(default_factory=dict)


def save_specialist(path, model, tokenizer, recipe, base_path, base_fingerprint, **facts):
    """Save what a recipe made. Where it inserted new layers only they are written, a few per cent of the model."""
    base = {"path": str(relative(base_path, Path(path).parent)), "fingerprint": base_fingerprint}
    meta = describe(model, tokenizer) | {"recipe": to_json(recipe), "base": base} | facts
    if recipe.stands_alone:
        write_arrays(path, model.state(), {"kind": "model"} | meta)
    else:
        write_arrays(path, {name: p.data for name, p in model.trainable_parameters().items()}, {"kind": "adapter"} | meta)


def relative(path, folder):
    """`path` as seen from `folder` where it lies within or beside it, so that both can be moved together."""
    path, folder = Path(path).resolve(), folder.resolve()
    for up, parent in enumerate([folder, *folder.parents][:3]):
        if path.is_relative_to(parent):
            return Path(*[".."] * up) / path.relative_to(parent)
    return path


def load(path, base=None):
    """A saved model, ready to use; of an adapter, its base with the adapter inserted.

    `base` is the file of the base model, by default the one that the adapter remembers. CheckpointError if a file is broken or
    is not what it should be, and if the base is not the one that the adapter was trained on.
    """
    path = Path(path)
    arrays, meta = read_arrays(path)
    if meta["kind"] == "model":
        model, tokenizer = build(meta, path)
        fill(model, arrays, path)
        return Loaded(model, tokenizer, meta)
    if meta["kind"] == "training":
        raise CheckpointError(f"{path} holds the state of an unfinished run; continue that with --resume")
    if meta["kind"] != "adapter":
        raise CheckpointError(f"{path} holds a {meta['kind']}, not a model")
    base_path = Path(base) if base else path.parent / meta["base"]["path"]
    if not base_path.exists():
        raise CheckpointError(f"{path} is an adapter, and its base model is not at {base_path}; name the base with --base")
    loaded = load(base_path)
    if fingerprint(loaded.model) != meta["base"]["fingerprint"]:
        raise CheckpointError(f"{path} was trained on another base than {base_path}: the fingerprints differ; name the right "
                              "base with --base")
    try:
        from_json(meta["recipe"]).apply(loaded.model, np.random.default_rng(0))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a recipe unknown to this version of minillm: {meta['recipe']} ({error})") from None
    own = loaded.model.trainable_parameters()
    if own.keys() != arrays.keys() or any(own[name].shape != array.shape for name, array in arrays.items()):
        raise CheckpointError(f"{path} does not hold the weights that its recipe {meta['recipe']} asks for")
    for name, array in arrays.items():
        own[name].data[...] = array
    return Loaded(loaded.model, loaded.tokenizer, meta)
