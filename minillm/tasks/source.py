"""Where the file lies that a model was trained on or with: remembered so that both can move together, and found again."""

import os
from pathlib import Path

from ..ground.files import digest
from ..ground.schema import text

FILE = {"path": text(4096), "digest?": text(100)}       # what a checkpoint remembers of it (ground/schema.py)


def portable_path(path, folder):
    """A path as a file in `folder` remembers it: relative if it lies within or beside it, so that both can move together."""
    return str(path if folder is None else relative(path, folder))


def relative(path, folder):
    path, folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    for up, parent in enumerate([folder, *folder.parents][:3]):
        if path.is_relative_to(parent):
            return Path(*[".."] * up) / path.relative_to(parent)
    return path


def candidates(data, folder):
    """The files that may be the data of a model in a folder."""
    folder, name = Path(folder or ""), Path(data["path"]).name
    return [path for path in dict.fromkeys((folder / data["path"], folder / name, Path(name))) if os.path.isfile(path)]


def locate(data, folder):
    """The file with the data that a model remembers (`data`: the JSON of its task): where it was then, beside the model, or here.

    A file that is not, to the bit, the one that was learned from is not taken. ValueError if there is none.
    """
    there = candidates(data, folder)
    if not there:
        raise ValueError(f"there is no file {Path(folder or '') / data['path']}; put it there, or beside the model")
    for path in there:
        if data.get("digest") in (None, digest(path)):
            return path
    raise ValueError(f"{there[0]} has changed since the model learned from it; put back what it was")
