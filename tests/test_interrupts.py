"""Ctrl-C: heard once, never in the middle of what must not be cut, and never lost."""

import gc
import os
import signal
import sys
import threading
import time

import pytest

from minillm.ground import interrupts
from minillm.ground.interrupts import listening, pressed, shielded, while_starting


def press():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def as_it_was():
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    yield
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_a_shield_holds_ctrl_c_off_until_the_end():
    done = []
    with pytest.raises(KeyboardInterrupt), shielded():
        press()
        press()
        done.append("all of it")
    assert done == ["all of it"]


def test_shields_within_shields():
    done = []
    with pytest.raises(KeyboardInterrupt), shielded():
        with shielded():
            press()
            done.append(1)
        done.append(2)
    assert done == [1, 2]


def test_a_shield_holds_off_being_told_to_end_as_well():
    def leave(*_):
        raise SystemExit(3)

    done, before = [], signal.signal(signal.SIGTERM, leave)
    try:
        with pytest.raises(SystemExit), shielded():
            signal.raise_signal(signal.SIGTERM)
            done.append("all of it")
        assert done == ["all of it"] and signal.getsignal(signal.SIGTERM) is leave
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_error_behind_a_shield_is_raised_as_ever():
    with pytest.raises(ZeroDivisionError), shielded():
        raise ZeroDivisionError


def test_in_another_thread_a_shield_is_nothing():
    seen = []

    def work():
        with shielded(), pressed() as stop, listening():
            seen.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_run_only_notes_the_press():
    with pressed() as stop:
        assert not stop.is_set()
        press()
        press()
        assert stop.is_set()


def test_a_new_run_listens_anew():
    for _ in range(2):
        with pressed() as stop:
            press()
            assert stop.is_set()


def test_who_insists_is_heard_at_once(monkeypatch):
    monkeypatch.setattr(interrupts, "REPEAT_SECONDS", -1.0)
    with pytest.raises(KeyboardInterrupt), pressed():
        press()
        press()


def test_a_command_hears_the_first_press_and_cleans_up_undisturbed():
    cleaned = []
    with listening():
        try:
            press()
        except KeyboardInterrupt:
            press()
            press()
            cleaned.append("all of it")
    assert cleaned == ["all of it"]


def test_a_run_within_a_command_counts_as_the_first_press():
    with listening():
        with pressed() as stop:
            press()
        assert stop.is_set()
        press()      # in the same hurry, while the run is being saved


def test_a_cleaning_up_that_hangs_can_be_ended(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(interrupts, "REPEAT_SECONDS", -1.0)
    with listening():
        with pytest.raises(KeyboardInterrupt):
            press()
        with pytest.raises(KeyboardInterrupt):      # it would not come back from _exit
            press()
    assert ended == [130]


class Hides:
    """Whatever is raised while this goes is told to nobody."""

    def __del__(self):
        press()
        time.sleep(0)


def test_a_press_that_got_lost_is_heard_a_moment_later():
    with listening(), pytest.raises(KeyboardInterrupt):
        hides = Hides()
        del hides
        gc.collect()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.001)


def test_other_errors_that_got_lost_are_reported_as_ever(monkeypatch):
    class Fails:
        def __del__(self):
            raise ZeroDivisionError("lost")

    errors = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: errors.append(type(lost.exc_value)))
    with listening():
        fails = Fails()
        del fails
        gc.collect()
    assert errors == [ZeroDivisionError]
    monkeypatch.undo()


@pytest.mark.parametrize("name, starting", [("/usr/bin/minillm", True), ("-m", True), ("minillm.exe", True), ("pytest", False),
                                            ("", False), ("/home/me/minillm/notebook.py", False)])
def test_only_the_command_itself_listens_from_its_start(name, starting, monkeypatch):
    monkeypatch.setattr(sys, "argv", [name, "demo"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        while_starting()
        assert (signal.getsignal(signal.SIGINT) is not signal.default_int_handler) is starting
    finally:
        signal.signal(signal.SIGINT, before)
