"""Whole models as folders of transformers, both ways: config.json, model.safetensors, tokenizer.json."""

import json
import os
import re
from pathlib import Path

import numpy as np

from ..ground.files import CheckpointError, write_text
from ..nn import GPT
from ..runs.saved import Loaded
from ..text.bpe import BPETokenizer
from ..text.tokenizer import IdTokenizer
from ..train.blueprint import NoNumbers, blueprint, n_parameters
from ..train.costs import must_fit
from .config_file import config_json, read_config, type_for
from .names import IGNORED, places
from .note import write_folder
from .plain import plain
from .safetensors_file import package, weights_in, write_tensors
from .tokenizer_file import read_tokenizer, write_tokenizer

CONFIG, WEIGHTS, TOKENIZER, SETTINGS = "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"


# Reading.

def from_folder(folder, context=None, ids=False):
    """The model in a folder of transformers, as `load` gives one. CheckpointError says what is broken, missing or unknown here.

    context     a smaller one than the model's own
    ids         leave the tokenizer out: texts are then numbers
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}" if not folder.exists() else
                              f"{folder} is a file; give the folder, with its {CONFIG}")
    config, model_type, ends = read_config(folder / CONFIG, context)
    tokenizer = None if ids else tokenizer_in(folder, config, ends)
    model = read_weights(folder, config, model_type, context)
    return Loaded(model, tokenizer or IdTokenizer(config.vocab_size), {"kind": "model", "imported": model_type.architecture},
                  folder)


def read_weights(folder, config, model_type, context=None):
    """The model. Nothing is built until the sizes in config.json are known to be those of the weights."""
    family = model_type.family
    tensors = with_prefix(folder, weights_in(folder), family)
    if context:
        tensors = cut(tensors, family.positions, context)
    expect(folder, tensors, places(blueprint(config), family), model_type)
    pattern = re.compile(re.escape(family.blocks) + r"\.(\d{1,9})\.")
    blocks = {int(match[1]) for match in map(pattern.match, tensors) if match}
    if len(blocks) != config.n_layer:
        raise CheckpointError(f"{folder} contradicts itself: its weights have {len(blocks)} blocks, and its config.json says "
                              f"{config.n_layer}")
    n, dtype = n_parameters(config), np.dtype(np.float64 if any(t.dtype == "F64" for t in tensors.values()) else np.float32)
    try:
        must_fit(dtype.itemsize * n, f"a model of {n:,d} parameters", "it cannot be loaded here")
    except ValueError as error:
        raise CheckpointError(f"{folder}: {error}") from None
    model = GPT(config, NoNumbers(), dtype)
    wanted = places(model, family)
    expect(folder, tensors, wanted, model_type)
    refuse_unexpected(folder, tensors, wanted, model_type)
    fill(wanted, tensors, dtype)
    return model


def with_prefix(folder, tensors, family):
    """The arrays by their full names: a file of a model without its output layer leaves out the first word."""
    first = family.blocks.split(".")[0]
    full = {name: name if name.startswith((f"{first}.", "lm_head.")) else f"{first}.{name}" for name in tensors}
    twice = next((name for name in full if name != full[name] and full[name] in tensors), None)
    if twice is not None:
        raise CheckpointError(f"{folder} contradicts itself: it holds both {twice[:60]!r} and {full[twice][:60]!r}")
    return {full[name]: tensor for name, tensor in tensors.items()}


def cut(tensors, name, rows):
    """The arrays, of which the one of this name, if there is one, keeps so many of its rows."""
    if name in tensors and len(tensors[name].shape) == 2 and tensors[name].shape[0] > rows:
        return tensors | {name: tensors[name]._replace(shape=(rows, tensors[name].shape[1]))}
    return tensors


def expect(folder, tensors, wanted, model_type):
    """CheckpointError unless there is an array of the right shape for each Place."""
    for name, place in wanted.items():
        if name not in tensors:
            if name.endswith(model_type.lacks):
                continue
            raise CheckpointError(f"{folder} lacks the weights {name[:100]!r}")
        tensor = tensors[name]
        if tensor.shape != place.shape:
            raise CheckpointError(f"{folder} contradicts itself: {name[:100]!r} has the shape {tensor.shape}, and by its "
                                  f"config.json it should be {place.shape}")


def refuse_unexpected(folder, tensors, wanted, model_type):
    """CheckpointError for an array that has no place in the model here, or in that there: the other would compute without it."""
    family = model_type.family
    for name in sorted(name for name in tensors if name.endswith(model_type.lacks)):
        raise CheckpointError(f"{folder} holds {name[:100]!r}, which no {model_type.architecture} has")
    for name in sorted(tensors.keys() - wanted.keys()):
        if name == family.head:                             # "tied", and yet written
            head, words = tensors[name], tensors[family.words]
            if (head.shape, head.dtype) != (words.shape, words.dtype) or (head.read() != words.read()).any():
                raise CheckpointError(f"{folder} contradicts itself: its config.json says that the output layer is the table of "
                                      "words, but its file holds another one")
        elif not re.fullmatch(IGNORED, name):
            raise CheckpointError(f"{folder} holds the weights {name[:100]!r}, which no model of its kind has here")


def fill(wanted, tensors, dtype):
    """Read each array into its Place; zeros, where there is none."""
    fresh = {}
    for name, place in wanted.items():
        p = place.parameter
        if p not in fresh:
            fresh[p] = p.data = np.zeros(p.shape, dtype)
        if name in tensors:
            p.data[..., place.columns] = place.ours(tensors[name].read(dtype))


def tokenizer_in(folder, config, ends):
    """The tokenizer of a folder, or None if there is none. CheckpointError if it is not of this model, or unknown here.

    ends    the ids that end a text, by config.json: a chat ends with another sign than a document
    """
    path = folder / TOKENIZER
    if not os.path.lexists(path):
        return None
    try:
        tokenizer = read_tokenizer(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; with --ids it is left out") from None
    if len(tokenizer) > config.vocab_size:
        raise CheckpointError(f"{path} has {len(tokenizer)} tokens, and the model only {config.vocab_size}: they do not belong "
                              "together")
    if isinstance(tokenizer, BPETokenizer):
        tokenizer.end = next((end for end in ends if end < len(tokenizer)), tokenizer.end)
    return tokenizer


# Writing.

def to_folder(loaded, folder):
    """Write a model as a folder that transformers loads. ValueError if no model there computes what this one does."""
    model, tokenizer = plain(loaded.model), loaded.tokenizer
    _, model_type = type_for(model.config)
    config = config_json(model.config, model.wte.weight.data.dtype) | signs(tokenizer)
    files = {CONFIG: lambda path: write_text(path, json.dumps(config, indent=2) + "\n"),
             WEIGHTS: lambda path: write_tensors(path, {name: place.theirs(place.parameter.data[..., place.columns])
                                                        for name, place in places(model, model_type.family).items()})}
    if not isinstance(tokenizer, IdTokenizer):              # or else a text cannot be written with it
        files |= {TOKENIZER: lambda path: write_tokenizer(tokenizer, path),
                  SETTINGS: lambda path: write_text(path, tokenizer_settings(tokenizer, model.config))}
    package()                                               # or else nothing is begun
    if TOKENIZER not in files and os.path.lexists(Path(folder) / TOKENIZER):
        raise ValueError(f"{folder} has a {TOKENIZER}, which this model does not; choose another folder")
    write_folder(folder, files)


def signs(tokenizer):
    """The ids of the signs at the beginning and end of a text, for config.json."""
    return {"bos_token_id": tokenizer.begin, "eos_token_id": tokenizer.end, "pad_token_id": None}


def tokenizer_settings(tokenizer, config):
    """tokenizer_config.json: what transformers wants to know of a tokenizer besides."""
    named = {f"{name.split('_')[0]}_token": tokenizer.tokens[i] for name, i in signs(tokenizer).items() if i is not None}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": config.context,
                "clean_up_tokenization_spaces": False} | named
    return json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
