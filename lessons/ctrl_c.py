"""Ctrl-C ends a lesson with a single line. `common` imports this before anything that takes long to import."""

import signal
import sys

SAID = ("KeyboardInterrupt", "Interrupted")      # the second is raised in training (minillm/train/fit.py)


def once(signum, frame):
    """Interrupt. Pressed again, Ctrl-C does nothing: the lesson is already ending."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def in_one_line(kind, error, trace):
    """Print one line instead of a traceback."""
    if kind.__name__ not in SAID:
        sys.__excepthook__(kind, error, trace)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("\nThe lesson was interrupted.", file=sys.stderr, flush=True)
    sys.exit(130)


if "ipykernel" not in sys.modules and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    sys.excepthook = in_one_line
    signal.signal(signal.SIGINT, once)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})      # `minillm lesson --run` has let it wait until here
