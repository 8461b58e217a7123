"""The learner's folder: copies of the stubs, which then belong to the learner, and progress.json."""

import os
from contextlib import suppress
from datetime import date
from pathlib import Path

from ..ground.files import read_json, write_json, write_new
from ..ground.locks import alone_in
from ..ground.schema import maybe, record, table, whole
from .catalogue import EXERCISES, shown

FOLDER = "workbook"
LARGEST = 1_000_000      # the most bytes of progress.json, and the largest number in it


class Workbook:
    """The learner's folder and progress.

    progress    {number of an exercise: {"tries": n, "hints": n, "passed": date or None}}
    """

    def __init__(self, folder=FOLDER):
        """ValueError if `folder` is not a folder, or if it has a progress.json that cannot be read, which is then left alone."""
        if not str(folder):
            raise ValueError("--workbook needs the name of a folder")
        inside = folder == FOLDER and not Path(folder).exists() and Path.cwd().name == FOLDER      # it is the current folder
        self.folder = Path() if inside else Path(folder)
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise ValueError(f"{shown(folder)} is not a folder; --workbook needs the folder of your exercises and progress")
        self.note = self.folder / "progress.json"
        self.progress = read(self.note)

    def of(self, exercise):
        """The progress of an exercise: {"tries": n, "hints": n, "passed": date or None}"""
        return self.progress.get(exercise.number, {"tries": 0, "hints": 0, "passed": None})

    def passed(self, exercise):
        return bool(self.of(exercise)["passed"])

    def path(self, exercise):
        return self.folder / exercise.file

    def start(self, exercise):
        """Copy the stub into the folder, unless the file exists already. Returns whether it was copied."""
        if os.path.lexists(self.path(exercise)):
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):                 # another process has just created it
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
        """Read progress.json again, since another process may have changed it, and write changed(entry) for one exercise."""
        note = Path(os.path.realpath(self.note))        # a link stays a link
        note.parent.mkdir(parents=True, exist_ok=True)
        with alone_in(note.parent):
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
    """The progress in a progress.json; {} if there is none. ValueError if it is not as `Workbook.change` writes it."""
    if not os.path.lexists(note):
        return {}
    try:
        entries = read_json(note, record({"exercises": table(ENTRY)}), "record of progress", LARGEST)["exercises"]
        return {number_of(key): {part: entry[part] for part in ("tries", "hints", "passed")} for key, entry in entries.items()}
    except ValueError as error:
        reason = str(error).removeprefix(f"{note} ")
        raise ValueError(f"{shown(note)} cannot be read ({reason}); move it away, and progress starts from zero") from None


def number_of(text):
    """The number of an exercise from a key of progress.json. ValueError if it is not one."""
    if not (text.isascii() and text.isdigit() and len(text) < 5 and text == str(int(text)) != "0"):
        raise ValueError(f"{shown(text)} is not the number of an exercise")
    return int(text)


def day(value, where):
    """A form (ground/schema.py): a date as YYYY-MM-DD."""
    with suppress(TypeError, ValueError):
        if date.fromisoformat(value).isoformat() == value:
            return value
    raise ValueError(f"{where} is not a date")


ENTRY = record({"tries": whole(0, LARGEST), "hints": whole(0, LARGEST), "passed": maybe(day)})
