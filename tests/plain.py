"""The plain form of everything: lessons/whole_story.py as a module, loaded once for all tests that hold something against it."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from unittest.mock import patch

PATH = Path(__file__).resolve().parents[1] / "lessons" / "whole_story.py"

spec = spec_from_file_location("whole_story", PATH)
plain = module_from_spec(spec)
with patch.dict("os.environ"):      # in which it chooses a number of threads, for runs of its own
    spec.loader.exec_module(plain)


def zeros_like(w):
    """Room for the gradients of all weights."""
    return {name: 0 * array for name, array in w.items()}
