"""The house: imports point down only, and nothing is needed that a user has not installed."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minillm
from minillm.ground import runtime

PACKAGE = Path(__file__).parents[1] / "minillm"
FILES = sorted(PACKAGE.rglob("*.py"))

# Each top-level module or folder of the package and the floor on which it stands; two on one floor do not know each other.
FLOORS = {"ground": 0, "nn": 1, "gradcheck": 2, "text": 2, "inference": 3, "tasks": 4, "train": 5, "finetune": 6, "runs": 7,
          "hub": 8, "surface": 8, "draw": 9, "__init__": 9, "bench": 10, "demo": 10, "live": 10, "gallery": 11, "exercises": 11,
          "report": 12, "commands": 13, "__main__": 14}
ALLOWED = {"numpy", "tqdm", "matplotlib"}
EXTRAS = {"hub/safetensors_file.py": {"safetensors"}}      # where they are used, so that all else works without them
LINES, LINES_OF_A_FUNCTION = 300, 60

every_file = pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])


def room(path):
    """The top-level module or folder that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def package_of(path):
    """The dotted name of the package that a file lies in, against which its relative imports count: ["minillm", "nn"]"""
    return ["minillm", *path.relative_to(PACKAGE).parent.parts]


def imports(source, package):
    """Absolute dotted names of all that a source imports, wherever in it: inside a function, too."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            names += [".".join([*base, alias.name]) for alias in node.names]
    return names


def imports_of(path):
    return imports(path.read_text(encoding="utf-8"), package_of(path))


@pytest.mark.parametrize("source, expected", [
    ("import numpy as np", ["numpy"]),
    ("from matplotlib import pyplot", ["matplotlib.pyplot"]),
    ("from .linear import Linear", ["minillm.nn.linear.Linear"]),
    ("from ..draw import curves", ["minillm.draw.curves"]),
    ("from .. import draw", ["minillm.draw"]),
    ("def f():\n    from ..draw.curves import plot", ["minillm.draw.curves.plot"]),
])
def test_imports_are_found(source, expected):
    assert imports(source, ["minillm", "nn"]) == expected


def floors_in(text):
    """The floors of the rooms that a map lists: the names with which its lines begin, before two spaces or more."""
    for line in text.splitlines():
        names = re.split(r"  +(?!\S+\.py\b)", line.strip())[0]
        rooms = [word.rstrip("/").removesuffix(".py") for word in re.split(r"[, ]+", names)]
        if all(room in FLOORS for room in rooms):
            yield from (FLOORS[room] for room in rooms)


@pytest.mark.parametrize("where", ["__init__.py", "README.md"])
def test_the_maps_list_the_rooms_from_the_top_floor_to_the_ground(where):
    text = (PACKAGE / where).read_text(encoding="utf-8")
    listed = list(floors_in(text.split('"""')[1] if where == "__init__.py" else text.split("```")[1]))
    assert len(listed) > 12 and listed[-1] == 0 and listed == sorted(listed, reverse=True)


@every_file
def test_every_file_stands_on_a_floor(path):
    assert room(path) in FLOORS


@every_file
def test_files_fit_on_a_few_screens(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


@every_file
def test_functions_do_one_thing(path):
    """Counted from the first decorator to the last line, with the docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min(part.lineno for part in (node, *node.decorator_list))
            short = node.end_lineno - first + 1 <= LINES_OF_A_FUNCTION
            assert short, f"line {first}"


@every_file
def test_imports_point_down_only(path):
    here = room(path)
    for name in imports_of(path):
        if name.startswith("minillm."):
            there = name.split(".")[1]
            if there in FLOORS:      # or a name such as __version__, of minillm/__init__.py itself
                initial = here == "__init__" and there == "ground"
                assert there == here or FLOORS[there] < FLOORS[here] or initial, name


def test_layers_know_nothing_but_layers():
    """And how long arrays are cut into pieces; and a Config, what a number may be."""
    for path in FILES:
        ground = "minillm.ground.schema." if path.stem == "config" else "minillm.ground.pieces."
        names = [name for name in imports_of(path) if name.startswith("minillm.")] if room(path) == "nn" else []
        assert all(name.startswith(("minillm.nn.", ground)) for name in names)


@every_file
def test_only_draw_imports_matplotlib(path):
    assert room(path) == "draw" or not any(name.split(".")[0] == "matplotlib" for name in imports_of(path))


def test_no_function_of_draw_hides_a_module():
    names = ast.literal_eval(re.search(r"__all__ = (\[.*?\])", (PACKAGE / "draw" / "__init__.py").read_text(), re.DOTALL)[1])
    assert not [name for name in names if (PACKAGE / "draw" / f"{name}.py").exists()]


@every_file
def test_only_what_a_user_has_installed_is_imported(path):
    outside = {name.split(".")[0] for name in imports_of(path)} - {"minillm"}
    assert outside <= ALLOWED | EXTRAS.get(name_of(path), set()) | sys.stdlib_module_names


@every_file
def test_randomness_comes_from_a_generator_that_was_passed(path):
    """Neither Python's global generator nor NumPy's: np.random may only be asked for a Generator."""
    assert not any(name.split(".")[0] == "random" for name in imports_of(path))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("np.random", "numpy.random"):
            assert node.attr in ("default_rng", "Generator"), f"line {node.lineno}"


@pytest.mark.parametrize("module", ["minillm", "minillm.nn", "minillm.train.trainer", "minillm.commands.app"])
def test_import_is_light(module):
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert module in loaded
    assert not loaded & {"matplotlib", "tqdm", "torch"}


def test_runtime_is_tuned_before_numpy_loads():
    """In a process of its own: a single thread of the BLAS, and the environment is as it was, for whatever else comes."""
    code = ("import os, sys; before = 'numpy' in sys.modules, dict(os.environ); import minillm, numpy as np; "
            "np.ones((500, 500)) @ np.ones((500, 500)); "
            "print(before[0], len(os.listdir('/proc/self/task')), dict(os.environ) == before[1])")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_THREADS")}
    run = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True,
                         env=environment)
    assert run.stdout.split() == ["False", "1", "True"]


def test_every_name_of_the_package_comes_when_it_is_asked_for():
    assert set(minillm.HOME_OF) == set(minillm.__all__) - {"__version__"}
    for name in minillm.__all__:
        assert getattr(minillm, name).__class__ and name in dir(minillm)
    with pytest.raises(AttributeError, match="no attribute 'Transformer'"):
        _ = minillm.Transformer


def test_blas_is_told_in_a_folder_with_spaces(tmp_path, monkeypatch):
    """The map of a process names each library by its path, in which there may be anything."""
    seen, counts = [], []
    maps = tmp_path / "maps"
    maps.write_text("7f00-7f01 r-xp 00000000 fe:00 1   /home/me/My Project/.venv/libscipy_openblas64_.so\n"
                    "7f02-7f03 rw-p 0 0:0 0\n7f04-7f05 r-xp 00000000 fe:00 2   /gone/libopenblas.so (deleted)\n")

    class Library:
        def __init__(self, path):
            seen.append(path)
            if "deleted" in path:
                raise OSError("no such library")
            self.scipy_openblas_set_num_threads64_ = lambda n: counts.append(n.value)

    real = open
    monkeypatch.setattr("builtins.open", lambda path, *args, **more: real(
        maps if path == "/proc/self/maps" else path, *args, **more))
    monkeypatch.setattr(runtime.ctypes, "CDLL", Library)
    runtime._set_threads_of_loaded_openblas(1)
    assert sorted(seen) == ["/gone/libopenblas.so (deleted)", "/home/me/My Project/.venv/libscipy_openblas64_.so"]
    assert counts == [1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is of glibc")
def test_malloc_has_agreed():
    assert runtime.keep_freed_memory()


LAYER_NAME = re.compile(r"\b(attn|qkv|ln_1|ln_2|ln_f|wte|wpe)\b|\bmlp\.|\bblocks\.")
MAY_NAME_LAYERS = {"nn", "exercises"}      # an exercise teaches them
SPEAKS_TO_USERS = {"EXAMPLES", "PARTS"}    # help: what a user may type
HOMES_OF_NAMES = {"train/parts.py", "train/old_names.py", "hub/names.py"}


def texts_of(path):
    """(line, text) of every string in a file that is no docstring and no help for users."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(node.value)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in SPEAKS_TO_USERS for t in node.targets):
            skipped |= set(ast.walk(node.value))
    return [(node.lineno, node.value) for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped]


@every_file
def test_no_file_knows_the_name_of_a_layer_from_outside_its_room(path):
    """Whoever needs a layer asks the model for it: Module.modules, kind, Linear.maps, SUBLAYERS."""
    if room(path) in MAY_NAME_LAYERS or name_of(path) in HOMES_OF_NAMES:
        return
    assert not [(line, text) for line, text in texts_of(path) if LAYER_NAME.search(text)]


def test_every_file_on_the_map_exists():
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    files = re.findall(r"`([\w./]+/(?:\w+\.\w+)?)`|`(\w+\.py)`", text)
    names = {name for pair in files for name in pair if name and "exNN" not in name and "NAME" not in name and "X" not in name}
    assert len(names) > 50
    roots = (PACKAGE, PACKAGE.parent, PACKAGE / "exercises")
    assert not [name for name in names if not any((root / name).exists() for root in roots)]
