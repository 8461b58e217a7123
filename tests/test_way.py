"""The map's list of the steps of one fine-tuning is the way that a run takes."""

import re
import sys
from pathlib import Path

from commands import run
from test_architecture import FLOORS, PACKAGE

from minillm.tasks.special import SpecialTask

STEP = re.compile(r"^\|[^|]+\| `([\w/]+\.py)` \| `([\w.]+)` \|$", re.M)


def steps_of_the_map():
    """[(file, qualified name)] of the table in minillm/README.md."""
    section = (PACKAGE / "README.md").read_text(encoding="utf-8").split("## One fine-tuning, step by step")[1].split("\n## ")[0]
    return STEP.findall(section)


def test_the_steps_happen_in_this_order(story, tmp_path, monkeypatch):
    # Evaluations are no steps of the list, and take seconds while each of their calls is noted.
    monkeypatch.setattr(SpecialTask, "validate", lambda *_: {"loss": 1.0})
    monkeypatch.setattr(SpecialTask, "final_report", lambda *_: ([], {}))
    calls = []

    def note(frame, event, _):
        if event == "call":
            path = Path(frame.f_code.co_filename)
            if PACKAGE in path.parents:
                calls.append((path.relative_to(PACKAGE).as_posix(), frame.f_code))

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        code, *_ = run("finetune", "--base", story / "pretrained.npz", "--method", "lora", "--steps", 2, "--batch", 2,
                       "--documents", 4, "--workers", 1, "--out", tmp_path)
    finally:
        sys.setprofile(before)
    assert code == 0
    at = -1
    for file, name in steps_of_the_map():
        *_, function = name.split(".")
        at = next((i for i, (path, c) in enumerate(calls) if i > at and path == file and c.co_name == function), None)
        assert at is not None, f"{file}, {name}"


def test_the_way_is_short_and_flows_down():
    steps = steps_of_the_map()
    floors = [FLOORS[Path(file).parts[0]] for file, _ in steps]
    assert 10 <= len({file for file, _ in steps}) <= 14
    assert sum(later > earlier for earlier, later in zip(floors, floors[1:])) <= 6
