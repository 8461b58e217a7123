"""Two programs that would write the same files wait for one another, or one of them gives up and says so.

The locks are the system's own: it releases them when a process ends, however it ends, so no lock outlives a crash.
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
PATIENCE = 10               # seconds to wait for another process that writes for a moment


def lock(handle):
    """Lock an open file. BlockingIOError if another process has locked it; any other OSError where there are no locks."""
    if not AVAILABLE:
        raise OSError(errno.ENOTSUP, "there are no locks here")
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def alone(path):
    """Hold a lock while `path` is being made, so that two runs do not write the same files. ValueError if another has it.

    The system lets go of the lock when the process ends, however that may be; the file .NAME.lock may then be left, and does no
    harm. Where locks are not to be had (Windows, some network drives) there is none.
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
    """The same for a moment, with a folder as the lock: who comes second waits a while. It leaves no file at all."""
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
            lock(handle)
        except BlockingIOError:
            os.close(handle)
            raise ValueError(f"another minillm is at work on {path}; wait until it has ended, or choose another name or "
                             "folder") from None
        except OSError:                                         # a drive that has no locks
            return handle
        if name.exists() and os.path.samestat(os.stat(name), os.fstat(handle)):
            return handle
        os.close(handle)                                        # its owner has just removed it
