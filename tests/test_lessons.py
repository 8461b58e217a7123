"""The lessons: each says what it prints, and prints what it says.

A lesson takes up to a minute, on three seeds; so what it printed is recorded (record_lessons.py), with a name for the code that
printed it. Here the texts are held against the record, the record against the code, and the shortest lessons run anew.
"""

import ast
import re
import runpy
import signal
import sys

import pytest
from record_lessons import LINE, ROOT, code_of, lessons, recorded

from minillm.exercises.catalogue import EXERCISES, lesson_of

NUMBER = r"-?[\d.,]*\d(?:e-?\d+)?"
MEASURED = re.compile(rf"{NUMBER} ± {NUMBER}")
README = (ROOT / "lessons" / "README.md").read_text(encoding="utf-8")
SHORT = [name for name in lessons() if int(name[:2]) <= 5]

each_lesson = pytest.mark.parametrize("name", lessons())


def text_of(name):
    """The markdown cells of a lesson, as one text."""
    cells = re.split(r"^# %%", lessons()[name].read_text(encoding="utf-8"), flags=re.M)
    return "\n".join(re.sub(r"^# ?", "", cell.partition("\n")[2], flags=re.M) for cell in cells if cell.startswith(" [markdown]"))


def expected_in(name):
    """{what: "a ± b"} of all calls of lesson.expect, where both are plain texts."""
    expected = {}
    for node in ast.walk(ast.parse(lessons()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "expect":
            expected[ast.unparse(node.args[0])] = node.args[2].value
    return expected


def within(value, expected):
    centre, spread = (float(part.replace(",", "")) for part in MEASURED.search(expected)[0].split(" ± "))
    return abs(float(value.replace(",", "")) - centre) <= spread * (1 + 1e-9)


def test_there_are_fifteen():
    assert [int(name[:2]) for name in lessons()] == list(range(1, 16))


@each_lesson
def test_the_numbers_of_the_text_are_those_it_prints(name):
    said = set(MEASURED.findall(" ".join(text_of(name).split())))
    printed = {MEASURED.search(text)[0] for text in expected_in(name).values()}
    assert printed, "it measures nothing"
    assert said == printed, f"only in the text: {said - printed}; only in the code: {printed - said}"


@each_lesson
def test_the_record_is_of_this_code(name):
    assert recorded()[name]["code"] == code_of(lessons()[name]), "run   python tests/record_lessons.py --missing"


@each_lesson
def test_on_three_seeds_each_figure_was_as_the_text_says(name):
    seeds = recorded()[name]["seeds"]
    assert len(seeds) >= 3
    for seed, seen in seeds.items():
        assert len(seen["figures"]) >= len(expected_in(name))
        assert {expected for _, expected in seen["figures"].values()} == {
            MEASURED.search(text)[0] for text in expected_in(name).values()}
        for figure, (value, expected) in seen["figures"].items():
            assert within(value, expected), f"seed {seed}: {figure} was {value}, not {expected}"


@each_lesson
def test_none_took_longer_than_a_minute(name):
    assert all(seen["seconds"] <= 60 for seen in recorded()[name]["seeds"].values())


@pytest.fixture
def desk(monkeypatch, tmp_path):
    """desk(options): as a script in the folder of the lessons that was started with these options. Its pictures go elsewhere."""
    def sit(*options):
        monkeypatch.syspath_prepend(ROOT / "lessons")
        monkeypatch.setattr("common.PLOTS", tmp_path)
        monkeypatch.setattr(sys, "argv", ["lesson.py", *options])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)      # it is put back with the rest; a lesson sets its own
    before = signal.getsignal(signal.SIGINT)
    yield sit
    signal.signal(signal.SIGINT, before)      # this, too


@pytest.mark.parametrize("name", SHORT)
def test_a_short_lesson_prints_it_here_and_now(name, desk, tmp_path, capsys):
    desk()
    runpy.run_path(str(lessons()[name]), run_name="__main__")
    printed = capsys.readouterr().out
    figures = {match["name"]: (match["value"], match["expected"]) for match in LINE.finditer(printed)}
    assert len(figures) >= len(expected_in(name))
    for figure, (value, expected) in figures.items():
        assert within(value, expected), f"{figure}: {value}, not {expected}"
    pictures = re.findall(r"^picture: (.+\.(?:png|gif))$", printed, re.M)
    assert pictures and sorted(pictures) == sorted(map(str, tmp_path.iterdir()))


@each_lesson
def test_a_lesson_tells_its_question_its_time_and_its_exercises(name):
    lesson = lesson_of(int(name[:2]))
    assert lesson.title and lesson.part("Question").count("?") >= 1 and "seconds" in lesson.part("Time")
    exercises = lesson.part("Exercises")
    assert re.findall(r"(\d+) `(\w+)`", exercises) == [(str(e.number), e.name) for e in lesson.exercises]
    for section in ("## What to notice", "## Questions", "## Read next"):
        assert section in text_of(name), section


@each_lesson
def test_what_a_lesson_points_to_is_there(name):
    text = text_of(name)
    for path in re.findall(r"`((?:minillm|lessons|tests)/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`((?:nn|text|train|finetune|surface|draw)/[\w/]+\.py)`", text):
        assert (ROOT / "minillm" / path).exists(), path
    for number in re.findall(r"\b[Ll]esson (\d+)\b", text):
        assert 1 <= int(number) <= 15


@each_lesson
def test_the_readme_of_the_lessons_has_each(name):
    assert f"]({name})" in README


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#]+)\)", README))
def test_what_the_readme_of_the_lessons_links_to_exists(path):
    assert path.startswith("http") or (ROOT / "lessons" / path).exists()


def test_the_readme_of_the_lessons_has_each_exercise():
    for exercise in EXERCISES:
        assert f"| {exercise.number} `{exercise.name}` |" in README


# What the lessons share.

@pytest.mark.parametrize("value, expected, off", [
    (0.312, "0.31 ± 0.05", False), (0.37, "0.31 ± 0.05", True), (1e-9, "0 ± 1e-8", False), (1e-7, "0 ± 1e-8", True),
    (1234.0, "1,230 ± 10", False), (-0.48, "-0.5 ± 0.1 nats", False), (float("nan"), "0 ± 1", True)])
def test_a_figure_is_reported_with_what_to_expect(value, expected, off, desk, capsys):
    desk()
    from common import Lesson
    Lesson(4, "a test").expect("a figure", value, expected)
    printed = capsys.readouterr().out
    assert expected in printed and ("NOT as expected" in printed) == off


def test_in_its_quick_form_a_lesson_judges_no_figure(desk, capsys):
    desk("--quick")
    from common import Lesson
    Lesson(4, "a test").expect("a figure", 7.0, "0.31 ± 0.05")
    printed = capsys.readouterr().out
    assert "in a full run 0.31 ± 0.05" in printed and "NOT" not in printed


@pytest.mark.parametrize("options, words", [(("--seed", "-1"), "--seed"), (("--seed", "one"), "--seed"), (("--fast",), "--fast")])
def test_bad_options_of_a_lesson_are_refused(options, words, desk, capsys):
    desk(*options)
    from common import Lesson
    with pytest.raises(SystemExit) as stop:
        Lesson(4, "a test")
    assert stop.value.code == 2 and words in capsys.readouterr().err
