"""Ctrl-C, heard where it does no harm.

Python raises KeyboardInterrupt between any two of its steps: also between the making of a temporary file and the note that it
must be removed, or inside code whose errors nobody sees. So what must not be cut is `shielded`, a training run only notes the
press and ends after a whole step (`pressed`), and a command listens as `listening` says.
"""

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager

SAME_WISH = 5.0      # seconds: presses that follow each other so closely mean one thing, said impatiently
SOON = 0.01          # seconds until a press that got lost is heard again

_heard = float("-inf")      # when a press was heard last


def is_new_wish():
    """Is this press of Ctrl-C more than a repetition of the one before?"""
    global _heard
    now = time.monotonic()
    new = now - _heard > SAME_WISH
    if new:
        _heard = now
    return new


def can_listen():
    """Signals are the business of the main thread, and of handlers that Python has set."""
    return threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is not None


@contextmanager
def handled_by(handler):
    """Inside, Ctrl-C calls handler(signum, frame); afterwards it does what it did before."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, handler)
    try:
        yield before
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def shielded():
    """Inside, Ctrl-C waits, and so does a worker's being told to end; it is heard at the end of the block.

    For a few file operations, or the start of a few processes: not for long.
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
    """Inside, Ctrl-C only sets the event that is yielded, so that a step is never cut in the middle.

    Pressed again, after a while, it stops at once.
    """
    event = threading.Event()
    if not can_listen():
        yield event
        return

    def note(signum, frame):
        if is_new_wish():
            if event.is_set():
                raise KeyboardInterrupt
            event.set()

    global _heard
    _heard = float("-inf")
    with handled_by(note):
        yield event


def while_starting():
    """If this process is the command `minillm`, and not another program that uses the package: until the command listens, Ctrl-C
    ends it with a sentence. Nothing has been done yet that could be lost."""
    name = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    starting = name.removesuffix(".exe") in ("minillm", "-m")      # "-m": while Python looks for the module that it is to run
    if not starting or not can_listen() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return

    def end(signum, frame):
        os.write(2, b"\nminillm: interrupted.\n")
        os._exit(130)

    signal.signal(signal.SIGINT, end)


@contextmanager
def listening():
    """Inside, Ctrl-C raises KeyboardInterrupt once, and its repetitions do not disturb whoever cleans up.

    If that hangs, another press after SAME_WISH seconds ends the process where it stands. A press that comes while Python runs
    code whose exceptions go nowhere (a destructor, say) is not lost, but heard a moment later.
    """
    if not can_listen() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    wishes = 0

    def press(signum, frame):
        nonlocal wishes
        if signum == signal.SIGINT and not is_new_wish():
            return
        wishes += signum == signal.SIGINT
        if wishes > 1:
            os._exit(130)
        raise KeyboardInterrupt

    def unraisable(lost, told=sys.unraisablehook):
        if isinstance(lost.exc_value, KeyboardInterrupt) and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, SOON)
        else:
            told(lost)

    global _heard
    _heard = float("-inf")
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
