"""The learner's commands: lesson, check, hint, progress. Each returns its exit code, and what --json reports."""

import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

from .catalogue import EXERCISES, exercise_of, lesson_of, lessons, shown
from .judge import judge
from .sources import contents
from .workbook import Workbook

WIDTH = 100
POLL_SECONDS = 0.15     # between two looks at files that are being watched
LOOKS = 10              # at most, until the files are taken as they are
PATIENCE = 10           # seconds for a lesson to end after Ctrl-C


def flush():
    """Flush standard output; sys.stdout may be None, which print can handle."""
    print(end="", flush=True)


def lesson(args):
    workbook = Workbook(args.workbook)
    if args.which == "list" and (args.start or args.run_it):
        raise ValueError("say which lesson, as in: minillm lesson 1 --start, or minillm lesson next --run")
    if args.which == "list":
        return list_lessons(workbook)
    if args.which == "next":
        exercise = workbook.next()
        if exercise is None:
            print(f"All {len(EXERCISES)} exercises are solved. What to do next: lessons/experiments/, or a method of your own.")
            return 0, {"lesson": None}
        lesson = lesson_of(exercise.lesson)
    else:
        lesson = lesson_of(int(args.which) if len(args.which) < 9 else f"{args.which[:9]}...")
    code = 0
    if args.start:
        start(workbook, lesson.exercises)
    elif args.run_it:
        options = [*(["--quick"] if args.quick else []), *(["--show"] if args.show else []), "--seed", str(args.seed)]
        code = run([sys.executable, str(lesson.path), *options])
    else:
        describe(workbook, lesson)
    return code, {"lesson": lesson.number, "title": lesson.title, "exercises": [exercise.number for exercise in lesson.exercises]}


def run(command):
    """Run a lesson, and return its exit code. On Ctrl-C the lesson itself says that it was interrupted (lessons/ctrl_c.py)."""
    lesson = None
    try:
        with interrupt_blocked():
            lesson = subprocess.Popen(command)
        code = lesson.wait()
    except KeyboardInterrupt:
        if lesson is None or not interrupt(lesson):
            raise
        return 130
    return code if code >= 0 else 128 - code


def interrupt(lesson):
    """End a lesson after Ctrl-C. True if it has said that it was interrupted; else the caller must say so."""
    lesson.send_signal(signal.SIGINT)                   # a terminal sends Ctrl-C to both, but another program may have sent it
    try:
        lesson.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        lesson.kill()
        lesson.wait()
    return lesson.returncode == 130


@contextmanager
def interrupt_blocked():
    """Inside, Ctrl-C is blocked. A process that is started inside inherits that, until it unblocks the signal itself."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def list_lessons(workbook):
    for lesson in lessons():
        solved = sum(map(workbook.passed, lesson.exercises))
        print(f"{lesson.number:2d}  {lesson.title:62s}{solved} of {len(lesson.exercises)} exercises solved")
    print("\nminillm lesson N describes one, minillm lesson next the one to continue with.")
    return 0, {"lessons": [lesson.title for lesson in lessons()]}


def describe(workbook, lesson):
    """Print what a lesson is about, how to run it, and its exercises."""
    print(f"Lesson {lesson.number}: {lesson.title}\n")
    for part in ("Question", "Time", "Read"):
        if text := lesson.part(part):
            print(textwrap.fill(f"{part}. {text}", WIDTH))
    print(f"\nRun it:  python {near(lesson.path)} --show        or:  minillm lesson {lesson.number} --run\n\nExercises:")
    for exercise in lesson.exercises:
        print(f"  [{workbook.mark(exercise)}] {exercise.number:2d}  {exercise.title}")
    missing = [exercise for exercise in lesson.exercises if not workbook.path(exercise).exists()]
    print(f"\nGet them:  minillm lesson {lesson.number} --start" if missing else
          f"\nThey are in {workbook.folder}{os.sep}. Check one:  minillm check {lesson.exercises[0].number}")


def start(workbook, exercises):
    for exercise in exercises:
        fresh = workbook.start(exercise)
        print(f"{workbook.path(exercise)}{'' if fresh else '   (exists already, and was not changed)'}")
    first = exercises[0].number
    print(f"\nEdit, then check:  minillm check {first}      Stuck?  minillm hint {first}")


def check(args):
    exercise, workbook = exercise_of(args.exercise), Workbook(args.workbook)
    path = workbook.path(exercise) if args.file is None else Path(args.file)
    if not os.path.lexists(path) and args.file is None:
        raise ValueError(f"{shown(path)} does not exist; minillm lesson {exercise.lesson} --start puts the exercises of lesson "
                         f"{exercise.lesson} into {shown(workbook.folder)}")
    if not path.is_file():
        raise ValueError(f"{shown(path)} {why_unusable(path)}")
    with open(path, "rb"):                              # OSError if it cannot be read
        pass
    return (watch if args.watch else check_once)(exercise, path, workbook, args.seed)


def why_unusable(path):
    """Why a path that is not a regular file cannot be checked."""
    if path.is_dir():
        return "is a folder; give the file in it"
    return "is a pipe or a device; give a file" if path.exists() else "does not exist"


def check_once(exercise, path, workbook, seed):
    """Check a file, print the verdict, and count it in the workbook. Exit code 0 if the file is right, else 1."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    verdict = judge(exercise, path, seed)
    if verdict.printed.strip():
        print(textwrap.indent(verdict.printed.rstrip(), "  | "), "\n(printed by your code)\n")
    if verdict.passed:
        print(f"Right: {exercise} ({verdict.calls} calls with numbers drawn at random).\n")
        print(paragraphs(exercise.module.EXPLANATION), end="\n\n")
    else:
        print(f"Not yet: {exercise}.\n\n{verdict.reason}\n")
    flush()
    workbook.tried(exercise, verdict.passed)            # after printing: the disk may be full
    if verdict.passed:
        following = workbook.next()
        print(f"Next: {following}: {following.title}. (minillm lesson {following.lesson})" if following else
              f"That was the last one: all {len(EXERCISES)} are solved.")
    else:
        print(f"Again with the same numbers:  minillm check {exercise.number} --seed {seed}      Stuck?  minillm hint "
              f"{exercise.number}")
    return 0 if verdict.passed else 1, {"exercise": exercise.number, "passed": verdict.passed, "line": verdict.line,
                                        "reason": verdict.reason, "seed": seed}


def watch(exercise, path, workbook, seed):
    """Check whenever the file, or another one beside it, is saved, until it is right or Ctrl-C is pressed."""
    print(f"Watching {shown(path)}: it is checked each time you save it. Ctrl-C ends.\n", flush=True)
    checked, latest = None, (1, None)
    try:
        current = contents(path)
        while True:
            if current != checked and path.is_file():
                checked = current
                print(f"--- {time.strftime('%H:%M:%S')} " + "-" * 60, flush=True)
                latest = check_once(exercise, path, workbook, seed)
                if latest[0] == 0:
                    return latest
                flush()
            current = at_rest(path)
    except KeyboardInterrupt:
        print("\nNo longer watching.")
        return latest


def at_rest(path):
    """The contents of the files, once two looks have shown the same: a file that is being saved may be empty for a moment."""
    current = contents(path)
    for _ in range(LOOKS):                              # not for ever: something may be written all the time
        time.sleep(POLL_SECONDS)
        previous, current = current, contents(path)
        if current == previous:
            break
    return current


def hint(args):
    """Print the next hint, or an earlier one. Hints cost nothing; `progress` only shows how many were read."""
    exercise, workbook = exercise_of(args.exercise), Workbook(args.workbook)
    hints = exercise.module.HINTS
    number = args.level or min(workbook.of(exercise)["hints"] + 1, len(hints))
    if number > len(hints):
        raise ValueError(f"{exercise} has {len(hints)} hints; choose --level 1 to {len(hints)}")
    print(f"Hint {number} of {len(hints)} for {exercise}:\n\n{paragraphs(hints[number - 1])}")
    if number == len(hints):
        print(f"\nThis was the last one. What the check says may help more:  minillm check {exercise.number}")
    workbook.hinted(exercise, number)
    return 0, {"exercise": exercise.number, "hint": number}


def progress(args):
    """Print all exercises with their state."""
    workbook = Workbook(args.workbook)
    for each in lessons():
        print(f"Lesson {each.number}: {each.title}")
        for exercise in each.exercises:
            entry = workbook.of(exercise)
            remarks = [f"solved {entry['passed']}" if entry["passed"] else "",
                       f"{entry['tries']} {'try' if entry['tries'] == 1 else 'tries'}" if entry["tries"] else "",
                       f"{entry['hints']} {'hint' if entry['hints'] == 1 else 'hints'}" if entry["hints"] else ""]
            line = f"  [{workbook.mark(exercise)}] {exercise.number:2d}  {exercise.title:58s}{', '.join(filter(None, remarks))}"
            print(line.rstrip())
    solved, following = sum(map(workbook.passed, EXERCISES)), workbook.next()
    next_one = f" Next: {following}. (minillm lesson {following.lesson})" if following else ""
    print(f"\n{solved} of {len(EXERCISES)} solved.{next_one}")
    return 0, {"solved": solved, "exercises": len(EXERCISES), "next": following.number if following else None}


def paragraphs(text):
    """A text with its paragraphs filled to WIDTH; indented ones, code and equations, are left as they are."""
    parts = textwrap.dedent(text).strip("\n").split("\n\n")
    return "\n\n".join(part if part.startswith(" ") else textwrap.fill(" ".join(part.split()), WIDTH) for part in parts)


def near(path):
    """A path relative to the current folder, if it is below it; else unchanged."""
    try:
        return Path(path).relative_to(Path.cwd())
    except ValueError:
        return path


