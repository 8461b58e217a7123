"""Files are written whole or not at all, and read with care.

Written whole: under a unique temporary name, then synced, then renamed to replace the old file. A reader sees the old file or
the new one, even after a power cut. Read with care: a path may lead to a broken file, a malicious one or a device. So only
regular files are opened, and no more is read than minillm could have written. schema.py says what JSON may contain; arrays.py
reads and writes files of arrays.
"""

import atexit
import errno
import json
import math
import os
import re
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path

from . import locks
from .interrupts import shielded
from .schema import article, printable

JSON_BYTES = 32 << 20       # the most JSON that is read: the history of a million steps
JSON_PARTS = 500_000        # the most lists and objects in it; each takes far more memory than its two brackets


class CheckpointError(ValueError):
    """A file is not what it should be. The message, in one line, names the file, what is wrong and what to do."""

    def __init__(self, message):
        super().__init__(printable(message))


# Writing.

@contextmanager
def written_whole(path):
    """Yield a temporary name in the folder of `path`; what is written there replaces `path` only if nothing went wrong.

    A link is followed, so the file that it points to is replaced. ValueError if `path` is not a regular file: a device, say.
    """
    path = destination(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(path)
    temporary = handle = None
    try:
        with shielded():
            temporary, handle = new_file(path)
            _unfinished[handle] = os.getpid(), temporary
        yield temporary
        with shielded():
            sync(temporary)
            if path.exists():
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            os.replace(temporary, path)
            temporary = None
            sync(path.parent)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(temporary):      # a full disk, say: name the user's file
            error.filename = str(path)
        raise
    finally:
        with shielded():
            if temporary:
                temporary.unlink(missing_ok=True)
            if handle is not None:
                _unfinished.pop(handle, None)
                os.close(handle)


_unfinished = {}      # {handle: (the process that writes it, its temporary path)}


@atexit.register
def remove_unfinished():
    """As this process ends: remove what it was writing when it was interrupted.

    `written_whole` does so itself, unless the interruption came after its `yield` and before the `with` block had begun.
    """
    for process, temporary in _unfinished.values():
        if process == os.getpid():      # a fork has copied the list, but not the duty
            temporary.unlink(missing_ok=True)


def destination(path):
    """The real path of a file, which need not exist yet. ValueError if something other than a regular file has the name."""
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
        raise ValueError(f"{path} is {kind_of(mode)} and not a regular file, so it is not written to; choose another name")
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
    """Create an empty file with a unique name beside `path`, with the usual permissions. Returns its path and its handle.

    The handle holds a lock for as long as it is open, so `remove_abandoned` can tell whether anybody is still writing the file.
    """
    while True:
        temporary = path.with_name(temporary_name(path, secrets.token_hex(4)))
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        with suppress(OSError):                                 # a drive without locks
            locks.lock(handle)
        if temporary.exists():
            return temporary, handle
        os.close(handle)                                        # another process removed it as abandoned before it was locked


def remove_abandoned(path):
    """Remove the temporary files of processes that were killed while they wrote `path`."""
    if not locks.AVAILABLE:
        return
    ours = re.compile(re.escape(temporary_name(path, "MARK")).replace("MARK", "[0-9a-f]{8}"))
    for name in filter(ours.fullmatch, os.listdir(path.parent)):
        with suppress(OSError), shielded():
            handle = os.open(path.with_name(name), os.O_RDWR | os.O_NOFOLLOW)
            try:
                locks.lock(handle)
                path.with_name(name).unlink()
            finally:
                os.close(handle)


def sync(path):
    """Make the system write a file, or the names in a folder, to the disk now."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if os.name == "nt" or os.path.isdir(path):              # Windows cannot open a folder
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
    """Write bytes into a new file, whole or not at all. FileExistsError if the file exists already; it is left unchanged."""
    part, handle = new_file(path)
    try:
        part.write_bytes(content)
        sync(part)
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:                                         # a file system without links: reserve the name, then replace it
            path.touch(exist_ok=False)
            os.replace(part, path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None       # name the user's file, not the temporary one
        raise
    finally:
        with shielded():
            part.unlink(missing_ok=True)
            os.close(handle)


def write_text(path, content):
    with written_whole(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def writable(folder):
    """Make a folder unless it exists. OSError now, rather than after the work, if it cannot be written to."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, where a folder is needed; choose another name")
    folder.mkdir(parents=True, exist_ok=True)
    with shielded():
        temporary, handle = new_file(folder / "try")
        temporary.unlink()
        os.close(handle)


# Reading.

@contextmanager
def opened(path, noun="file"):
    """Open a regular file to read bytes. CheckpointError, with the reason, for anything else; `noun` says what it should be."""
    path = Path(path)
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {path}") from None
    except ValueError:
        raise CheckpointError(f"{str(path)!r} cannot be the name of a file") from None
    except OSError as error:
        if os.path.isdir(path):
            raise CheckpointError(f"{path} is a folder; give the {noun} in it") from None
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise CheckpointError(f"{path} is a folder; give the {noun} in it" if stat.S_ISDIR(mode) else
                              f"{path} is {kind_of(mode)} and not a {noun}")
    with os.fdopen(handle, "rb") as file:
        yield file


def read_bytes(path, most, noun="file"):
    """A whole file. CheckpointError if it has more than `most` bytes."""
    with opened(path, noun) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise CheckpointError(f"{path} is too large for a {noun} of minillm: more than {most:,d} bytes")
    return content


def digest(*paths):
    """The digest of the contents of files."""
    def parts():
        for path in paths:
            with opened(path) as file:
                while part := file.read(1 << 20):
                    yield part
            yield b"|"
    return digest_of(parts())


def digest_of(parts):
    """The first 16 hex digits of the SHA-256 of bytes, given in parts."""
    import hashlib  # here, since with zipfile it takes a tenth of the time of importing minillm
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part)
    return sha.hexdigest()[:16]


# JSON.

def write_json(path, value):
    """Write a value as JSON. NaN and infinity, which JSON does not have, become null."""
    write_text(path, json.dumps(without_nan(value), indent=2) + "\n")


def without_nan(value):
    """The same value with None in place of every NaN and infinity."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path, form, noun, most=JSON_BYTES):
    """The value in a JSON file, which must match a form (schema.py). CheckpointError says where it does not."""
    value = parsed(read_bytes(path, most, noun), path)
    return checked(value, form, path, noun)


def parsed(content, path):
    """Bytes of JSON -> its value. CheckpointError if they are not JSON, or would take too much memory."""
    try:
        if share_of_limits(content) > 1:
            raise ValueError("there is far too much of it")
        return json.loads(content.decode("utf-8"))
    except RecursionError:
        raise CheckpointError(f"{path} has JSON that is nested too deeply to be written by minillm") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON that can be read ({str(error)[:100]}); was its writing or copying cut "
                              "short?") from None


def share_of_limits(content):
    """How much of what may be read these bytes of JSON are; above 1, nobody could read them again."""
    return max(len(content) / JSON_BYTES, (content.count(b"[") + content.count(b"{")) / JSON_PARTS)


def checked(value, form, path, noun):
    """The value, if it matches the form. CheckpointError says where it does not."""
    try:
        return form(value, "it")
    except ValueError as error:
        raise CheckpointError(f"{path} is not {article(noun)} written by minillm: {error}") from None
