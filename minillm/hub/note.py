"""minillm.json, the note beside the files of an export: which of them minillm wrote, with what content.

transformers and peft keep what a config says when they save a model, so no word in a config tells whose weights are beside it.
The note does: whoever trains on and saves into the same folder changes the content, and then nothing there is replaced.
"""

import os
from hashlib import sha256
from pathlib import Path

from ..ground.files import CheckpointError, opened, read_json, remove_abandoned, write_json
from ..ground.schema import one_of, record, table, text

NOTE, BYTES = "minillm.json", 1 << 20
FORM = record({"written_by": one_of("minillm"), "config": text(64), "files": table(text(64)), "base?": text(64)})


def write_folder(folder, files, **more):
    """Write files into a folder that `own_folder` allows: {name: function of its path}. `more` goes into the note.

    The note grows file by file, so what was finished before an interruption counts as minillm's. The first file is the config,
    without which nobody reads a folder: it goes first and comes last, so that it never stands beside weights of another model.
    """
    folder = Path(folder)
    own_folder(folder, files)
    config, *others = files
    (folder / config).unlink(missing_ok=True)
    digests = {name: digest for name, digest in written_in(folder).items() if (folder / name).exists()}

    def write_note():
        write_json(folder / NOTE, {"written_by": "minillm", "config": config, **more, "files": dict(sorted(digests.items()))})

    write_note()
    for name in (*others, config):
        files[name](folder / name)
        digests[name] = digest_of(folder / name)
        write_note()


def own_folder(folder, names):
    """ValueError unless a folder is new, or empty, or holds an earlier export of this kind, unchanged.

    names       of the files that will be written, its config first, which says of what kind the export is
    """
    folder, names = Path(folder), list(names)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, where a folder is needed; choose another name")
    if not folder.exists():
        return
    for name in (*names, NOTE):
        remove_abandoned(folder / name)
    if not any(folder.iterdir()):
        return
    digests = written_in(folder)
    if (read_note(folder) or {}).get("config") != names[0]:
        raise ValueError(f"{folder} is not empty, and holds no earlier export of this kind; choose another folder")
    weights = {path.name for pattern in ("*.safetensors", "*.safetensors.index.json") for path in folder.glob(pattern)}
    for name in sorted({*names, *weights}):
        if os.path.lexists(folder / name) and not is_ours(folder, name, digests):
            raise ValueError(f"{folder / name} is not as minillm has written it, so nothing in that folder is overwritten; "
                             "choose another folder, or move it away")


def written_in(folder):
    """{name: digest} of the files that minillm wrote into a folder, by its note; nothing, if there is none that can be read."""
    return (read_note(folder) or {"files": {}})["files"]


def read_note(folder):
    """The content of the note in a folder, or None."""
    try:
        return read_json(Path(folder) / NOTE, FORM, "note", BYTES)
    except CheckpointError:
        return None


def is_ours(folder, name, digests):
    """Is a file what minillm wrote there?"""
    try:
        return name in digests and digest_of(Path(folder) / name) == digests[name]
    except CheckpointError:                                 # not a file at all
        return False


def digest_of(path):
    """The SHA-256 of a file."""
    sha = sha256()
    with opened(path) as file:
        while part := file.read(1 << 20):
            sha.update(part)
    return sha.hexdigest()
