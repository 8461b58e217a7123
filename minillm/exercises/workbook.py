"""The learner's folder: copies of the stubs, which are theirs from then on, and progress.json, which remembers the place."""

import json
import shutil
from datetime import date
from pathlib import Path

from ..files import write_json
from .catalogue import EXERCISES

FOLDER = "workbook"


class Workbook:
    """progress    {number of an exercise: {"tries": n, "hints": n, "passed": date or None}}"""

    def __init__(self, folder=FOLDER):
        """ValueError if progress.json is there and cannot be read: it is then left alone."""
        inside = folder == FOLDER and not Path(folder).exists() and Path.cwd().name == FOLDER      # a learner has gone there
        self.folder = Path() if inside else Path(folder)
        self.note = self.folder / "progress.json"
        self.progress = {}
        if self.note.exists():
            try:
                found = json.loads(self.note.read_text(encoding="utf-8"))["exercises"]
                self.progress = {int(number): {"tries": int(entry["tries"]), "hints": int(entry["hints"]),
                                               "passed": entry["passed"]} for number, entry in found.items()}
            except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
                raise ValueError(f"{self.note} cannot be read ({error}); move it away, and progress starts anew") from None

    def of(self, exercise):
        return self.progress.get(exercise.number, {"tries": 0, "hints": 0, "passed": None})

    def passed(self, exercise):
        return bool(self.of(exercise)["passed"])

    def path(self, exercise):
        return self.folder / exercise.file

    def start(self, exercise):
        """Copy the stub into the folder, unless there is a file already. Says whether it did."""
        path = self.path(exercise)
        if path.exists():
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(exercise.stub, path)
        return True

    def tried(self, exercise, passed):
        """Count a try, up to the one that passes."""
        entry = self.of(exercise)
        if not entry["passed"]:
            self.save(exercise, entry | {"tries": entry["tries"] + 1, "passed": date.today().isoformat() if passed else None})

    def hinted(self, exercise, hints):
        self.save(exercise, self.of(exercise) | {"hints": max(hints, self.of(exercise)["hints"])})

    def save(self, exercise, entry):
        self.progress[exercise.number] = entry
        write_json(self.note, {"exercises": {str(number): self.progress[number] for number in sorted(self.progress)}})

    def next(self):
        """The first exercise that is not solved yet; None when all are."""
        return next((exercise for exercise in EXERCISES if not self.passed(exercise)), None)

    def mark(self, exercise):
        """One character for the state of an exercise."""
        entry = self.of(exercise)
        return "x" if entry["passed"] else "." if entry["tries"] or self.path(exercise).exists() else " "
