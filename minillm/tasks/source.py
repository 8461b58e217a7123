"""The path of the file that a model was trained on: saved so that both can be moved together, and found again."""

import os
from pathlib import Path

from ..ground.files import digest
from ..ground.schema import text

FILE = {"path": text(4096), "digest?": text(100)}       # what a checkpoint saves of the file (ground/schema.py)


def portable_path(path, folder):
    """A path as a file in `folder` saves it: relative if it is within or beside the folder, so that both can be moved."""
    return str(path if folder is None else relative(path, folder))


def relative(path, folder):
    """The path relative to the folder, if it is in the folder, its parent or its grandparent; else the absolute path."""
    path, folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    for up, parent in enumerate([folder, *folder.parents][:3]):
        if path.is_relative_to(parent):
            return Path(*[".."] * up) / path.relative_to(parent)
    return path


def candidates(data, folder):
    """The existing files that may be the data of a model in a folder.   data: the JSON of its task"""
    folder, name = Path(folder or ""), Path(data["path"]).name
    return [path for path in dict.fromkeys((folder / data["path"], folder / name, Path(name))) if os.path.isfile(path)]


def locate(data, folder):
    """The file with a model's data (`data`: the JSON of its task): at its old path, beside the model, or in the current folder.

    Only a file with exactly the same content counts. ValueError if there is none.
    """
    paths = candidates(data, folder)
    if not paths:
        raise ValueError(f"there is no file {Path(folder or '') / data['path']}; put it there, or beside the model")
    for path in paths:
        if data.get("digest") in (None, digest(path)):
            return path
    raise ValueError(f"{paths[0]} has changed since the model learned from it; put back the old file")
