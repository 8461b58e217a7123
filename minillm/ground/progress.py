"""Progress bars, which never stand in the way of the work."""

from contextlib import suppress


class Deaf:
    """A stream that goes on when nobody reads any more: standard error may be closed, or the program behind a pipe have ended."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        self._try("write", text)
        return len(text)

    def flush(self):
        self._try("flush")

    def _try(self, name, *args):
        with suppress(OSError, ValueError):      # a broken pipe, a full disk, a closed file
            getattr(self.stream, name)(*args)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def progress(iterable=None, quiet=False, **options):
    """A tqdm bar, shown where somebody looks at standard error: not if that is a file, and not if it is closed.

    iterable    what the bar goes along with; none if it is moved by hand
    options     of tqdm: total, desc, unit ...
    """
    import sys

    from tqdm import tqdm  # here, since importing it takes as long as half of NumPy

    if quiet or sys.stderr is None:
        return tqdm(iterable, disable=True, **options)
    return tqdm(iterable, disable=None, file=Deaf(sys.stderr), **options)
