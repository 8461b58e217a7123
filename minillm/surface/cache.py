"""Files that keep what was measured, so that nothing is measured twice and nothing outdated is shown.

They lie in the folder `surfaces` beside the models. The name of a file holds a hash of all that was measured: the models, their
trajectories, the text or the pairs that they learned from, and the settings.
"""

import hashlib
from pathlib import Path

from ..ground.arrays import read_arrays, read_meta, write_arrays
from ..ground.files import CheckpointError, opened
from ..ground.files import digest as file_digest
from ..tasks.source import candidates, locate
from .family import ORIGIN, files_of, runs_in

VERSION = 3          # goes up when the same models would give other numbers or notes, so that old files are left alone


def cache_file(folder, kind, names, *settings):
    """(key, path) of the file for a measurement of these models. ValueError if a text they learned from has changed since."""
    runs = [name for name in names if name != ORIGIN] or runs_in(folder)[:1]
    base, files = files_of(folder, runs)
    digest = hashlib.sha256(repr((VERSION, kind, names, settings)).encode())
    for path in (base, *files):
        with opened(path) as file:
            while part := file.read(1 << 20):
                digest.update(part)
    for path in (base, *files[::2]):                        # the models; every other file is a trajectory
        task = read_meta(path).get("task") or {}
        if isinstance(task, dict) and isinstance(task.get("path"), str) and candidates(task, path.parent):
            digest.update(file_digest(locate(task, path.parent)).encode())
    key = digest.hexdigest()[:12]
    return key, Path(folder) / "surfaces" / f"{kind}-{key}.npz"


def read_cached(path, key, build):
    """build(arrays, meta) of a file. CheckpointError if it is damaged, or if its content does not belong to its name."""
    try:
        arrays, meta = read_arrays(path, "surface", finite=False)
        if meta.get("key") == key:
            return build(arrays, meta)
        reason = f"{path} was measured from other models or settings than its name says"
    except CheckpointError as error:
        reason = str(error)
    except ValueError as error:
        reason = f"{path} was not written by minillm or is damaged ({error})"
    raise CheckpointError(f"{reason}; remove it, and it will be measured again")


def write_cached(path, key, measured):
    """Keep a Surface or a Profile."""
    write_arrays(path, measured.arrays(), {"kind": "surface", "key": key, "checks": measured.checks()} | measured.meta())
