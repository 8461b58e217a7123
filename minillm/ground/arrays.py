"""Files of arrays: an .npz is a zip archive of .npy files and a readable meta.json, which says what the file holds.

`unzip -p model.npz meta.json` shows it. A file may be broken or malicious, so nothing is built from it until its names, shapes,
types and sizes have been checked. There is no pickle and no compressed array, so no array is larger than its file.
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

from .files import JSON_BYTES, CheckpointError, opened, parsed, share_of_limits, written_whole
from .schema import article

FORMAT = 2                  # of an .npz; goes up when older programs could no longer read what newer ones write
META = "meta.json"
HEADER_BYTES = 10_000       # of a .npy, as in NumPy
DIRECTORY_BYTES = 4 << 20   # of a zip archive, which is read all at once
DTYPES = {np.dtype(kind) for kind in ("<f4", "<f8", "<i4", "<i8")}


def write_arrays(path, arrays, meta):
    """Write arrays {name: array} and meta (anything JSON can express) into one file.

    TypeError if `Arrays` would refuse one of the arrays, ValueError if there is more of meta than it reads.
    """
    import zipfile  # in the functions that need it: with hashlib, it takes a tenth of the time of importing minillm

    for name, array in arrays.items():
        if (dtype := np.asarray(array).dtype) not in DTYPES:
            raise TypeError(f"{name} is of type {dtype}; files hold {', '.join(sorted(map(str, DTYPES)))}")
    meta_json = encoded({"format": FORMAT} | meta, indent=None if len(meta.get("history", ())) else 1)
    if share_of_limits(meta_json) > 1:
        raise ValueError(f"{path} is not written: its {META} of {len(meta_json):,d} bytes would be more than can be read again")
    with written_whole(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(META, meta_json, zipfile.ZIP_DEFLATED)


def encoded(value, indent=None):
    """A value as the bytes of its JSON. Other scripts stand as they are, which takes a third of the bytes of escapes.

    Half a character, as in the name of a file that is not UTF-8, has no bytes of its own: it becomes "\\ud8..", JSON's escape.
    """
    return json.dumps(value, ensure_ascii=False, indent=indent).encode(errors="backslashreplace")


def read_arrays(path, *kinds, finite=True):
    """The inverse of `write_arrays`: arrays, meta. CheckpointError if the file is missing, broken, of another format or kind."""
    with Arrays(path, *kinds) as file:
        return file.read_all(finite), file.meta


def read_meta(path, *kinds):
    """The meta.json of a file, without reading its arrays."""
    with Arrays(path, *kinds) as file:
        return file.meta


class Header(NamedTuple):
    """The header of a .npy file: what it says of its array, and how many bytes the header takes (`length`)."""

    shape: tuple
    dtype: np.dtype
    fortran: bool
    length: int

    @property
    def size(self):
        return math.prod(self.shape)


class Arrays:
    """An open .npz: its meta.json and the headers of its arrays have been read, the arrays have not. Use it in a `with`.

    meta        the content of meta.json
    headers     {name: Header}; the sizes agree with the bytes in the file
    Every method raises CheckpointError, with the file's name.
    """

    def __init__(self, path, *kinds):
        """kinds: the kinds of file allowed (meta["kind"]); any kind, if none are given."""
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
        """Corrupt bytes make zipfile, json and NumPy raise many kinds of exceptions: turn them all into CheckpointError."""
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
        self._file.seek(max(0, size - 65_557))                      # the end record of a zip archive, with the longest comment
        tail = self._file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) < at + 22:
            raise ValueError("it is not a zip archive")
        length, = struct.unpack("<I", tail[at + 12:at + 16])
        if length > DIRECTORY_BYTES and not (length == 0xFFFFFFFF and size > 0xFFFFFFFF):
            raise ValueError("its directory is too long")
        self._archive = zipfile.ZipFile(self._file)
        infos = self._archive.infolist()
        self._infos = {info.filename: info for info in infos}
        if len(self._infos) < len(infos):
            raise ValueError("two of its parts have the same name")
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
        """The Header of one .npy, without reading its array."""
        import zipfile

        if not info.filename.endswith(".npy"):
            raise ValueError(f"{info.filename[:60]!r} is not an array")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{info.filename[:60]!r} is compressed, but minillm never compresses arrays")
        with self._archive.open(info) as file:
            magic = file.read(10)
            if magic[:8] != b"\x93NUMPY\x01\x00" or len(magic) < 10:
                raise ValueError(f"{info.filename[:60]!r} is not an array of NumPy's format 1.0")
            length, = struct.unpack("<H", magic[8:])
            if length > HEADER_BYTES:
                raise ValueError(f"the header of {info.filename[:60]!r} is too long")
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(BytesIO(magic[8:] + file.read(length)))
        header = Header(shape, dtype, fortran, 10 + length)
        if dtype not in DTYPES or any(isinstance(n, bool) or n < 0 for n in shape) or len(shape) > 16:
            raise ValueError(f"{info.filename[:60]!r} has a type or shape that minillm does not write: {str(dtype)[:60]}, "
                             f"{str(shape)[:60]}")
        if info.file_size != header.length + header.size * dtype.itemsize:
            raise ValueError(f"{info.filename[:60]!r} does not have the size that its header gives")
        return header

    def refuse(self, reason):
        raise CheckpointError(f"{self.path} {reason}")

    def expect(self, expected):
        """CheckpointError unless names, shapes and types are those of `expected`, {name: array or Header}. Reads no array."""
        mismatched = sorted(expected.keys() ^ self.headers.keys())
        if mismatched:
            problem = "is missing" if mismatched[0] in expected else "is in it and should not be"
            self.refuse(f"does not hold what it should: {mismatched[0][:60]!r} {problem} ({len(mismatched)} such names)")
        for name, like in expected.items():
            header = self.headers[name]
            if header.shape != like.shape or header.dtype != like.dtype:
                self.refuse(f"does not hold what it should: {name[:60]!r} has shape {header.shape} and type {header.dtype}, "
                            f"not {like.shape} and {like.dtype}")

    def read(self, name, finite=True):
        """One array. With `finite`, CheckpointError if any entry is NaN or infinite."""
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
                file.read(1)                                    # zipfile compares the checksum at the very end
        if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            self.refuse(f"holds NaN or infinity: {np.count_nonzero(~np.isfinite(array))} of {array.size} in {name[:60]!r}; the "
                        "run that wrote it went wrong, so use an earlier file")
        return array.T if header.fortran else array

    def read_all(self, finite=True):
        """{name: array}"""
        return {name: self.read(name, finite) for name in self.headers}
