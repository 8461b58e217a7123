"""The room of the commands: one file each, all of one shape, and no more is loaded than is typed."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from test_architecture import imports_of

from minillm import commands
from minillm.commands import COMMANDS

FOLDER = Path(commands.__file__).parent
SHARED = {"__init__", "app", "parsing", "options", "recipes", "architecture", "inputs", "resuming", "output", "workbook"}
OF_A_COMMAND = {"SUMMARY", "EXAMPLES", "NOTES", "WRITES_FILES", "IF_INTERRUPTED"}


def neighbours(name):
    """The files of the room that a file of it imports."""
    prefix = "minillm.commands."
    return {imported.removeprefix(prefix).split(".")[0] for imported in imports_of(FOLDER / f"{name}.py")
            if imported.startswith(prefix)} & {path.stem for path in FOLDER.glob("*.py")}


def test_each_file_is_a_command_or_is_shared():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*COMMANDS, *SHARED} and len(set(COMMANDS)) == len(COMMANDS)
    for name in SHARED - {"__init__"}:
        assert f"\n    {name}  " in commands.__doc__


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_the_same_shape(name):
    module = importlib.import_module(f"minillm.commands.{name}")
    assert module.__doc__.startswith(f"minillm {name}: ")
    assert isinstance(module.SUMMARY, str) and isinstance(module.EXAMPLES, tuple)
    assert callable(module.add_options) and callable(module.run)
    assert isinstance(getattr(module, "WRITES_FILES", False), bool) and isinstance(getattr(module, "IF_INTERRUPTED", ""), str)
    assert isinstance(getattr(module, "NOTES", ""), str)
    for optional in OF_A_COMMAND:
        assert optional in commands.__doc__


@pytest.mark.parametrize("name", [*COMMANDS, *SHARED])
def test_no_file_imports_a_command(name):
    assert not neighbours(name) & set(COMMANDS)


def test_nothing_in_the_room_is_circular():
    left = {name: neighbours(name) - {"__init__"} for name in SHARED}
    while left:
        free = {name for name, needs in left.items() if not needs & set(left)}
        assert free, left
        left = {name: needs for name, needs in left.items() if name not in free}


@pytest.mark.parametrize("argv, loaded", [(["--version"], set()), (["hint", "--help"], {"hint"}), (["inspect"], {"inspect"}),
                                          (["--help"], set(COMMANDS)), (["nonsense"], set(COMMANDS)), ([], set(COMMANDS))])
def test_only_the_command_that_is_typed_is_loaded(argv, loaded):
    code = (f"import sys\nfrom minillm.commands.app import main\ntry:\n    main({argv})\nexcept SystemExit:\n"
            "    print(*sys.modules)")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = run.stdout.splitlines()[-1].split()
    assert {name for name in COMMANDS if f"minillm.commands.{name}" in modules} == loaded
    assert not {"matplotlib", "tqdm"} & set(modules)
