"""Handle Ctrl-C only where it does no harm.

Python can raise KeyboardInterrupt between any two bytecodes: after a temporary file was created but before anything will remove
it, or inside code whose exceptions are ignored. So operations that must not be interrupted are `shielded`, a training run only
notes the press and ends after a whole step (`pressed`), and a command handles it as `listening` says.
"""

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager

REPEAT_SECONDS = 5.0      # presses that follow the first one within this time count as the same press, made impatiently
RETRY_SECONDS = 0.01      # until a press that got lost is raised again

_last_press = float("-inf")      # when the last press that was no repetition came, in time.monotonic()


def is_new_press():
    """Is this press of Ctrl-C more than a repetition of the last one?"""
    global _last_press
    now = time.monotonic()
    new = now - _last_press > REPEAT_SECONDS
    if new:
        _last_press = now
    return new


def can_listen():
    """Can handlers be set here? Only in the main thread, and not over a handler that was set outside of Python."""
    return threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not None


@contextmanager
def handled_by(handler):
    """Inside, Ctrl-C calls handler(signum, frame); afterwards the previous handler is back. Yields the previous handler."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, handler)
    try:
        yield before
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def shielded():
    """Inside, Ctrl-C and the signal that ends a worker are held back; they are handled at the end of the block.

    Meant for short blocks: a few file operations, or starting a few processes.
    """
    if not can_listen():
        yield
        return
    waiting, before = [], {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if number == signal.SIGINT or callable(signal.getsignal(number)):
            before[number] = signal.signal(number, lambda *press: waiting.append(press))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if waiting and callable(before[waiting[0][0]]):
        before[waiting[0][0]](*waiting[0])


@contextmanager
def pressed():
    """Inside, Ctrl-C only sets the event that is yielded, so that no step is interrupted in the middle.

    A second press, more than REPEAT_SECONDS later, interrupts at once.
    """
    event = threading.Event()
    if not can_listen():
        yield event
        return

    def note(signum, frame):
        if is_new_press():
            if event.is_set():
                raise KeyboardInterrupt
            event.set()

    global _last_press
    _last_press = float("-inf")
    with handled_by(note):
        yield event


def while_starting():
    """Let Ctrl-C end the command `minillm` with one sentence until the command itself handles it (`listening`).

    Nothing has been done yet that could be lost. Does nothing in another program that uses the package.
    """
    name = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    starting = name.removesuffix(".exe") in ("minillm", "-m")      # "-m": while Python looks for the module to run
    if not starting or not can_listen() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return

    def end(signum, frame):
        os.write(2, b"\nminillm: interrupted.\n")
        os._exit(130)

    signal.signal(signal.SIGINT, end)


@contextmanager
def listening():
    """Inside, Ctrl-C raises KeyboardInterrupt once; repetitions are ignored, so that they do not disturb the clean-up.

    If the clean-up hangs, another press after REPEAT_SECONDS ends the process at once. A press that comes while Python runs code
    whose exceptions are ignored (a destructor, say) is not lost, but raised again a moment later.
    """
    if not can_listen() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    presses = 0

    def press(signum, frame):
        nonlocal presses
        if signum == signal.SIGINT and not is_new_press():
            return
        presses += signum == signal.SIGINT
        if presses > 1:
            os._exit(130)
        raise KeyboardInterrupt

    def unraisable(lost, previous_hook=sys.unraisablehook):
        if isinstance(lost.exc_value, KeyboardInterrupt) and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, RETRY_SECONDS)
        else:
            previous_hook(lost)

    global _last_press
    _last_press = float("-inf")
    alarm = getattr(signal, "SIGALRM", None)
    before = sys.unraisablehook, alarm and signal.signal(alarm, press)
    sys.unraisablehook = unraisable
    try:
        with handled_by(press):
            yield
    finally:
        sys.unraisablehook = before[0]
        if alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(alarm, before[1])
