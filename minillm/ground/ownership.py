"""Somebody's own file is never overwritten: minillm writes only over what it has written itself."""

import os

from .arrays import read_meta
from .files import CheckpointError, destination, opened


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
