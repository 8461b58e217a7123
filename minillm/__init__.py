"""minillm: a small GPT with every gradient written by hand, pretrained and fine-tuned before your eyes."""

from . import runtime  # noqa: F401  (first: it tunes the process before NumPy loads)

__version__ = "0.1.0"
