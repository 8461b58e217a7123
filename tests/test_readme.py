"""What the README promises: its commands are one line each, its Python runs, its pictures are there."""

import re
from pathlib import Path

import pytest

from minillm.commands import COMMANDS
from minillm.commands.app import parser

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.S | re.M)


def test_the_first_two_shell_blocks_set_up_and_are_one_line_each():
    run, test = (block.strip() for block in blocks("sh")[:2])
    assert run.endswith("minillm demo") and test.endswith("pytest -q")
    for line in (run, test):
        assert "\n" not in line and line.startswith("python3 -m venv .venv && .venv/bin/pip install")


def test_the_python_of_the_readme_runs(monkeypatch, capsys):
    """The same lines, with a handful of steps on a smaller model."""
    source = blocks("python")[0]
    shorter = {"range(800)": "range(2)", "range(128)": "range(2)", "n_layer=4": "n_layer=1", "n_embd=128": "n_embd=16",
               '"novel", 512': '"novel", 16', "evaluate_world(model, world)": "evaluate_world(model, world, n=2)"}
    for long, short in shorter.items():
        assert long in source
        source = source.replace(long, short)
    exec(compile(source, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "this will train" in out and "novel" in out.splitlines()[-1]


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#]+)\)", README))
def test_what_the_readme_links_to_exists(path):
    assert path.startswith("http") or (ROOT / path).exists()


def test_every_command_of_the_readme_is_a_command():
    shown = re.findall(r"`(?:\.venv/bin/)?minillm ([a-z]+[^`]*)`", README)
    assert {words.split()[0] for words in shown} == set(COMMANDS)
    for words in shown:
        arguments = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", words)]
        assert parser().parse_args(arguments).command == arguments[0]
