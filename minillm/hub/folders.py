"""From and to folders of Hugging Face's transformers and peft, whatever is in them."""

import json
from pathlib import Path

from ..finetune.methods import to_json
from ..ground.files import CheckpointError
from ..runs.saved import Loaded, load
from ..train.checkpoint import fingerprint
from .models import from_folder, to_folder
from .peft_folder import ADAPTER_CONFIG, from_peft, to_peft, writer_of


def is_adapter(folder):
    """Is this a folder of peft?"""
    return (Path(folder) / ADAPTER_CONFIG).exists()


def from_pretrained(folder, base=None, context=None, ids=False):
    """A model in a folder of transformers, or an adapter in a folder of peft, ready to use: what `load` gives of a file.

        loaded = from_pretrained("SmolLM2-135M", context=2048)
        loaded = from_pretrained("my-lora", base=loaded)            # the base is changed: the adapter is on

    base        of an adapter: its base, from `load` or `from_pretrained`, or the path of its file
    context     of a model: a smaller one than its own, for caches have room for a whole context
    ids         of a model: leave its tokenizer out
    CheckpointError names what is broken, missing, or not known here; ValueError says what to install.
    """
    if not is_adapter(folder):
        return from_folder(folder, context, ids)
    if base is None:
        raise CheckpointError(f"{folder} is an adapter of peft; name the model that it belongs to as its base")
    base = base if isinstance(base, Loaded) else load(base)
    of_base = fingerprint(base.model)
    recipe = from_peft(folder, base.model)
    meta = {"kind": "adapter", "recipe": json.loads(json.dumps(to_json(recipe))),                       # as a file has it
            "base": {"path": str(base.path or ""), "fingerprint": of_base}}
    return Loaded(base.model, base.tokenizer, meta, Path(folder))


def export(loaded, folder):
    """Write a model as a folder of transformers; what is inserted into it, if peft has the like, as a folder of peft instead.

    loaded      from `load` or `from_pretrained`, or Loaded(model, tokenizer)
    Returns "model" or "adapter", which it was. ValueError says why a model cannot be expressed there.
    """
    if not isinstance(loaded, Loaded):
        raise TypeError(f"export takes what `load` returns, a model with its tokenizer, and not a {type(loaded).__name__}")
    if writer_of(loaded.model):
        to_peft(loaded.model, folder)
        return "adapter"
    to_folder(loaded, folder)
    return "model"
