from . import runtime  # noqa: F401  (first: it tunes the process before NumPy loads)
