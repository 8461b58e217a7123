"""Loading a saved model of any kind, ready to use: one that stands alone, or an adapter on its base."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from ..finetune.adapter_file import base_of
from ..finetune.adapters import Adapters
from ..ground.arrays import Arrays
from ..ground.files import CheckpointError
from ..nn import GPT
from ..tasks import task_from_json
from ..text.tokenizer import Tokenizer
from ..train.checkpoint import read_model
from ..train.old_names import current_recipe


@dataclass
class Loaded:
    """A model with its tokenizer, and the metadata and the path of its file."""

    model: GPT
    tokenizer: Tokenizer
    meta: dict = field(default_factory=dict)
    path: Path | None = None

    def task(self, workers=None):
        """The task that the model has learned. CheckpointError if its file names none, or if the task's text is missing."""
        if "task" not in self.meta:
            raise CheckpointError(f"{self.path or 'this model'} does not say what it has learned, so it cannot be evaluated "
                                  "on that; give a --text or --pairs where the command takes one")
        try:
            return task_from_json(self.meta["task"], self.tokenizer, workers, self.path.parent if self.path else None)
        except ValueError as error:
            raise CheckpointError(f"{self.path or 'this model'}: the task that it learned cannot be loaded ({error})") from None


def load(path, base=None):
    """A saved model, ready to use; of an adapter, its base with the adapter put on.

    base        the file of the base model; by default the one that is named in the adapter's file
    CheckpointError if a file is broken or of the wrong kind, and if the base is not the one that the adapter was trained on.
    """
    path = Path(path)
    with Arrays(path) as file:
        meta = file.meta
        if meta["kind"] == "model":
            return Loaded(*read_model(file), meta, path)
        if meta["kind"] == "training":
            file.refuse("holds the state of an unfinished run; continue that with --resume")
        if meta["kind"] != "adapter":
            file.refuse(f"holds a {meta['kind'][:40]}, not a model")
    named = base_of(meta, path)
    base_path = Path(base) if base else path.parent / named["path"]
    if not os.path.exists(base_path):
        raise CheckpointError(f"{path} is an adapter, and its base model is not at {base_path}; put it back, or name it "
                              "with --base where the command takes one")
    with Arrays(base_path, "model") as file:
        loaded = Loaded(*read_model(file), file.meta, base_path)
    adapters = Adapters(loaded.model)
    if named["fingerprint"] not in adapters.fingerprints:
        raise CheckpointError(f"{path} was trained on another base than {base_path}: the fingerprints differ; the right one is "
                              "named with --base, where the command takes one")
    adapters.load(path.stem, path)
    return Loaded(loaded.model, loaded.tokenizer, meta | {"recipe": current_recipe(meta["recipe"])}, path)
