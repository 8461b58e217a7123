"""minillm check and its kin: whatever a learner's file does, the learner is told kindly; and what is theirs stays theirs."""

import io
import os
import signal
import subprocess
import sys
import time
from itertools import chain, repeat
from types import SimpleNamespace

import numpy as np
import pytest
from commands import answer, refused, run, snapshot

from minillm.exercises import commands
from minillm.exercises import judge as judging
from minillm.exercises.attempt import Attempt
from minillm.exercises.catalogue import EXERCISES, STUBS, exercise_of, lessons
from minillm.exercises.diagnose import difference, same
from minillm.exercises.judge import examine, judge
from minillm.exercises.learners_file import Wrong
from minillm.exercises.workbook import Workbook

RIGHT = """import numpy as np

def squared_error(x, y, w, b):
    e = x @ w + b - y
    return np.mean(e ** 2), 2 / len(y) * x.T @ e, 2 * np.mean(e)
"""
FIRST = exercise_of(1)


def body(*lines, head="def squared_error(x, y, w, b):"):
    return "import numpy as np\n" + head + "\n" + "".join(f"    {line}\n" for line in lines)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verdict_on(source, folder, exercise=FIRST, seed=1):
    path = folder / exercise.file
    path.write_text(source, encoding="utf-8")
    verdict = examine(exercise, path, seed)
    assert "Traceback" not in verdict.reason
    return verdict


# Whatever is in the file.

BAD = {
    "syntax": (body("e = (x @ w"), ["line 3", "is not Python", "never closed"], 3),
    "indentation": ("def squared_error(x, y, w, b):\nreturn 1\n", ["line 2", "indented block"], 2),
    "exception": (body("e = x @ w + b - y", "return e.mena()"), ["line 4", "AttributeError", "e.mena()"], 4),
    "shapes": (body("return x @ y, 0, 0"), ["line 3", "matmul", "transpose"], 3),
    "name": (body("return np.mean(eror), 0, 0"), ["line 3", "NameError", "spelled"], 3),
    "empty": (body("raise NotImplementedError"), ["not written yet"], 3),
    "renamed": (RIGHT.replace("squared_error", "Squared_Error"), ["no function squared_error", "There is Squared_Error"], None),
    "fewer arguments": (body("return 0, 0, 0", head="def squared_error(x, y, w):"), ["must take (x, y, w, b)", "(x, y, w)"], 2),
    "other order": (body("return 0, 0, 0", head="def squared_error(y, x, w, b):"), ["in the order (x, y, w, b)"], 2),
    "nothing": (body("e = x @ w"), ["returns nothing", "return loss, dw, db"], 2),
    "too few": (body("return 0.0, x[0]"), ["must return 3 results", "returns 2"], 2),
    "a text": (body("return 'a', w, b"), ["an array as loss", "a str"], 2),
    "a dictionary": (body("return {'loss': 0}"), ["must return 3 results", "returns a dict"], 2),
    "a generator": (body("yield 1"), ["must return 3 results", "returns a generator"], 2),
    "KeyboardInterrupt": (body("raise KeyboardInterrupt"), ["line 3", "for Ctrl-C alone"], 3),
    "no words": ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E\n", ["line 3", "raise E"], 3),
    "its own SyntaxError": ("raise SyntaxError('mine')\n", ["line 1", "SyntaxError: mine"], 1),
    "very long": (body("raise ValueError('x' * 10 ** 6)"), ["line 3", "xxx ..."], 3),
    "an object": ("class A:\n    def __call__(self, *args): return 0, 0, 0\n    @property\n    def __signature__(self): 1 / 0\n"
                  "squared_error = A()\n", ["line 4", "ZeroDivisionError", "looked at"], 4),
    "no more a function": (RIGHT + "squared_error = 3\n", ["not a function", "but an int"], None),
    "no import": (RIGHT.replace("import numpy as np", ""), ["line 5", "import numpy as np?"], 5),
    "damage": (RIGHT.replace("    e = ", "    x -= 1\n    e = "), ["changed its input x", "line 4", "x -= 1"], 4),
    "damage by index": (RIGHT.replace("    e = ", "    w[0] = 0\n    e = "), ["changed its input w", "line 4"], 4),
    "NaN": (RIGHT.replace("np.mean(e ** 2)", "np.log(-1.0 * np.mean(e ** 2))"), ["loss is nan", "logarithm"], None),
    "infinity": (RIGHT.replace("np.mean(e ** 2)", "np.exp(1e4 * np.ones(())) "), ["loss is inf", "overflow"], None),
    "float64": (RIGHT.replace("2 / len(y) * x.T", "np.float64(2 / len(y)) * x.T"), ["float32 into float64", "dw"], None),
    "quits": (body("import sys", "sys.exit('enough')"), ["SystemExit", "exit()"], 4),
    "asks": (body("input()"), ["ask for input"], 3),
    "recursion": (body("return squared_error(x, y, w, b)"), ["RecursionError", "without end"], 3),
    "on import": ("1 / 0\n" + RIGHT, ["line 1", "ZeroDivisionError", "while it was imported"], 1),
    "no module": ("import nowhere\n" + RIGHT, ["line 1", "nowhere"], 1),
    "earlier exercise": ("import ex00_nothing\n" + RIGHT, ["line 1", "builds on an earlier one"], 1),
    "null bytes": ("\0", ["is not Python"], None),
}


@pytest.mark.parametrize("source, words, line", BAD.values(), ids=BAD)
def test_what_is_wrong_is_reported_with_the_line(source, words, line, folder, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    verdict = verdict_on(source, folder)
    assert not verdict.passed
    for part in words:
        assert part.lower() in verdict.reason.lower(), verdict.reason
    if line:
        assert verdict.line == line


def test_a_file_that_is_not_utf8(folder):
    (folder / FIRST.file).write_bytes(b"# caf\xe9\n")
    assert "UTF-8" in examine(FIRST, folder / FIRST.file, 1).reason


def test_an_error_in_an_imported_exercise_is_reported_there(folder):
    (folder / "ex03_softmax.py").write_text("def softmax(s):\n    return s / nothing\n")
    verdict = verdict_on("from ex03_softmax import softmax\n" + body("softmax(x)", "return 0, 0, 0"), folder)
    assert "Line 4 of ex01_squared_error.py stops" in verdict.reason and verdict.line == 4
    assert "It got as far as line 2 of ex03_softmax.py" in verdict.reason and "return s / nothing" in verdict.reason


def test_imported_exercises_are_those_of_the_same_folder_as_they_are_now(folder):
    helper = folder / "ex03_softmax.py"
    source = RIGHT.replace("import numpy as np", "import numpy as np\nfrom ex03_softmax import k").replace("2 / len", "k / len")
    for k, passed in ((3, False), (2, True)):
        helper.write_text(f"k = {k}\n")
        assert verdict_on(source, folder).passed is passed


def test_a_right_answer_passes_with_any_seed(folder):
    assert all(verdict_on(RIGHT, folder, seed=seed).passed for seed in range(20))


def test_each_check_draws_new_numbers(folder):
    wrong = RIGHT.replace("2 / len(y)", "2")
    assert len({verdict_on(wrong, folder, seed=seed).reason for seed in range(5)}) == 5
    assert verdict_on(wrong, folder, seed=3).reason == verdict_on(wrong, folder, seed=3).reason


@pytest.mark.parametrize("line, words", [
    ("return 0.0, 0.0, max(y, 0)", "np.maximum"),
    ("import math; return math.exp(y), 0, 0", "np.exp"),
    ("return y.sum(axis=1), 0, 0", "axis=-1 is the last"),
    ("return x * np.ones(9), 0, 0", "do not fit together"),
])
def test_usual_slips_get_advice_and_the_shapes_that_went_in(line, words, folder):
    verdict = verdict_on(body(line), folder)
    assert words in verdict.reason and "with x (" in verdict.reason


def test_results_in_another_order_are_recognised(folder):
    verdict = verdict_on(RIGHT.replace("return np.mean(e ** 2), 2 / len(y) * x.T @ e, 2 * np.mean(e)",
                                       "return 2 / len(y) * x.T @ e, 2 * np.mean(e), np.mean(e ** 2)"), folder)
    assert "in another order: they must be (loss, dw, db)" in verdict.reason


def test_what_is_right_so_far_is_reported_of_several_functions(folder):
    exercise = exercise_of("activations")
    source = exercise.stub.read_text(encoding="utf-8").replace("raise NotImplementedError", "return 1 / (1 + np.exp(-x))", 1)
    verdict = verdict_on(source, folder, exercise)
    assert "Right so far: sigmoid." in verdict.reason and "sigmoid_backward is not written yet" in verdict.reason


def test_a_file_may_have_any_ending(folder):
    path = folder / "my answer.txt"
    path.write_text(RIGHT)
    assert examine(FIRST, path, 1).passed


# In a process of its own.

def judged(source, folder, **options):
    path = folder / FIRST.file
    path.write_text(source, encoding="utf-8")
    return judge(FIRST, path, 1, passing=300, **options)


@pytest.mark.parametrize("line", ["while True: pass", "while True: np.ones((500, 500)) @ np.ones((500, 500))"])
def test_a_loop_without_end_is_ended_and_its_line_reported(line, folder):
    verdict = judged(body("n = 1", line), folder, seconds=0.5)
    assert not verdict.passed and verdict.line == 4
    assert "Still running after 0.5 seconds, in line 4" in verdict.reason and "while True" in verdict.reason


def test_what_is_printed_is_shown_and_does_not_end_up_in_the_verdict(folder):
    verdict = judged(RIGHT.replace("    e = ", "    print('shape', x.shape)\n    e = "), folder)
    assert verdict.passed and "shape (" in verdict.printed


def test_printing_without_end_is_cut(folder):
    verdict = judged(body("while True: print('again')"), folder, seconds=0.5)
    assert not verdict.passed and "line 3" in verdict.reason
    assert verdict.printed.count("again") > 100 and len(verdict.printed) < 10_000 and "and more" in verdict.printed


def test_a_program_that_ends_itself(folder):
    verdict = judged(body("import os", "os._exit(3)"), folder)
    assert not verdict.passed and "exit code 3" in verdict.reason


def test_a_crash_of_the_interpreter(folder):
    verdict = judged(body("import ctypes", "ctypes.string_at(0)"), folder)
    assert not verdict.passed and "ended the whole program" in verdict.reason


def test_a_fault_of_the_check_is_not_blamed_on_the_learner(folder, monkeypatch):
    monkeypatch.setattr(judging, "BEGIN", judging.BEGIN.replace(
        "main(", "import minillm.exercises.ladder.ex01_squared_error as ex; ex.check = lambda attempt: 1 / 0; main(", 1))
    assert "fault of minillm and not yours: ZeroDivisionError" in judged(RIGHT, folder).reason


@pytest.mark.parametrize("line, words", [
    ("import builtins; builtins.len = lambda x: 1 / 0", "builtins.len"),
    ("import builtins; builtins.isinstance = None", "builtins.isinstance"),
    ("import sys; sys.setrecursionlimit(60)", "recursion limit"), ("import sys; sys.meta_path.clear()", "sys.meta_path")])
def test_who_breaks_python_itself_is_told(line, words, folder):
    verdict = judged(RIGHT + line + "\n", folder)
    assert not verdict.passed and words in verdict.reason and "fault of minillm" not in verdict.reason


def test_a_file_that_deletes_itself_is_reported_all_the_same(folder):
    verdict = judged("import os\nos.remove(__file__)\n1 / 0\n", folder)
    assert verdict.line == 3 and "    1 / 0" in verdict.reason


def test_the_learners_own_function_is_called_and_no_other(folder):
    """A function that counts its calls is called as often as the verdict says (and once more with float32)."""
    source = RIGHT.replace("    e = ", "    print('called')\n    e = ")
    verdict = judged(source, folder)
    assert verdict.printed.count("called") == verdict.calls + 1 > 1


# The commands.

def test_the_first_steps_of_a_learner(folder):
    code, out, _ = run("lesson")
    assert code == 0 and out.count("exercises solved") == len(lessons())
    code, out, _ = run("lesson", "next")
    assert "Lesson 1" in out and "[ ]  1" in out and "--start" in out
    code, out, _ = run("lesson", 1, "--start")
    path = folder / "workbook" / FIRST.file
    assert path.read_bytes() == FIRST.stub.read_bytes() and "minillm check 1" in out
    code, out, _ = run("check", 1)
    assert code == 1 and "not written yet" in out
    path.write_text(RIGHT)
    code, out, _ = run("check", 1)
    assert code == 0 and "Right" in out and "x.T @ e" in out and "Next: exercise 2" in out
    code, out, _ = run("progress")
    assert "[x]  1" in out and "2 tries" in out and f"1 of {len(EXERCISES)} solved" in out
    code, out, _ = run("lesson", "next")
    assert "Lesson 2" in out


def test_starting_again_overwrites_nothing(folder):
    run("lesson", 2, "--start")
    path = folder / "workbook" / exercise_of(3).file
    path.write_text("mine\n")
    (folder / "workbook" / exercise_of(2).file).unlink()
    code, out, _ = run("lesson", 2, "--start")
    assert code == 0 and "was not changed" in out
    assert path.read_text() == "mine\n" and (folder / "workbook" / exercise_of(2).file).exists()


def test_checking_changes_no_file_of_the_learner(folder):
    run("lesson", 1, "--start")
    path = folder / "workbook" / FIRST.file
    path.write_text(RIGHT.replace("2 /", "3 /"))
    before = {name: key for name, key in snapshot(folder).items() if name.endswith(".py")}
    run("check", 1)
    assert {name: key for name, key in snapshot(folder).items() if name.endswith(".py")} == before


def test_a_file_elsewhere_and_another_workbook(folder):
    (folder / "mine.py").write_text(RIGHT)
    result = answer("check", "squared_error", "mine.py", "--workbook", "book", "--seed", 5)
    assert result["passed"] and result["exercise"] == 1 and result["seed"] == 5
    assert Workbook("book").passed(FIRST) and not (folder / "workbook").exists()


def test_hints_come_one_after_the_other_and_stay_at_the_last(folder):
    seen = [run("hint", 1)[1] for _ in range(4)]
    assert [text.split("\n")[0][:11] for text in seen] == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3", "Hint 3 of 3"]
    assert "Hint 1 of 3" in run("hint", 1, "--level", 1)[1]
    assert Workbook().of(FIRST) == {"tries": 0, "hints": 3, "passed": None}


def test_a_solved_exercise_stays_solved(folder):
    for source in (RIGHT, body("return 0, 0, 0")):
        (folder / "a.py").write_text(source)
        run("check", 1, "a.py")
    assert Workbook().passed(FIRST) and Workbook().of(FIRST)["tries"] == 1      # what is solved is no longer counted
    assert answer("progress")["next"] == 2


@pytest.mark.parametrize("command, words", [
    (["check", 99], ["exercise 99", f"1 to {len(EXERCISES)},"]),
    (["check", 1], ["does not exist", "minillm lesson 1 --start"]),
    (["check", 1, "nowhere.py"], ["nowhere.py does not exist"]),
    (["check", 1, "."], ["a folder"]),
    (["check", 1, ""], ["file or folder"]),
    (["check", 1, "/dev/null"], ["a device"]),
    (["check", 1, "n" * 300], ["File name too long"]),
    (["check", "no\nsuch\x1b"], ["no exercise 'no\\nsuch\\x1b'"]),
    (["check", ""], ["no exercise ''"]),
    (["check", 1, "no\nfile"], ["'no\\nfile' does not exist"]),
    (["hint", "soft"], ["no exercise soft"]),
    (["hint", 1, "--level", 4], ["has 3 hints"]),
    (["hint", 1, "--level", 10 ** 20], ["has 3 hints"]),
    (["hint", 1, "--level", -1], ["at least 1"]),
    (["lesson", 16], ["no lesson 16", "1 to"]),
    (["lesson", "9" * 5000], ["no lesson", "1 to"]),
    (["lesson", "first"], ["neither the number"]),
    (["lesson", 1, "--start", "--run"], ["not allowed"]),
    (["lesson", "--start"], ["say which lesson"]),
], ids=lambda value: " ".join(map(str, value))[:60])
def test_bad_input_is_refused_in_a_sentence(command, words, folder):
    refused(folder, *command, words=words)


def test_without_the_lessons_it_is_said(folder, monkeypatch):
    monkeypatch.setattr("minillm.exercises.catalogue.LESSONS", folder / "none")
    assert "clone of the project" in refused(folder, "lesson")


def test_watching_checks_at_each_change_until_it_is_right(folder, monkeypatch):
    path = folder / FIRST.file
    path.write_text(body("return 0, 0, 0"))
    versions = chain([RIGHT.replace("2 /", "3 /"), None, None, RIGHT], repeat(None))

    def sleep(seconds):
        if (source := next(versions)) is not None:
            path.write_text(source)
            os.utime(path, ns=(time.time_ns(), time.time_ns()))
    monkeypatch.setattr(commands, "time", SimpleNamespace(sleep=sleep, strftime=time.strftime))
    code, out, _ = run("check", 1, path, "--watch")
    assert code == 0 and out.count("Not yet: ") == 2 and out.count("Right: ") == 1


def test_watching_notices_an_earlier_exercise_that_is_mended(folder, monkeypatch):
    helper, path = folder / "ex03_softmax.py", folder / FIRST.file
    helper.write_text("k = 3\n")
    source = RIGHT.replace("import numpy as np", "import numpy as np\nfrom ex03_softmax import k")
    path.write_text(source.replace("2 / len", "k / len"))

    def sleep(seconds):
        helper.write_text("k = 2\n")
        os.utime(helper, ns=(time.time_ns(), time.time_ns()))
    monkeypatch.setattr(commands, "time", SimpleNamespace(sleep=sleep, strftime=time.strftime))
    code, out, _ = run("check", 1, path, "--watch")
    assert code == 0 and out.count("Not yet: ") == 1


def test_a_learner_who_has_gone_into_the_workbook_is_at_home(folder, monkeypatch):
    run("lesson", 1, "--start")
    monkeypatch.chdir(folder / "workbook")
    assert run("check", 1)[0] == 1 and answer("progress")["solved"] == 0
    assert not (folder / "workbook" / "workbook").exists() and (folder / "workbook" / "progress.json").exists()


def test_watching_ends_with_ctrl_c(folder):
    (folder / FIRST.file).write_text(body("return 0, 0, 0"))
    watching = subprocess.Popen([sys.executable, "-u", "-m", "minillm", "check", "1", FIRST.file, "--watch"], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while "Again with" not in watching.stdout.readline():
        pass
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 1 and "No longer watching" in out and not err


def test_lesson_run_runs_the_lesson(folder, monkeypatch):
    called = []
    monkeypatch.setattr(commands, "run", lambda command: called.append(command) or 0)
    assert run("lesson", 1, "--run", "--quick", "--seed", 3)[0] == 0
    assert called[0][1].endswith("01_one_neuron.py") and called[0][2:] == ["--quick", "--seed", "3"]


# What differences look like.

right = np.arange(1.0, 13).reshape(3, 4)


@pytest.mark.parametrize("got, words", [
    (-right, "the sign"),
    (5 * right, "N = 5 times"),
    (right / 5, "1/N = 1/5"),
    (2 * right, "twice"),
    (right.T, "it is the transpose"),
    (right.sum(axis=0), "a sum over an axis that should stay"),
    (np.stack([right] * 5), "a sum over the first axis is missing"),
    (right.reshape(12), "reshape"),
    (0 * right, "all zeros"),
    (right * 1.001, "a constant"),
    (np.where(right > 6, right, 0), "right in some places"),
    (np.where(right > 6, right, np.nan), "0/0"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_differences_are_named(got, words):
    assert words in " ".join(difference("dW", right, got, {"N": 5}))


def test_the_first_wrong_entry_is_reported_with_what_was_expected():
    got = right.copy()
    got[1, 2] = 100
    assert difference("dW", right, got, {})[0] == "dW[1, 2] should be 7, and is 100."


def test_rounding_is_no_difference_and_a_small_mistake_is():
    x = np.random.default_rng(0).normal(size=(50, 50))
    assert same(x, x * (1 + 1e-12)) and same(x, x + 1e-13)
    assert not same(x, x * (1 + 1e-5)) and not same(x, x[:, :-1])


def test_attempts_draw_sizes_that_differ(folder):
    path = folder / FIRST.file
    path.write_text(RIGHT)
    attempt = Attempt(path, FIRST.stub, np.random.default_rng(0))
    for sizes in attempt.trials("A B C D", 30):
        assert len(set(sizes)) == 4 and min(sizes) >= 2


def test_results_that_are_dictionaries_are_compared_key_by_key(folder):
    stub = folder / "stub.py"
    stub.write_text("def f(x):\n    pass\n")
    path = folder / "own.py"
    x = np.ones(3)
    for code, message in (("{'a': x, 'b': 2 * x}", "dp['b']"), ("{'a': x}", "lacks the key 'b'"),
                          ("{'a': x, 'b': x, 'c': x}", "'c'")):
        path.write_text(f"def f(x):\n    return {code}\n")
        with pytest.raises(Wrong, match=message.replace("[", r"\[")):
            Attempt(path, stub, np.random.default_rng(0)).check("f", (x,), {"dp": {"a": x, "b": x}})


def test_a_cache_that_is_an_object_of_its_own_is_not_taken_for_float64(folder):
    stub, path = folder / "stub.py", folder / "own.py"
    stub.write_text("def f(x):\n    pass\n\n\ndef back(dout, cache):\n    pass\n")
    path.write_text("class Kept:\n    pass\n\n\ndef f(x):\n    kept = Kept()\n    kept.x = x\n    return x, kept\n\n\n"
                    "def back(dout, cache):\n    return dout * cache.x\n")
    attempt, x = Attempt(path, stub, np.random.default_rng(0)), np.arange(3.0)
    _, cache = attempt.call("f", x, returns="out cache")
    attempt.check("back", (x, cache), {"dx": x * x})
    attempt.finish()


def test_stubs_are_where_the_catalogue_says():
    assert STUBS.name == "exercises" and STUBS.parent.name == "lessons"
