"""The exercises themselves: a stub fails, the solution passes, and each plausible mistake is told by its name."""

import doctest
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from minillm.exercises.attempt import signatures
from minillm.exercises.catalogue import EXERCISES, STUBS
from minillm.exercises.judge import examine

SOLUTIONS = Path(__file__).parent / "solutions"
BUILT = [exercise for exercise in EXERCISES if exercise.stub.exists()]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """The capstone trains the demo's model; here for a moment only."""
    monkeypatch.setattr("minillm.exercises.ladder.ex29_my_gpt.STEPS", 2)


each_exercise = pytest.mark.parametrize("exercise", BUILT, ids=lambda exercise: exercise.file[:-3])


def solution(exercise):
    """The source of a solution without its wrong answers, and those: [(text in it, what a mistaken learner has there, told)]."""
    source = (SOLUTIONS / exercise.file).read_text(encoding="utf-8")
    code, _, wrong = source.partition("\nWRONG = ")
    return code, eval(wrong)


def examined(exercise, source, folder, seed=0):
    """Examine a source beside the solutions of all other exercises, which it may import."""
    for path in SOLUTIONS.glob("ex*.py"):
        link = folder / path.name
        if path.name != exercise.file and not link.exists():
            link.symlink_to(path)
    path = folder / exercise.file
    path.write_text(source, encoding="utf-8")
    return examine(exercise, path, seed)


@each_exercise
def test_the_stub_fails_and_says_what_is_to_be_done(exercise, tmp_path):
    verdict = examined(exercise, exercise.stub.read_text(encoding="utf-8"), tmp_path)
    assert not verdict.passed
    assert "is not written yet" in verdict.reason and verdict.line


@each_exercise
@pytest.mark.parametrize("seed", range(3))
def test_the_solution_passes(exercise, seed, tmp_path):
    verdict = examined(exercise, solution(exercise)[0], tmp_path, seed)
    assert verdict.passed, verdict.reason


WRONG = [(exercise, *wrong) for exercise in BUILT for wrong in solution(exercise)[1]]


@pytest.mark.parametrize("exercise, right, wrong, told", WRONG,
                         ids=[f"{exercise.file[:-3]}-{wrong}" for exercise, _, wrong, _ in WRONG])
def test_a_mistake_is_told_by_its_name(exercise, right, wrong, told, tmp_path):
    source, _ = solution(exercise)
    assert source.count(right) >= 1, f"{right!r} is not in the solution"
    for seed in (0, 1):
        verdict = examined(exercise, source.replace(right, wrong), tmp_path, seed)
        assert not verdict.passed
        assert told.lower() in verdict.reason.lower(), verdict.reason
        assert "Traceback" not in verdict.reason


@each_exercise
def test_at_least_two_wrong_answers_are_known(exercise):
    assert len(solution(exercise)[1]) >= 2


@each_exercise
def test_the_examples_of_a_stub_are_true(exercise, monkeypatch):
    """What its docstring shows is what the solution gives."""
    monkeypatch.syspath_prepend(str(SOLUTIONS))
    spec = importlib.util.spec_from_file_location("solved", SOLUTIONS / exercise.file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in [name for name in sys.modules if re.fullmatch(r"ex\d\d_\w+", name)]:
        del sys.modules[name]
    text = exercise.stub.read_text(encoding="utf-8").split('"""')[1]
    found = doctest.DocTestParser().get_doctest(text, vars(module) | {"np": np}, exercise.name, None, None)
    told = []
    doctest.DocTestRunner(verbose=False).run(found, out=told.append)
    assert not told, "".join(told)


@each_exercise
def test_an_exercise_has_all_its_parts(exercise):
    assert re.match(rf'"""Exercise {exercise.number}: [^\n]+[.?]\n', exercise.stub.read_text(encoding="utf-8"))
    assert len(exercise.module.HINTS) == 3 and all(exercise.module.HINTS)
    assert len(exercise.module.EXPLANATION.split()) > 30
    asked, given = signatures(exercise.stub), signatures(SOLUTIONS / exercise.file)
    for name in re.findall(r"^def (\w+)", exercise.stub.read_text(encoding="utf-8"), re.M):
        assert given[name] == asked[name]


def test_stubs_checks_and_solutions_belong_together():
    ladder = Path(sys.modules["minillm.exercises.catalogue"].__file__).parent / "ladder"
    names = {exercise.file for exercise in EXERCISES}
    assert {path.name for path in STUBS.glob("*.py")} <= names
    assert {path.name for path in ladder.glob("ex*.py")} <= names
