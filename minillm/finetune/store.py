"""Specialists on disk: of most only what trained is saved, with the fingerprint of the base that it was trained on."""

from dataclasses import dataclass, field
from pathlib import Path

from ..nn import GPT
from ..text.tokenizer import Tokenizer
from ..train.checkpoint import CheckpointError, build, describe, fill, fingerprint, read_arrays, write_arrays
from .adapters import Adapters, base_of, pack
from .methods import to_json


@dataclass
class Loaded:
    model: GPT
    tokenizer: Tokenizer
    meta: dict = field(default_factory=dict)


def save_specialist(path, model, tokenizer, recipe, base_path, base_fingerprint, **facts):
    """Save what a recipe made: all of a model that stands alone, of others what trained, four bytes a number and 2 KB more."""
    base = {"path": str(relative(base_path, Path(path).parent)), "fingerprint": base_fingerprint}
    meta = {"recipe": to_json(recipe), "base": base} | facts
    if recipe.stands_alone:
        write_arrays(path, model.state(), {"kind": "model"} | describe(model, tokenizer) | meta)
    else:
        theta, shapes = pack(model)
        write_arrays(path, {"theta": theta}, {"kind": "adapter", "shapes": shapes} | meta)


def relative(path, folder):
    """`path` as seen from `folder` where it lies within or beside it, so that both can be moved together."""
    path, folder = Path(path).resolve(), folder.resolve()
    for up, parent in enumerate([folder, *folder.parents][:3]):
        if path.is_relative_to(parent):
            return Path(*[".."] * up) / path.relative_to(parent)
    return path


def load(path, base=None):
    """A saved model, ready to use; of an adapter, its base with the adapter put on.

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
    base_path = Path(base) if base else path.parent / base_of(meta, path).get("path", "")
    if not base_path.exists():
        raise CheckpointError(f"{path} is an adapter, and its base model is not at {base_path}; name the base with --base")
    loaded = load(base_path)
    if fingerprint(loaded.model) != base_of(meta, path).get("fingerprint"):
        raise CheckpointError(f"{path} was trained on another base than {base_path}: the fingerprints differ; name the right "
                              "base with --base")
    Adapters(loaded.model).load(path.stem, path)
    return Loaded(loaded.model, loaded.tokenizer, meta)
