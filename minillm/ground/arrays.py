"""Files of arrays: an .npz is a zip archive of .npy files and a readable meta.json, which says what it is.

`unzip -p model.npz meta.json` shows it. Nothing is built from a file before its names, shapes, types and sizes are known to be
what they should be: it may be broken, or made to do harm. No pickle; and nothing compressed, so that no array is larger than its
file.
"""

import json
import math
import os
import struct
import warnings
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .files import JSON_BYTES, CheckpointError, opened, parsed, written_whole

FORMAT = 2                  # of an .npz; goes up when an older program could no longer read what a newer one writes
META = "meta.json"
HEADER_BYTES = 10_000       # of a .npy, as in NumPy
DIRECTORY_BYTES = 4 << 20   # of a zip archive, which is read at once
DTYPES = {np.dtype(kind) for kind in ("<f4", "<f8", "<i4", "<i8")}


def write_arrays(path, arrays, meta):
    """arrays {name: array} and meta, anything JSON can say, into one file."""
    import zipfile  # in the functions that need it: with hashlib, a tenth of the time that importing minillm takes

    meta_json = json.dumps({"format": FORMAT} | meta, indent=None if len(meta.get("history", ())) else 1)
    with written_whole(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(META, meta_json, zipfile.ZIP_DEFLATED)


def read_arrays(path, *kinds, finite=True):
    """The inverse of `write_arrays`: arrays, meta. CheckpointError if the file is missing, broken, of another format or kind."""
    with Arrays(path, *kinds) as file:
        return file.read_all(finite), file.meta


def read_meta(path, *kinds):
    """Only what a file says of itself."""
    with Arrays(path, *kinds) as file:
        return file.meta


class Header(NamedTuple):
    """What a .npy says of itself, in so many bytes."""

    shape: tuple
    dtype: np.dtype
    fortran: bool
    length: int

    @property
    def size(self):
        return math.prod(self.shape)


class Arrays:
    """An .npz, open: its meta.json is read, and of its arrays what they are. Use it in a `with`.

    meta        of meta.json
    headers     {name: Header}; the sizes are those of the bytes that are there
    Every method raises CheckpointError, with the file's name.
    """

    def __init__(self, path, *kinds):
        """kinds: what the file may hold (meta["kind"]); all, if none are given."""
        self.path = Path(path)
        self._opened = opened(path, ".npz file")
        self._file = self._opened.__enter__()
        try:
            with self._one_error():
                self._read_directory()
                self.headers = {info.filename[:-4]: self._header(info) for info in self._infos.values()
                                if info.filename != META}
            self._read_meta(kinds)
        except BaseException:
            self._opened.__exit__(None, None, None)
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self._opened.__exit__(*error)

    @contextmanager
    def _one_error(self):
        """Spoiled bytes can make zipfile, json and NumPy fail in very many ways: all become one CheckpointError."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except CheckpointError:
            raise
        except Exception as error:
            reason = str(error).split("\n")[0][:150] or type(error).__name__
            raise CheckpointError(f"{self.path} is not a whole checkpoint of minillm ({reason}); was its writing or copying cut "
                                  "short?") from None

    def _read_directory(self):
        import zipfile

        size = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(0, size - 65_557))                      # the end of a zip archive, with its longest comment
        tail = self._file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) < at + 22:
            raise ValueError("it is no zip archive")
        length, = struct.unpack("<I", tail[at + 12:at + 16])
        if length > DIRECTORY_BYTES and not (length == 0xFFFFFFFF and size > 0xFFFFFFFF):
            raise ValueError("its directory is too long")
        self._archive = zipfile.ZipFile(self._file)
        infos = self._archive.infolist()
        self._infos = {info.filename: info for info in infos}
        if len(self._infos) < len(infos):
            raise ValueError("two of its parts have one name")
        if META not in self._infos:
            raise ValueError(f"there is no {META} in it")

    def _read_meta(self, kinds):
        with self._one_error(), self._archive.open(META) as file:
            if self._infos[META].file_size > JSON_BYTES:
                raise ValueError(f"its {META} is too long")
            content = file.read(JSON_BYTES + 1)
        meta = parsed(content, self.path)
        if not isinstance(meta, dict) or not isinstance(meta.get("kind"), str):
            raise CheckpointError(f"{self.path} is not a checkpoint of minillm: its {META} does not say what it holds")
        if not isinstance(meta.get("format"), int) or meta["format"] != FORMAT or isinstance(meta["format"], bool):
            self.refuse(f"has format {str(meta.get('format'))[:40]}, but this version of minillm reads format {FORMAT}; write it "
                        "again with this version")
        if kinds and meta["kind"] not in kinds:
            raise CheckpointError(f"{self.path} holds a {meta['kind'][:40]}, not {' or '.join(map(article, kinds))}")
        self.meta = meta

    def _header(self, info):
        """Of one .npy, without reading more of it."""
        import zipfile

        if not info.filename.endswith(".npy"):
            raise ValueError(f"{info.filename[:60]!r} is no array")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{info.filename[:60]!r} is compressed, and minillm keeps its arrays as they are")
        with self._archive.open(info) as file:
            magic = file.read(10)
            if magic[:8] != b"\x93NUMPY\x01\x00" or len(magic) < 10:
                raise ValueError(f"{info.filename[:60]!r} is no array of NumPy's format 1.0")
            length, = struct.unpack("<H", magic[8:])
            if length > HEADER_BYTES:
                raise ValueError(f"the header of {info.filename[:60]!r} is too long")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(BytesIO(magic[8:] + file.read(length)))
        header = Header(shape, dtype, fortran, 10 + length)
        if dtype not in DTYPES or any(isinstance(n, bool) or n < 0 for n in shape) or len(shape) > 16:
            raise ValueError(f"{info.filename[:60]!r} has a type or shape that minillm does not write: {str(dtype)[:60]}, "
                             f"{str(shape)[:60]}")
        if info.file_size != header.length + header.size * dtype.itemsize:
            raise ValueError(f"{info.filename[:60]!r} has other sizes than it says")
        return header

    def refuse(self, reason):
        raise CheckpointError(f"{self.path} {reason}")

    def expect(self, wanted):
        """CheckpointError unless names, shapes and types are those of `wanted`, {name: array or Header}; none of them is read."""
        odd = sorted(wanted.keys() ^ self.headers.keys())
        if odd:
            where = "is missing in it" if odd[0] in wanted else "is in it and should not be"
            self.refuse(f"does not hold what it should: {odd[0][:60]!r} {where} ({len(odd)} such names)")
        for name, like in wanted.items():
            here = self.headers[name]
            if here.shape != like.shape or here.dtype != like.dtype:
                self.refuse(f"does not hold what it should: {name[:60]!r} has shape {here.shape} and type {here.dtype}, "
                            f"not {like.shape} and {like.dtype}")

    def read(self, name, finite=True):
        """One array. With `finite`, all of it must be numbers."""
        header = self.headers[name]
        with self._one_error():
            array = np.empty(header.shape[::-1] if header.fortran else header.shape, header.dtype)
            with self._archive.open(f"{name}.npy") as file:
                file.read(header.length)
                buffer = memoryview(array.reshape(-1)).cast("B") if array.size else memoryview(b"")
                done = 0
                while done < len(buffer):
                    n = file.readinto(buffer[done:done + (1 << 20)])
                    if not n:
                        raise ValueError(f"{name[:60]!r} ends too soon")
                    done += n
                file.read(1)                                    # at its very end the check sum is compared
        if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            self.refuse(f"holds what is no number: {np.count_nonzero(~np.isfinite(array))} of {array.size} in {name[:60]!r}; the "
                        "run that made it went wrong, so take a file of before")
        return array.T if header.fortran else array

    def read_all(self, finite=True):
        """{name: array}"""
        return {name: self.read(name, finite) for name in self.headers}


def article(kind):
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
