"""Locks, so that two programs do not write the same files: the second one waits, or gives up and says so.

They are the operating system's locks: it releases them when a process ends, however it ends, so no lock outlives a crash.
"""

import errno
import os
import time
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:         # Windows
    fcntl = None

from .interrupts import shielded

AVAILABLE = fcntl is not None
PATIENCE = 10               # seconds to wait for another process to finish a short write


def lock(handle):
    """Lock an open file. BlockingIOError if another process has locked it; another OSError where there are no locks."""
    if not AVAILABLE:
        raise OSError(errno.ENOTSUP, "there are no locks on this system")
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def alone(path):
    """Hold a lock while `path` is written, so that two runs do not write the same files. ValueError if another run holds it.

    The system releases the lock when the process ends, however it ends; the file .NAME.lock may be left over and does no harm.
    Where locks are not available (Windows, some network drives), nothing is locked.
    """
    if not AVAILABLE:
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
    """Hold a lock on a folder for a moment: a second process waits for up to PATIENCE seconds. It leaves no lock file."""
    if not AVAILABLE:
        yield
        return
    handle, until = os.open(folder, os.O_RDONLY), time.monotonic() + PATIENCE
    try:
        while True:
            try:
                lock(handle)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ValueError(f"another program has locked {folder}, so nothing was written; try again") from None
                time.sleep(0.01)
            except OSError:                                     # a drive without locks
                break
        yield
    finally:
        os.close(handle)


def locked(name, path):
    """The handle of the lock file `name`, open and locked. ValueError if another process holds the lock."""
    while True:
        handle = os.open(name, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        try:
            lock(handle)
        except BlockingIOError:
            os.close(handle)
            raise ValueError(f"another minillm is at work on {path}; wait until it has ended, or choose another name or "
                             "folder") from None
        except OSError:                                         # a drive without locks
            return handle
        if name.exists() and os.path.samestat(os.stat(name), os.fstat(handle)):
            return handle
        os.close(handle)                                        # the process that had it has just removed it
