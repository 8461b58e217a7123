import minillm  # noqa: F401, I001  (first: it tunes the process before NumPy loads)
from functools import partial

import numpy as np
import pytest
from matplotlib.text import Text

from minillm import draw  # here, since what is imported before the workers are forked is imported once

pytest_plugins = ["sharing"]


@pytest.fixture
def rng():
    """Random numbers, the same ones in every run."""
    return np.random.default_rng(1234)


@pytest.fixture(scope="session", autouse=True)
def one_worker():
    """Unless a test asks for more: to fork a process takes longer than all that models as tiny as these have to do.

    And if there are several, they sleep while they wait: to look for a message again and again takes a core from other tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minillm.ground.processes.cores", lambda: 1)
        patch.setattr("minillm.ground.processes.POLL_SECONDS", 0.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_raw_tex():
    """No test draws a text of TeX as it stands: mathtext is off, so a log axis without a formatter of its own shows that."""
    real_draw = Text.draw

    def checked(self, renderer, *args, **kwargs):
        assert r"\math" not in self.get_text() or not self.get_visible(), self.get_text()
        return real_draw(self, renderer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", checked)
        yield


@pytest.fixture(scope="session", autouse=True)
def short_films():
    """What commands make of films has few frames here; tests of films themselves take them from where they are made."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("animate", "player", "player_html"):
            patch.setattr(draw, name, partial(getattr(draw, name), frames=3))
        yield


@pytest.fixture(scope="session", autouse=True)
def short_texts():
    """What recorded weights write is cut short, since every step of every run writes anew."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("minillm.surface.views", "minillm.live"):
            patch.setattr(f"{module}.SAMPLE", 12)
        yield


@pytest.fixture(scope="session")
def story(tmp_path_factory):
    """A folder with a tiny pretrained model and three specialists, as a demo leaves it: to be read, and its surfaces kept, but
    nothing in it changed."""
    from minillm.finetune.methods import BottleneckAdapter, Frozen, Full
    from minillm.runs.finetuning import finetune
    from minillm.runs.pretraining import pretrain
    from minillm.tasks.special import SpecialTask
    from minillm.tasks.world import CONTEXT, WorldTask
    from minillm.train.optimizers import AdamW
    from minillm.train.optimizers.muon import Muon

    folder = tmp_path_factory.mktemp("story")
    config = {"context": CONTEXT, "n_layer": 2, "n_head": 2, "n_embd": 12}
    base = pretrain(WorldTask(2), config, folder / "pretrained.npz", optimizer=Muon(), steps=15, batch=4, seed=2)
    for recipe, lr in ((Full(), 3e-3), (Frozen(), 5e-3), (BottleneckAdapter(4), 1e-2)):
        finetune(base, folder / "pretrained.npz", SpecialTask("novel", 2, 8), recipe, folder / f"{recipe.method}.npz",
                 optimizer=AdamW(lr), steps=12, batch=4, seed=2)
    return folder
