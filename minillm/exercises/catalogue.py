"""The list of exercises, and the lesson that each belongs to."""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path

LESSONS = Path(__file__).resolve().parents[2] / "lessons"
STUBS = LESSONS / "exercises"
LADDER = Path(__file__).parent / "ladder"


@dataclass(frozen=True)
class Exercise:
    """One exercise. Its stub says what is asked; everything else is in its module in `ladder/`, which has the same name."""

    number: int
    name: str
    lesson: int

    @property
    def file(self):
        return f"ex{self.number:02d}_{self.name}.py"

    @property
    def stub(self):
        return STUBS / self.file

    @property
    def module(self):
        """Its module, with `check(attempt)`, three HINTS, an EXPLANATION and, if it needs many, SECONDS for a check."""
        return importlib.import_module(f".ladder.{self.file[:-3]}", __package__)

    @property
    def title(self):
        """The first line of the stub, after its number."""
        first = self.stub.read_text(encoding="utf-8").split("\n", 1)[0]
        return first.strip('" ').split(": ", 1)[1].rstrip(".")

    @property
    def seconds(self):
        return getattr(self.module, "SECONDS", 10)

    def __str__(self):
        return f"exercise {self.number}, {self.name}"


def exercise_at(path):
    """The exercise of a file of the ladder, such as ex05_linear.py. Its LESSON is read, not imported: there are many files."""
    number, name = path.stem.removeprefix("ex").split("_", 1)
    lesson = re.search(r"^LESSON = (\d+)$", path.read_text(encoding="utf-8"), re.M)
    return Exercise(int(number), name, int(lesson[1]))


EXERCISES = [exercise_at(path) for path in sorted(LADDER.glob("ex*.py"))]


def exercise_of(text):
    """The exercise with this number, name or file name. ValueError if there is none."""
    word = re.sub(r"\.py$", "", Path(str(text)).name)
    for exercise in EXERCISES:
        if word in (str(exercise.number), f"{exercise.number:02d}", exercise.name, exercise.file[:-3]):
            return exercise
    raise ValueError(f"there is no exercise {shown(text)}; they are numbered 1 to {len(EXERCISES)}, and `minillm progress` lists "
                     "them")


def shown(text):
    """A user's input as a message shows it: unchanged if it is printable and short, else its repr."""
    text = str(text)
    return text if text.isprintable() and 0 < len(text) <= 200 else repr(text[:200])


@dataclass(frozen=True)
class Lesson:
    """One lesson; its title and the parts of its introduction are read from its file."""

    number: int
    path: Path

    @property
    def text(self):
        return self.path.read_text(encoding="utf-8")

    @property
    def title(self):
        return re.search(r"^# # Lesson \d+: (.+)$", self.text, re.M)[1]

    def part(self, name):
        """The paragraph of the introduction that begins with **name.**, such as Question; "" if there is none."""
        paragraph = re.search(rf"^# \*\*{name}\.\*\* (.+(?:\n# .+)*)", self.text, re.M)
        return " ".join(line.removeprefix("# ").strip() for line in paragraph[1].split("\n")) if paragraph else ""

    @property
    def exercises(self):
        return [exercise for exercise in EXERCISES if exercise.lesson == self.number]


def lessons():
    """All lessons in order. ValueError if the package was installed without them."""
    all_lessons = [Lesson(int(path.name[:2]), path) for path in sorted(LESSONS.glob("[0-9][0-9]_*.py"))]
    if not all_lessons:
        raise ValueError(f"the lessons are not here ({LESSONS}): they come with a clone of the project, installed by "
                         "`pip install -e .` in it")
    return all_lessons


def lesson_of(number):
    """The lesson with this number. ValueError if there is none."""
    by_number = {lesson.number: lesson for lesson in lessons()}
    if number not in by_number:
        raise ValueError(f"there is no lesson {number}; they are numbered {min(by_number)} to {max(by_number)}")
    return by_number[number]
