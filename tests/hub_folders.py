"""What the tests of the hub share: random models of every family, their folders, and how to spoil those."""

import importlib.util
import json
import struct

import numpy as np
import pytest

from minillm.gradcheck import perturb
from minillm.hub.folders import export
from minillm.nn import ARCHITECTURES, GPT, Config
from minillm.runs.saved import Loaded
from minillm.text.tokenizer import IdTokenizer

with_safetensors = pytest.mark.skipif(importlib.util.find_spec("safetensors") is None, reason="safetensors is not installed")
FAMILIES = ("gpt2", "llama", "starcoder2")


def config_of(family, rng, **more):
    """A random Config that transformers can express as this family."""
    H = int(rng.integers(1, 5))
    D = 2 * int(rng.integers(1, 5))
    sizes = {"vocab_size": int(rng.integers(2, 80)), "context": int(rng.integers(3, 20)), "n_layer": int(rng.integers(1, 4)),
             "n_head": H, "n_embd": H * D, "n_hidden": int(rng.integers(1, 40)), "tied": bool(rng.integers(2)),
             "norm_eps": float(rng.choice([1e-5, 1e-6]))}
    if family == "gpt2":
        sizes["activation"] = str(rng.choice(["gelu", "relu"]))
    else:
        K = int(rng.choice([k for k in range(1, H + 1) if H % k == 0]))
        sizes |= {"n_kv_head": K if K < H else None, "rope_base": float(rng.choice([100, 10_000, 500_000]))}
    if family == "llama":
        sizes |= ARCHITECTURES["llama"] | {"biases": str(rng.choice(["all", "attention", "mlp", "none"]))}
    if family == "starcoder2":
        sizes |= {"positions": "rotary", "biases": str(rng.choice(["all", "none"]))}
    return Config(**sizes | more)


def model_of(family, seed=0, dtype=np.float32, **more):
    """A random model of a family, every number of it off its starting value."""
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    model = GPT(config_of(family, rng, **more), rng, dtype)
    perturb(model, rng, 0.2)
    return model


def loaded(model):
    return Loaded(model, IdTokenizer(model.config.vocab_size))


def tokens_for(model, seed=0, rows=2):
    c = model.config
    return np.random.default_rng(seed).integers(0, c.vocab_size, (rows, c.context))


def difference(ours, theirs):
    """The largest difference, relative to the largest entry."""
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def same(model, other):
    """Are all weights the same, bit for bit?"""
    mine, others = model.state_dict(), other.state_dict()
    return mine.keys() == others.keys() and all(np.array_equal(mine[name], others[name]) for name in mine)


def folder_of(path, family, seed=0, **more):
    """The folder of a random model; returns the model."""
    model = model_of(family, seed, **more)
    export(loaded(model), path)
    return model


# ---- safetensors by hand

def contents(path):
    """The header and the bytes after it."""
    content = path.read_bytes()
    n, = struct.unpack("<Q", content[:8])
    return json.loads(content[8:8 + n]), content[8 + n:]


def write_contents(path, header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def arrays_in(path):
    """{name: float32 array} of a file of ours."""
    header, body = contents(path)
    header.pop("__metadata__", None)
    return {name: np.frombuffer(body[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
            for name, entry in header.items()}


def write_arrays_as(path, arrays, dtype="F32"):
    """A file with these arrays in a type of less precision."""
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        if dtype == "BF16":
            content = (np.ascontiguousarray(array, "<f4").view("<u4") >> 16).astype("<u2").tobytes()
        else:
            content = array.astype({"F32": "<f4", "F16": "<f2", "F64": "<f8"}.get(dtype, "<f4")).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    write_contents(path, header, body)


def settings(path, **changes):
    """Change a file of JSON; a value of ... takes the name out."""
    content = json.loads(path.read_text())
    content |= changes
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))
    return content
