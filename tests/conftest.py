import minillm  # noqa: F401, I001  (first: it tunes the process before NumPy loads)
import numpy as np
import pytest


@pytest.fixture
def rng():
    """Random numbers, the same ones in every run."""
    return np.random.default_rng(1234)
