"""Adapters as folders of peft, both ways: adapter_config.json and adapter_model.safetensors, for a base that is elsewhere."""

import json
from pathlib import Path

import numpy as np

from ..finetune.methods.dora import DoRALinear
from ..finetune.methods.ia3 import ScaledInputs, ScaledOutputs
from ..finetune.methods.lora import LoRALinear
from ..finetune.methods.prefix import PrefixedHeads
from ..finetune.methods.prompt import Prompted
from ..finetune.wrapper import inserted, must_be_bare
from ..ground.files import CheckpointError, write_text
from .config_file import type_for
from .note import NOTE, is_ours, read_note, write_folder
from .peft_config import read_adapter_config
from .peft_linear import read_low_rank, read_scales, write_low_rank, write_scales
from .peft_prompts import read_prefix, read_prompt, write_prefix, write_prompt
from .plain import base_fingerprint
from .safetensors_file import package, weights_in, write_tensors

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
WRITERS = {LoRALinear: write_low_rank, DoRALinear: write_low_rank, ScaledInputs: write_scales, ScaledOutputs: write_scales,
           PrefixedHeads: write_prefix, Prompted: write_prompt}
READERS = {"LORA": read_low_rank, "IA3": read_scales, "PREFIX_TUNING": read_prefix, "PROMPT_TUNING": read_prompt}


def writer_of(model):
    """The function that writes what is inserted into a model, or None if peft has nothing like it."""
    writers = {WRITERS.get(type(slot.module)) for slot in inserted(model)}
    return writers.pop() if len(writers) == 1 else None


def to_peft(model, folder):
    """Write what is inserted into a model as a folder of peft. ValueError if peft cannot express it."""
    _, model_type = type_for(model.config)
    added = {p for slot in inserted(model) for p in slot.module.added_parameters()}
    body = [name for name, p in model.trainable_parameters().items() if p not in added]
    if body:
        raise ValueError(f"{body[0]} of the base trains as well, and a folder of peft holds only what was inserted")
    config, arrays = writer_of(model)(model, model_type.family)
    files = {ADAPTER_CONFIG: lambda path: write_text(path, json.dumps(config, indent=2) + "\n"),
             ADAPTER_WEIGHTS: lambda path: write_tensors(path, arrays)}
    package()                                               # or else nothing is begun
    write_folder(folder, files, base=base_fingerprint(model))


def from_peft(folder, model):
    """Put the adapter in a folder into its base; returns the recipe. CheckpointError if it is broken, or does not fit.

    An adapter that minillm wrote is refused on any base but its own. Of others nothing tells: any base of the same shape will do.
    """
    folder = Path(folder)
    config = read_adapter_config(folder / ADAPTER_CONFIG)
    tensors = weights_in(folder, "adapter_model")
    try:
        must_be_bare(model)
        _, model_type = type_for(model.config)
        check_base(folder, model)
        with np.errstate(over="ignore", invalid="ignore"):      # found below
            recipe = READERS[config["peft_type"]](model, model_type.family, config, tensors)
        odd = [name for name, p in model.trainable_parameters().items() if not np.isfinite(p.data).all()]
        if odd:
            raise ValueError(f"with its scale, {odd[0]} would be NaN or infinity")
        return recipe
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{folder} is no adapter for this base: {error}") from None


def check_base(folder, model):
    """CheckpointError if the note in a folder names another base for the weights beside it."""
    note = read_note(folder)
    if not note or "base" not in note or not is_ours(folder, ADAPTER_WEIGHTS, note["files"]):
        return
    if note["base"] != base_fingerprint(model):
        raise CheckpointError(f"{folder} is an adapter for another base: the fingerprint in its {NOTE} is not that of this base; "
                              "name the base that it was trained on")
