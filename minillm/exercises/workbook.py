"""The learner's folder: copies of the stubs, which are theirs from then on, and progress.json, which remembers the place."""

import json
import os
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

from ..files import write_json
from .catalogue import EXERCISES, shown

try:
    import fcntl
except ImportError:      # Windows
    fcntl = None

FOLDER = "workbook"
LARGEST = 1_000_000      # bytes of progress.json, and the largest number in it
PATIENCE = 10            # seconds to wait for another process that writes it


class Workbook:
    """progress    {number of an exercise: {"tries": n, "hints": n, "passed": date or None}}"""

    def __init__(self, folder=FOLDER):
        """ValueError if this is no folder, or if progress.json is there and cannot be read: it is then left alone."""
        if not str(folder):
            raise ValueError("--workbook needs the name of a folder")
        inside = folder == FOLDER and not Path(folder).exists() and Path.cwd().name == FOLDER      # a learner has gone there
        self.folder = Path() if inside else Path(folder)
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise ValueError(f"{shown(folder)} is no folder; --workbook is that of your exercises and progress")
        self.note = self.folder / "progress.json"
        self.progress = read(self.note)

    def of(self, exercise):
        return self.progress.get(exercise.number, {"tries": 0, "hints": 0, "passed": None})

    def passed(self, exercise):
        return bool(self.of(exercise)["passed"])

    def path(self, exercise):
        return self.folder / exercise.file

    def start(self, exercise):
        """Copy the stub into the folder, unless there is a file already. Says whether it did."""
        if os.path.lexists(self.path(exercise)):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):                 # somebody else has made it just now
            write_new(self.path(exercise), exercise.stub.read_bytes())
            return True
        return False

    def tried(self, exercise, passed):
        """Count a try, up to the one that passes."""
        def counted(entry):
            return entry if entry["passed"] else entry | {"tries": entry["tries"] + 1,
                                                          "passed": date.today().isoformat() if passed else None}
        self.change(exercise, counted)

    def hinted(self, exercise, hints):
        self.change(exercise, lambda entry: entry | {"hints": max(hints, entry["hints"])})

    def change(self, exercise, changed):
        """Write what `changed` makes of an entry as it is in the file now: another process may have counted, too."""
        note = Path(os.path.realpath(self.note))        # if it is a link, it stays one
        note.parent.mkdir(parents=True, exist_ok=True)
        with alone_in(note.parent), errors_name(self.note):
            self.progress = read(self.note)
            self.progress[exercise.number] = changed(self.of(exercise))
            write_json(note, {"exercises": {str(number): self.progress[number] for number in sorted(self.progress)}})

    def next(self):
        """The first exercise that is not solved yet; None when all are."""
        return next((exercise for exercise in EXERCISES if not self.passed(exercise)), None)

    def mark(self, exercise):
        """One character for the state of an exercise."""
        entry = self.of(exercise)
        return "x" if entry["passed"] else "." if entry["tries"] or self.path(exercise).exists() else " "


def read(note):
    """What is in a progress.json; nothing if there is none. ValueError if anything in it is not as it was written."""
    if not os.path.lexists(note):
        return {}
    try:
        status = note.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise ValueError("no file" if not stat.S_ISREG(status.st_mode) else f"{status.st_size:,d} bytes are too many")
        found = json.loads(note.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("exercises"), dict):
            raise ValueError("there are no exercises in it")
        return {checked_number(number): checked_entry(number, entry) for number, entry in found["exercises"].items()}
    except (ValueError, OSError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).split("\n")[0]
        raise ValueError(f"{shown(note)} cannot be read ({reason}); move it away, and progress starts anew") from None


def checked_number(text):
    if not (text.isascii() and text.isdigit() and len(text) < 5 and text == str(int(text)) != "0"):
        raise ValueError(f"{shown(text)} is not the number of an exercise")
    return int(text)


def checked_entry(number, entry):
    """ValueError for what `Workbook.change` would not have written."""
    if not isinstance(entry, dict) or not {"tries", "hints", "passed"} <= entry.keys():
        raise ValueError(f"exercise {number} lacks its tries, hints or passed")
    for name in ("tries", "hints"):
        if type(entry[name]) is not int or not 0 <= entry[name] <= LARGEST:
            raise ValueError(f"the {name} of exercise {number} are no number of them")
    if entry["passed"] is not None:
        try:
            day = date.fromisoformat(entry["passed"]).isoformat()
        except (TypeError, ValueError):
            day = None
        if day != entry["passed"]:
            raise ValueError(f"exercise {number} was passed on no date")
    return {name: entry[name] for name in ("tries", "hints", "passed")}


def write_new(path, data):
    """A new file, whole or not at all. FileExistsError, and nothing is written, if there is one of this name already."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with errors_name(path):
        try:
            with open(part, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(part, path)
            except FileExistsError:
                raise
            except OSError:                             # a file system without links: take the name, and then fill it
                path.touch(exist_ok=False)
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def errors_name(path):
    """Inside, an error of the system names the file that was to be written, not a temporary one that nobody knows."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None


@contextmanager
def alone_in(folder):
    """Inside, no other process is in here with this folder. The lock ends with the process that has it, and leaves no file."""
    if fcntl is None:
        yield
        return
    here, until = os.open(folder, os.O_RDONLY), time.monotonic() + PATIENCE
    try:
        while True:
            try:
                fcntl.flock(here, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise ValueError(f"another program has locked {shown(folder)}, so nothing was counted; try again") from None
                time.sleep(0.01)
            except OSError:                             # a file system that has no locks
                break
        yield
    finally:
        os.close(here)

