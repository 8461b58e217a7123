"""A sample of the attacks in attacks/, of which there are thousands: they find what nobody thought of (attacks/README.md)."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from minillm.ground.processes import CAN_FORK

sys.path.insert(0, str(Path(__file__).parent / "attacks"))

from ground import prepare_to_fork, scratch_folder  # noqa: E402
from malformed import Attack  # noqa: E402
from others_files import Others  # noqa: E402
from stage import HUB, Stage  # noqa: E402

pytestmark = pytest.mark.skipif(not CAN_FORK, reason="each attack is a fork")


@pytest.fixture(scope="module")
def stage():
    prepare_to_fork()
    with scratch_folder() as folder:
        stage = Stage(folder)
        stage.make_w(["lora:rank=2", "head"])
        stage.make_l(["lora:rank=2"])
        if HUB:
            stage.make_h(["llama", "words", "lora"])
        yield stage.need("t", "cut", "c", "b")


KINDS = {"(model|specialist|llama|llama's specialist)/(bytes|array|meta|shapes)": 24,
         "(unfinished run/(bytes|array|meta)|comparison|progress)": 6,
         "(text|pairs)": 8, "words": 30, "folder/(weights|json|settings|place)": 30}
LONG = ("demo", "compare", "bench", "gradcheck", "report", "surface", "lesson")


@pytest.mark.parametrize("kinds, count", KINDS.items(), ids=["files", "runs", "texts", "words", "folders"])
def test_what_is_malformed_is_refused_in_a_sentence(stage, kinds, count):
    if kinds.startswith("folder") and not HUB:
        pytest.skip("safetensors is not installed")
    attack = Attack(stage, seed=3, only=kinds, unless=LONG if kinds == "words" else ())
    attempts = [attempt for attempt in map(attack, range(count)) if attempt]
    wrong = [f"{attempt.index}: {attempt.name}: {attempt.outcome}" for attempt in attempts if not attempt.fine]
    assert attempts and not wrong, "\n".join(wrong)


@pytest.mark.parametrize("only", ["files beside, (pretrain|merge|lesson|hint|finetune$|import|export)",
                                  "in its place, (merge|import$)"])
def test_files_of_others_stay_as_they_are(stage, only):
    others = Others(stage, SimpleNamespace(only=only, seed=1))
    wrong = [f"{attempt.name}: {attempt.outcome}" for attempt in map(others, range(len(others.every))) if not attempt.fine]
    assert others.every and not wrong, "\n".join(wrong)
