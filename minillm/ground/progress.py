"""Progress bars, and streams whose failure does not stop the work."""

from contextlib import suppress


class IgnoringErrors:
    """Wrap a stream so that failed writes are ignored: it may be closed, its disk full, or the reader of its pipe gone."""

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        self._try("write", text)
        return len(text)

    def flush(self):
        self._try("flush")

    def _try(self, name, *args):
        with suppress(OSError, ValueError):      # ValueError: the file is closed
            getattr(self.stream, name)(*args)

    def __getattr__(self, name):
        return getattr(self.stream, name)


def progress(iterable=None, quiet=False, **options):
    """A tqdm bar on standard error; not shown if that is a file or closed, or if `quiet`.

    iterable    what the bar iterates over; None if the caller updates it
    options     for tqdm: total, desc, unit ...
    """
    import sys

    from tqdm import tqdm  # here, since importing it takes half as long as NumPy

    if quiet or sys.stderr is None:
        return tqdm(iterable, disable=True, **options)
    return tqdm(iterable, disable=None, file=IgnoringErrors(sys.stderr), **options)
