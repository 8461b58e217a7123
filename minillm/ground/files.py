"""The one place that writes files and the one that reads them.

Written whole or not at all: under a temporary name that nobody else has, then synced, then put in the place of the old file. A
reader sees the old file or the new one, also after a power cut. Read with care: a file may be broken, made to do harm, or no file
at all. So it is opened only if it is a regular one, and nothing is built of it before its size, names, shapes and types are known
to be what they should be (schema.py for the JSON inside). No pickle.

An .npz here is a zip archive of .npy files and a readable meta.json; `unzip -p model.npz meta.json` shows what it is.
"""

import errno
import json
import math
import os
import re
import secrets
import stat
import struct
import time
import warnings
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:      # Windows
    fcntl = None

import numpy as np

from .interrupts import shielded

FORMAT = 2                  # of an .npz; goes up when an older program could no longer read what a newer one writes
META = "meta.json"
JSON_BYTES = 32 << 20       # as much may be said in JSON: the history of a million steps
JSON_PARTS = 500_000        # lists and objects in it; each takes far more memory than its two brackets
HEADER_BYTES = 10_000       # of a .npy, as in NumPy
DIRECTORY_BYTES = 4 << 20   # of a zip archive, which is read at once
PATIENCE = 10               # seconds to wait for another process that writes for a moment
DTYPES = {np.dtype(kind) for kind in ("<f4", "<f8", "<i4", "<i8")}


class CheckpointError(ValueError):
    """A file is not what it should be. The message names the file, what is wrong and what to do."""


# Writing.

@contextmanager
def written_whole(path):
    """Yield a temporary name in the folder of `path`; what is written there takes the place of `path` only if all went well.

    A link is followed, so that the file behind it is replaced. ValueError for what is no regular file: a device, say.
    """
    path = destination(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    temporary = handle = None
    try:
        with shielded():
            temporary, handle = new_file(path)
        yield temporary
        with shielded():
            sync(temporary)
            if path.exists():
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            os.replace(temporary, path)
            temporary = None
            sync(path.parent)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(temporary):      # a full disk, say: the name that is known
            error.filename = str(path)
        raise
    finally:
        with shielded():
            if temporary:
                temporary.unlink(missing_ok=True)
            if handle is not None:
                os.close(handle)


def destination(path):
    """Where a file of this name lies, or will. ValueError if something else has the name."""
    try:
        path = Path(os.path.realpath(path, strict=False))
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path
    except ValueError:                                          # a null byte
        raise ValueError(f"{str(path)!r} cannot be the name of a file") from None
    if stat.S_ISDIR(mode):
        raise ValueError(f"{path} is a folder, so no file of this name can be written; choose another name")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{path} is {kind_of(mode)} and no regular file, so it is not written to; choose another name")
    return path


def kind_of(mode):
    kinds = {"a folder": stat.S_ISDIR, "a device": lambda m: stat.S_ISCHR(m) or stat.S_ISBLK(m), "a pipe": stat.S_ISFIFO,
             "a socket": stat.S_ISSOCK, "a link that leads to itself": stat.S_ISLNK}
    return next((kind for kind, has in kinds.items() if has(mode)), "something else")


def temporary_name(path, mark):
    name = path.stem.encode()[:60].decode(errors="ignore")      # names have at most 255 bytes
    suffix = path.suffix if len(path.suffix) < 20 else ""
    return f".{name}.{mark}.part{suffix}"


def new_file(path):
    """An empty file beside `path` that nobody else knows, with the permissions that new files get; and its handle, which holds a
    lock for as long as it is open: so that it is known which such file nobody will ever finish."""
    while True:
        temporary = path.with_name(temporary_name(path, secrets.token_hex(4)))
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if fcntl:
            with suppress(OSError):                             # a drive that has no locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if temporary.exists():
            return temporary, handle
        os.close(handle)                                        # it was taken for abandoned before it had its lock


def remove_abandoned(path):
    """What a process that was killed while it wrote `path` has left beside it."""
    if fcntl is None:
        return
    ours = re.compile(re.escape(temporary_name(path, "MARK")).replace("MARK", "[0-9a-f]{8}"))
    for name in filter(ours.fullmatch, os.listdir(path.parent)):
        with suppress(OSError), shielded():
            handle = os.open(path.with_name(name), os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.with_name(name).unlink()
            finally:
                os.close(handle)


def sync(path):
    """Have the system write a file, or the names in a folder, to the disk now."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if os.name == "nt" or os.path.isdir(path):              # Windows opens no folder
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):    # some file systems cannot
            raise
    finally:
        os.close(handle)


def write_new(path, content):
    """Bytes into a new file, whole or not at all. FileExistsError if there is one of this name already; it stays as it is."""
    part, handle = new_file(path)
    try:
        part.write_bytes(content)
        sync(part)
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:                                         # a file system without links: take the name, and then fill it
            path.touch(exist_ok=False)
            os.replace(part, path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None       # the name that is known, not that of the temporary file
        raise
    finally:
        with shielded():
            part.unlink(missing_ok=True)
            os.close(handle)


def write_text(path, content):
    with written_whole(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def write_json(path, value):
    """NaN and infinity, for which JSON has no word, are written as null."""
    write_text(path, json.dumps(without_nan(value), indent=2) + "\n")


def without_nan(value):
    """The same with None in the place of every float that is no number."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_arrays(path, arrays, meta):
    """arrays {name: array} and meta, anything JSON can say, into one file."""
    import zipfile  # in the functions that need it: with hashlib, a tenth of the time that importing minillm takes

    said = json.dumps({"format": FORMAT} | meta, indent=None if len(meta.get("history", ())) else 1)
    with written_whole(path) as temporary:
        with open(temporary, "wb") as file:
            np.savez(file, **arrays)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(META, said, zipfile.ZIP_DEFLATED)


def writable(folder):
    """Make a folder if it is not there. OSError now, rather than after the work, if nothing can be written to it."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, where a folder is needed; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    with shielded():
        temporary, handle = new_file(folder / "try")
        temporary.unlink()
        os.close(handle)


@contextmanager
def alone(path):
    """Hold a lock while `path` is being made, so that two runs do not write the same files. ValueError if another has it.

    The system lets go of the lock when the process ends, however that may be; the file .NAME.lock may then be left, and does no
    harm. Where locks are not to be had (Windows, some network drives) there is none.
    """
    if fcntl is None:
        yield
        return
    path = Path(os.path.abspath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.parent / f".{path.name.encode()[:100].decode(errors='ignore')}.lock"
    handle = None
    try:
        with shielded():
            handle = locked(name, path)
        yield
    finally:
        if handle is not None:
            with shielded():
                name.unlink(missing_ok=True)
                os.close(handle)


@contextmanager
def alone_in(folder):
    """The same for a moment, with a folder as the lock: who comes second waits a while. It leaves no file at all."""
    if fcntl is None:
        yield
        return
    handle, until = os.open(folder, os.O_RDONLY), time.monotonic() + PATIENCE
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ValueError(f"another program has locked {folder}, so nothing was written; try again") from None
                time.sleep(0.01)
            except OSError:                                     # a drive that has no locks
                break
        yield
    finally:
        os.close(handle)


def locked(name, path):
    """The lock file `name`, open and locked."""
    while True:
        handle = os.open(name, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise ValueError(f"another minillm is at work on {path}; wait until it has ended, or choose another name or "
                             "folder") from None
        except OSError:                                         # a drive that has no locks
            return handle
        if name.exists() and os.path.samestat(os.stat(name), os.fstat(handle)):
            return handle
        os.close(handle)                                        # its owner has just removed it


def not_others(path, *signs, kinds=()):
    """ValueError if a file of this name is there, and is none that minillm writes under it: somebody's own is never overwritten.

    kinds       what an .npz may hold
    signs       bytes, of which one stands at the start of any other file that minillm writes there
    """
    if not os.path.lexists(path):
        return
    try:
        if kinds:
            read_meta(path, *kinds)
            return
        with opened(destination(path)) as file:
            start = file.read(4096)
        if any(sign in start for sign in signs):
            return
    except CheckpointError:
        pass
    raise ValueError(f"{path} is there already, and minillm has not written it, so it is not overwritten; choose another name or "
                     "folder, or move it away")


# Reading.

@contextmanager
def opened(path, what="file"):
    """A regular file, open to read bytes. CheckpointError for everything else, with the reason; `what` it should be."""
    path = Path(path)
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except ValueError:
        raise CheckpointError(f"{str(path)!r} cannot be the name of a file") from None
    except OSError as error:
        if os.path.isdir(path):
            raise CheckpointError(f"{path} is a folder; give the {what} in it") from None
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise CheckpointError(f"{path} is a folder; give the {what} in it" if stat.S_ISDIR(mode) else
                              f"{path} is {kind_of(mode)} and not a {what}")
    with os.fdopen(handle, "rb") as file:
        yield file


def read_bytes(path, most, what="file"):
    """A whole file. CheckpointError if it has more than `most` bytes."""
    with opened(path, what) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise CheckpointError(f"{path} is too large for a {what} of minillm: more than {most:,d} bytes")
    return content


def read_json(path, form, what, most=JSON_BYTES):
    """The value in a JSON file, which must have a form (schema.py). CheckpointError says where it has not."""
    value = parsed(read_bytes(path, most, what), path)
    return checked(value, form, path, what)


def parsed(content, path):
    """Bytes of JSON -> its value. CheckpointError for what is none, or takes too much memory."""
    try:
        if len(content) > JSON_BYTES or content.count(b"[") + content.count(b"{") > JSON_PARTS:
            raise ValueError("there is far too much of it")
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise CheckpointError(f"{path} has JSON that is nested too deeply to be one of minillm") from None
    except ValueError as error:
        raise CheckpointError(f"{path} has no JSON that can be read ({str(error)[:100]}); was its writing or copying cut "
                              "short?") from None


def checked(value, form, path, what):
    """The value, if it has the form. CheckpointError says where not."""
    try:
        return form(value, "it")
    except ValueError as error:
        raise CheckpointError(f"{path} is no {what} that minillm has written: {error}") from None


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
            with self._told():
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
    def _told(self):
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
        with self._told(), self._archive.open(META) as file:
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
        with self._told():
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


def read_arrays(path, *kinds, finite=True):
    """The inverse of `write_arrays`: arrays, meta. CheckpointError if the file is missing, broken, of another format or kind."""
    with Arrays(path, *kinds) as file:
        return file.read_all(finite), file.meta


def read_meta(path, *kinds):
    """Only what a file says of itself."""
    with Arrays(path, *kinds) as file:
        return file.meta


def digest(*paths):
    """A short name for exactly these contents: SHA-256."""
    import hashlib

    found = hashlib.sha256()
    for path in paths:
        with opened(path) as file:
            while part := file.read(1 << 20):
                found.update(part)
        found.update(b"|")
    return found.hexdigest()[:16]

