"""The optimizers, one file each, and their names."""

from .adamw import AdamW
from .muon import Muon
from .optimizer import Optimizer
from .sgd import SGD

OPTIMIZERS = {"muon": Muon, "adamw": AdamW, "sgd": SGD}

__all__ = ["AdamW", "Muon", "OPTIMIZERS", "Optimizer", "SGD"]
