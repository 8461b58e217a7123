"""minillm overwrites only files that it has written itself, never a user's own."""

import os

from .arrays import read_meta
from .files import CheckpointError, destination, opened


def not_others(path, *signs, kinds=()):
    """ValueError if `path` exists and minillm has not written it.

    kinds       the kinds of .npz that minillm writes there
    signs       for other files: byte strings; every file that minillm writes there has one of them near its start
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
    raise ValueError(f"{path} exists already, and minillm has not written it, so it is not overwritten; choose another name or "
                     "folder, or move it away")
