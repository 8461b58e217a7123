"""Whole runs: from a task to a model on disk, and from there back into memory."""

from .finetuning import finetune
from .pretraining import pretrain
from .saved import Loaded, load

__all__ = ["Loaded", "finetune", "load", "pretrain"]
