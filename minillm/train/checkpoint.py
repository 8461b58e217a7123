"""Files: weights as .npz with a readable meta.json inside, written whole or not at all. No pickle.

An .npz is a zip archive of .npy files; `unzip -p model.npz meta.json` shows what a checkpoint is.
"""

import json
import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..nn import GPT, Config
from ..text.tokenizer import TOKENIZERS
from .costs import must_fit

FORMAT = 2      # goes up when an older program could no longer read what a newer one writes


class CheckpointError(ValueError):
    """A file is not what it should be. The message names the file, what is wrong and what to do."""


@contextmanager
def written_whole(path):
    """Yield a temporary name in the folder of `path`; what is written there takes the place of `path` only if all went well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_arrays(path, arrays, meta):
    """arrays {name: array} and meta, anything JSON can say, into one file."""
    import zipfile  # in the functions that need it: with hashlib below, a tenth of the time that importing minillm takes

    with written_whole(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr("meta.json", json.dumps({"format": FORMAT} | meta, indent=1), zipfile.ZIP_DEFLATED)


def read_arrays(path):
    """The inverse of `write_arrays`: arrays, meta. CheckpointError if the file is missing, broken, or of another format."""
    import zipfile

    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the .npz file in it")
    try:
        with zipfile.ZipFile(path) as archive:
            meta = json.loads(archive.read("meta.json"))
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name != "meta.json"}
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except Exception as error:      # spoiled bytes can make zipfile, json and NumPy fail in very many ways
        raise CheckpointError(f"{path} is not a whole checkpoint of minillm ({error}); was its writing or copying cut "
                              "short?") from None
    if not isinstance(meta, dict) or "kind" not in meta:
        raise CheckpointError(f"{path} is not a checkpoint of minillm: its meta.json does not say what it holds")
    if meta.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {meta.get('format')}, but this version of minillm reads format {FORMAT}; "
                              "write it again with this version")
    return arrays, meta


def fingerprint(model):
    """A short name for exactly these weights: SHA-256 over names, shapes and values."""
    import hashlib

    digest = hashlib.sha256()
    for name, array in sorted(model.state().items()):
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def describe(model, tokenizer):
    """What is needed to build the model again before its weights are read."""
    return {"config": vars(model.config), "tokenizer": {"kind": tokenizer.kind, "tokens": tokenizer.tokens}}


def save_model(path, model, tokenizer, **facts):
    """A model that stands alone. `facts` go into meta.json beside its shape and vocabulary."""
    write_arrays(path, model.state(), {"kind": "model"} | describe(model, tokenizer) | facts)


def build(meta, path):
    """An empty model and the tokenizer that a meta.json describes."""
    try:
        tokenizer = TOKENIZERS[meta["tokenizer"]["kind"]](meta["tokenizer"]["tokens"])
        config = Config(**meta["config"])
        must_fit(4 * config.parameters, f"a model of {config.parameters:,d} parameters", "it cannot be loaded here")
        return GPT(config, np.random.default_rng(0)), tokenizer
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not describe a model of minillm ({error!r})") from None


def fill(model, arrays, path):
    try:
        model.load_state(arrays)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None


def save_training(path, trainer, recorder=None, **facts):
    """Everything that a run needs to go on bit for bit: weights, optimizer, the count of steps done, and what was recorded.

    The count is also the position in the data and the state of every random choice, since batches are a pure function of seed and
    step (text/batches.py).
    """
    parts = {"model": trainer.model.state(), "optimizer": trainer.optimizer.state()}
    if recorder:
        parts["recorder"] = recorder.state()
    arrays = {f"{part}/{name}": array for part, state in parts.items() for name, array in state.items()}
    write_arrays(path, arrays, {"kind": "training", "steps_done": trainer.steps_done} | facts)


def load_training(path, trainer, recorder=None):
    """Put a trainer, made as it was made then, where `save_training` left it. Returns the facts saved with it."""
    arrays, meta = read_arrays(path)
    if meta["kind"] != "training":
        raise CheckpointError(f"{path} holds a {meta['kind']}, not the state of a run that was interrupted")
    owners = {"model": trainer.model, "optimizer": trainer.optimizer} | ({"recorder": recorder} if recorder else {})
    for part, owner in owners.items():
        try:
            owner.load_state({name.split("/")[1]: array for name, array in arrays.items() if name.startswith(f"{part}/")})
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{path} belongs to another run: {error}") from None
    trainer.steps_done = meta["steps_done"]
    return meta
