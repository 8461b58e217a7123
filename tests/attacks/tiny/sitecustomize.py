"""Found on PYTHONPATH by the Pythons that attacks start: makes `demo --quick` and films short as soon as they are imported."""

import importlib.abc
import importlib.util
import sys
from functools import partial


def shorten_demo(demo):
    demo.QUICK = demo.Plan(layers=1, heads=2, width=8, batch=4, pretraining_steps=12, documents=8, finetuning_batch=4,
                           finetuning_steps=6, bottleneck=2, test_documents=2, samples=1, grid=3)


def shorten_films(draw):
    for name in ("animate", "player", "player_html"):
        if hasattr(draw, name):
            setattr(draw, name, partial(getattr(draw, name), frames=3))


AFTER = {"minillm.demo": shorten_demo, "minillm.draw": shorten_films}


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in AFTER:
            return None
        change = AFTER.pop(name)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def load_and_change(module):
            load(module)
            change(module)
        spec.loader.exec_module = load_and_change
        return spec


sys.meta_path.insert(0, Finder())
