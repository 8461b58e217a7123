"""A model without numbers, to know names and shapes before anything is built."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..nn import GPT


class NoNumbers:
    """A random generator whose weights take no memory, for a model that is only measured, or gets its weights from a file."""

    def normal(self, loc, scale, size):
        return np.broadcast_to(np.float32(0), size)

    def uniform(self, low, high, size):
        return np.broadcast_to(np.float32(0), size)

    def __getattr__(self, name):
        raise AttributeError(f"the first weights of a layer must be drawn with rng.normal or rng.uniform, not with rng.{name}: "
                             "NoNumbers (train/blueprint.py), which takes the place of the rng, knows only these")


@lru_cache(maxsize=32)
def blueprint(config):
    """A GPT with a single block, whose matrices and tables are views of one zero, so they take no memory."""
    return GPT(replace(config, n_layer=1), NoNumbers())


def n_parameters(config):
    """How many numbers a GPT of this shape has."""
    model = blueprint(config)
    return count(model) + (config.n_layer - 1) * count(model.blocks[0])


def count(module):
    return sum(p.size for p in module.parameters().values())
