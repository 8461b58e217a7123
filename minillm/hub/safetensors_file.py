"""Files in the format safetensors: a header of JSON that says where each array is, then the arrays, byte for byte.

    8 bytes                 the length n of the header
    n bytes of JSON         {name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
    the rest                the arrays, end to end

A file is not believed. Its header is read within bounds first; then the package `safetensors` opens it, and so checks that the
arrays lie end to end and fill the file. Only then is an array read, where the header says. What is written is checked likewise.
"""

import json
import math
import struct
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..ground.files import JSON_BYTES, CheckpointError, opened, parsed, read_bytes, written_whole
from ..ground.schema import many, record, table, text, whole

DTYPES = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
METADATA = {"format": "pt"}      # what transformers expects
ENTRY = record({"dtype": text(20), "shape": many(whole(), most=16), "data_offsets": many(whole(), 2, 2)})
INDEX = record({"weight_map": table(text(1000))})


def package():
    """The package `safetensors`. ValueError says how to install it."""
    try:
        import safetensors
    except ImportError:
        raise ValueError("files of transformers and peft need the package safetensors; install it: pip install 'minillm[hub]'"
                         ) from None
    return safetensors


class Tensor(NamedTuple):
    """Where an array is, and what it is."""

    name: str
    path: Path
    dtype: str
    shape: tuple
    start: int

    def read(self, dtype=np.float32):
        """The array in float32 or float64. CheckpointError for numbers of another kind, NaN and infinity."""
        if self.dtype not in DTYPES:
            raise CheckpointError(f"{self.path} holds numbers of the type {self.dtype}, in {self.name[:100]!r}; minillm reads "
                                  f"{', '.join(DTYPES)}")
        raw = np.fromfile(self.path, DTYPES[self.dtype], math.prod(self.shape), offset=self.start)
        if self.dtype == "BF16":                            # the upper half of a float32
            raw = (raw.astype(np.uint32) << 16).view(np.float32)
        array = raw.astype(dtype, copy=False).reshape(self.shape)
        if not np.isfinite(array).all():
            raise CheckpointError(f"{self.path} holds NaN or infinity in {self.name[:100]!r}, so no model can be made of it")
        return array


def headers(path):
    """{name: Tensor} of a file. CheckpointError if it is not whole, or contradicts itself."""
    path = Path(path)
    with opened(path, "file of weights (.safetensors)") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= JSON_BYTES:
            raise CheckpointError(f"{path} is not a safetensors file: its first 8 bytes do not give the length of a header")
        content = file.read(length)
    if len(content) < length:
        raise CheckpointError(f"{path} ends within its header; was its download cut short?")
    header, library = parsed(content, path), package()
    try:
        with library.safe_open(path, framework="np"):
            pass
    except Exception as error:      # SafetensorError, or what the package makes of odd bytes
        reason = " ".join(str(error).rpartition("header: ")[2].split())[:150]
        raise CheckpointError(f"{path} is not a whole safetensors file ({reason}); was its download cut short?") from None
    header.pop("__metadata__", None)
    try:
        for name, entry in header.items():
            ENTRY(entry, name[:60])
    except ValueError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from None
    return {name: Tensor(name, path, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
            for name, entry in header.items()}


def weights_in(folder, stem="model"):
    """{name: Tensor} of the weights in a folder: STEM.safetensors, or shards that STEM.safetensors.index.json lists."""
    folder = Path(folder)
    whole_file, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if whole_file.exists() or not index.exists():
        if not whole_file.exists():
            refuse_other_formats(folder, whole_file)
        return headers(whole_file)
    places = read_index(index)
    shards = {name: headers(folder / name) for name in sorted(set(places.values()))}
    held = Counter(name for shard in shards.values() for name in shard)
    twice = next((name for name in places if held[name] > 1), None)
    if twice is not None:
        raise CheckpointError(f"{folder} contradicts itself: {twice[:60]!r} is in {held[twice]} of its files")
    missing = next((name for name, shard in places.items() if name not in shards[shard]), None)
    if missing is not None:
        raise CheckpointError(f"{index} says that {missing[:60]!r} is in {places[missing][:60]}, but it is not")
    return {name: shards[shard][name] for name, shard in places.items()}


def read_index(path):
    """{name of an array: name of its file}"""
    content = parsed(read_bytes(path, JSON_BYTES, "list of shards"), path)
    try:
        places = INDEX(content, "it")["weight_map"]
    except ValueError as error:
        raise CheckpointError(f"{path} does not list the files of a model: {error}") from None
    for name in places.values():
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(f"{path} names {name[:60]!r}, which is not a file beside it that ends in .safetensors")
        if not (path.parent / name).exists():
            raise CheckpointError(f"{path.parent / name} is missing, one of the {len(set(places.values()))} files of this model; "
                                  "download it again")
    return places


def refuse_other_formats(folder, wanted):
    """CheckpointError: there are no weights, or they are a pickle, which may run any program when it is opened."""
    pickles = sorted(path for pattern in ("*model*.bin", "*.pth", "*.pt") for path in folder.glob(pattern))
    if pickles:
        raise CheckpointError(f"{pickles[0]} is a pickle, which can run any program when it is opened, so minillm never "
                              "opens one; convert it where you trust it: model.save_pretrained(FOLDER) of transformers or peft "
                              "writes safetensors")
    raise CheckpointError(f"there is no file {wanted}")


def write_tensors(path, arrays):
    """Write {name: array} of float32 or float64, whole or not at all. Views are copied one at a time, to save memory.

    ValueError for NaN and infinity: nobody could read them.
    """
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} would hold NaN or infinity in a file of {path.parent}, so it is not written")
    header, start = {"__metadata__": METADATA}, 0
    for name, array in sorted(arrays.items()):
        header[name] = {"dtype": f"F{8 * array.itemsize}", "shape": array.shape, "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)                         # so that the arrays begin at a multiple of 8 bytes
    with written_whole(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, array in sorted(arrays.items()):
                file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")))
        headers(temporary)                                  # in the eyes of the package, too, it is right
