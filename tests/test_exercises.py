"""The exercises themselves: a stub fails, the solution passes, and each plausible mistake is told by its name."""

import doctest
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from minillm.exercises.calls import signatures
from minillm.exercises.catalogue import EXERCISES, STUBS
from minillm.exercises.judge import examine

SOLUTIONS = Path(__file__).parent / "solutions"
MEAN = np.mean
BUILT = [exercise for exercise in EXERCISES if exercise.stub.exists()]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """The capstone trains the demo's model; here for a moment only."""
    monkeypatch.setattr("minillm.exercises.ladder.ex29_my_gpt.STEPS", 2)


each_exercise = pytest.mark.parametrize("exercise", BUILT, ids=lambda exercise: exercise.file[:-3])


def solution(exercise):
    """The source of a solution without its wrong answers, and those: [(text in it, what a mistaken learner has there, words)]."""
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


@pytest.mark.parametrize("exercise, right, wrong, words", WRONG,
                         ids=[f"{exercise.file[:-3]}-{wrong}" for exercise, _, wrong, _ in WRONG])
def test_a_mistake_is_reported_by_its_name(exercise, right, wrong, words, tmp_path):
    source, _ = solution(exercise)
    assert source.count(right) >= 1, f"{right!r} is not in the solution"
    for seed in (0, 1):
        verdict = examined(exercise, source.replace(right, wrong), tmp_path, seed)
        assert not verdict.passed
        assert words.lower() in verdict.reason.lower(), verdict.reason
        assert "Traceback" not in verdict.reason


# Answers that are right in a way one does not expect: number of the exercise, {text in its solution: what stands there instead}.
UNUSUAL = [
    (1, {"2 / len(y) * x.T @ e": "2 / len(y) * np.array([e @ column for column in x.T], dtype=x.dtype)"}),
    (3, {"    return e / e.sum(axis=-1, keepdims=True)":
         "    return np.exp(s - s.max(-1, keepdims=True) - np.log(e.sum(-1, keepdims=True)))"}),
    (8, {"from ex06_two_layers import two_layers  # noqa: F401\n": ""}),
    (8, {"from ex07_linear_backward import linear_backward\n": "",
         "    x, W1, h, W2 = cache": "    from ex07_linear_backward import linear_backward\n    x, W1, h, W2 = cache"}),
    (9, {"return theta - rate * v, v": "return __import__('numpy').stack([theta - rate * v, v])"}),
    (9, {"return theta - rate * v, v": "return [theta - rate * v, v]"}),
    (12, {"return best, len(losses) - 1": "return __import__('numpy').array([best, len(losses) - 1])"}),
    (14, {"    S = np.where(np.tri(T, dtype=bool), S, -np.inf)\n    P = softmax(S)":
          "    E = np.exp(S - S.max(-1, keepdims=True)) * np.tri(T, dtype=S.dtype)\n    P = E / E.sum(-1, keepdims=True)"}),
    (14, {"    P = softmax(S)": "    P = softmax(S)\n    P = P / P.sum(-1, keepdims=True)"}),
    (24, {"return u, w / np.linalg.norm(w)": "return np.stack([u, w / np.linalg.norm(w)])",
          "return 0.0, 0.0, 0.0": "return np.zeros(3)",
          "return a, b, np.linalg.norm(delta - a * u - b * v) / length":
          "return np.array([a, b, np.linalg.norm(delta - a * u - b * v) / length])"}),
    (27, {"[k / 20 for k in range(20)]": "__import__('itertools').accumulate([0.0] + [0.05] * 19)"}),
    (28, {"return vocab * C": "return __import__('numpy').int64(vocab) * C"}),
]

# Answers that are wrong where one does not look: the same, and what is told.
SLY = [
    (1, {"2 / len(y) * x.T @ e": "np.asmatrix(2 / len(y) * x.T @ e)"}, "yours is a matrix"),
    (1, {"2 / len(y) * x.T @ e": "list(2 / len(y) * x.T @ e)"}, "yours is a list; np.array makes one of it"),
    (1, {"e = x @ w + b - y": "e = (x @ w + b - y).astype(np.float32).astype(x.dtype)"}, "rounded on the way, to float32"),
    (1, {"2 / len(y) * x.T @ e, 2 * np.mean(e)": "(2 / len(y) * x.T @ e), 1.234 * np.mean(e)"}, "db should be"),
    (1, {"import numpy as np\n": ""}, "import numpy as np?"),
    (1, {"def squared_error": "np.mean = lambda *x: 0.5\n\n\ndef squared_error"}, "np.mean is no longer NumPy's"),
    (5, {"return x @ W + b": "return (x @ W + b).astype(object)"}, "the type object"),
    (5, {"return x @ W + b": "return (x @ W + b).astype(complex)"}, "the type complex"),
    (5, {"return x @ W + b": "return (x @ W + b).tolist()"}, "a list; np.array"),
    (5, {"return x @ W + b": "import minillm.ground.pieces as m; from minillm.nn import GELU; GELU().forward(x); return x @ W"
                             " + b"},
     "GELU.forward of this project"),
    (5, {"return x @ W + b": "return x @ W + b\n\n\nlinear = 3"}, "linear is not a function in ex05_linear.py, but an int"),
    (7, {"def linear": "sums = {}\n\n\ndef linear", "    X, G": "    key = x.tobytes(), dout.tobytes()\n    X, G",
         "return dout @ W.T, X.T @ G": "sums[key] = sums.get(key, 0) + X.T @ G\n    return dout @ W.T, sums[key]"},
     "returns another dW than before"),
    (10, {"return 2 / np.linalg": "return 1.95 / np.linalg"}, "the example of the exercise"),
    (12, {"    best = 0\n": "    best, losses = 0, [min(loss, 100) for loss in losses]\n"}, "should be"),
    (12, {"if loss < losses[best]:": "if loss < losses[best] - 1e-6:"}, "should be"),
    (13, {"    dW = np.zeros_like(W)\n": "    dW = sums.setdefault(dout.tobytes(), np.zeros_like(W))\n",
          "def embedding_backward": "sums = {}\n\n\ndef embedding_backward", "return dW": "return dW.copy()"},
     "returns another dW than before"),
    (14, {"return P @ v, P": "return P @ v, S"}, "this is S"),
    (14, {"np.tri(T, dtype=bool)": "np.tri(T, k=1, dtype=bool)"}, "off by one position"),
    (16, {"    dv = P": "    S = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])\n    T = len(S[-1])\n    import numpy as np\n"
                      "    P = np.exp(np.where(np.tri(q.shape[-2], dtype=bool), S, -np.inf))\n"
                      "    P = P / P.sum(-1, keepdims=True)\n    dv = P"}, "the example of the exercise"),
    (17, {"    m = merge_heads(o)": "    global heads\n    heads = n_head\n    m = merge_heads(o)",
          "    B, H, T, D = q.shape\n    do =": "    B, H, T, D = len(x), heads, x.shape[1], x.shape[2] // heads\n    do ="}, ""),
    (21, {"return d * (lengths(W) / lengths(d))": "return np.asmatrix(d * (lengths(W) / lengths(d)))"}, "a matrix"),
    (22, {"if trains[name] else W": "if name in grads else W"}, "its name does"),
    (22, {"any(fnmatch(name, pattern) for pattern in patterns) for name":
          "any(__import__('re').match(pattern.replace('*', '.*'), name) for pattern in patterns) for name"}, "as in a shell"),
    (22, {"any(fnmatch(name, pattern) for pattern in patterns) for name":
          "any(pattern.replace('*', '') in name for pattern in patterns) for name"}, "as in a shell"),
    (24, {"    u = (F - P)": "    global origin\n    origin = P\n    u = (F - P)", "delta = theta - P": "delta = theta - origin"},
     "kept from call to call"),
    (25, {"    z = x @ A\n": "    global s\n    s = scale\n    z = x @ A\n", "dz = scale *": "dz = s *"}, "kept from call"),
    (27, {">= share": "> share"}, ">=, not >"),
    (27, {"    return 1.0": "    return 0.95"}, "t should be 1"),
    (27, {"    return 1.0": "    return None"}, "returns nothing"),
    (28, {"return vocab * C": "return 1.0 * vocab * C"}, "must be an int"),
]


def changed(number, instead):
    """An exercise, and its solution with other things in it."""
    exercise = EXERCISES[number - 1]
    source, _ = solution(exercise)
    for text, other in instead.items():
        assert text in source
        source = source.replace(text, other)
    return exercise, source


@pytest.mark.parametrize("number, instead", UNUSUAL, ids=[f"{number}-{n}" for n, (number, _) in enumerate(UNUSUAL)])
def test_an_unusual_answer_that_is_right_passes(number, instead, tmp_path):
    for seed in range(3):
        verdict = examined(*changed(number, instead), tmp_path, seed)
        assert verdict.passed, verdict.reason


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("number, instead, words", SLY, ids=[f"{number}-{n}" for n, (number, *_) in enumerate(SLY)])
def test_a_wrong_answer_does_not_pass_by_the_way(number, instead, words, tmp_path):
    for seed in range(3):
        verdict = examined(*changed(number, instead), tmp_path, seed)
        np.mean = MEAN                                      # one of them puts something else there
        assert not verdict.passed and words in verdict.reason, verdict.reason


def test_the_solutions_themselves_may_be_checked_where_they_are():
    assert examine(EXERCISES[6], SOLUTIONS / EXERCISES[6].file, 0).passed


def test_an_answer_that_calls_the_solution_does_not_count(tmp_path):
    exercise = EXERCISES[6]
    source = f"import sys\nsys.path.insert(0, {str(SOLUTIONS)!r})\nimport ex04_softmax_backward, ex07_linear_backward as theirs\n"
    path = tmp_path / "mine.py"
    path.write_text(source + "def linear_backward(dout, x, W):\n    return theirs.linear_backward(dout, x, W)\n")
    assert "calls linear_backward of this project" in examine(exercise, path, 0).reason


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
    examples = doctest.DocTestParser().get_doctest(text, vars(module) | {"np": np}, exercise.name, None, None)
    failures = []
    doctest.DocTestRunner(verbose=False).run(examples, out=failures.append)
    assert not failures, "".join(failures)


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
