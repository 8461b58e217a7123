"""The output of commands: standard output, a last line of JSON if asked for, and errors on standard error."""

import io
import json
import os
import sys
from contextlib import contextmanager, suppress

from ..finetune.summary import parameter_counts
from ..ground.files import without_nan
from ..ground.progress import IgnoringErrors
from ..ground.schema import printable

LONGEST = 500       # characters of an error message
WORK_IS_KEPT = "; finished work is kept, and the same command continues from there"       # an IF_INTERRUPTED


def print_json(args, result):
    """With --json, the last line of standard output is one JSON object."""
    if args.json:
        print(json.dumps(without_nan(result)), flush=True)


def print_error(sentence):
    """Print one line on standard error, whatever characters the sentence contains."""
    start = "\n" if sentence.startswith("\n") else ""
    line = printable(sentence[len(start):][:10 * LONGEST])
    if len(line) > LONGEST:                                 # such as one with a name of 100,000 characters
        line = f"{line[:2 * LONGEST // 3]} ... {line[-LONGEST // 3:]}"
    with suppress(OSError, ValueError, AttributeError):     # standard error may be closed
        print(f"{start}{line}", file=sys.stderr, flush=True)


@contextmanager
def safe_streams():
    """A context in which printing cannot fail: both streams exist, and escape characters that the terminal cannot show."""
    streams = sys.stdout, sys.stderr
    for name, stream in zip(("stdout", "stderr"), streams):
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))      # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        raise
    finally:
        sys.stdout, sys.stderr = streams


@contextmanager
def ignore_closed_output():
    """A context in which a command continues when its output is closed, because its results go into files."""
    before, sys.stdout = sys.stdout, IgnoringErrors(sys.stdout)
    try:
        yield
    finally:
        sys.stdout = before
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                drop_output()


def drop_output():
    """Redirect standard output to nowhere: Python flushes it again at exit, and would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_result(args, loaded, task, out):
    """Print what a training command ends with: the time it took, how good the model is, and its file."""
    lines, numbers = task.final_report(loaded.model)
    print(f"{loaded.meta['seconds']:.1f} seconds", *lines, out, sep="\n")
    print_json(args, numbers | {"seconds": loaded.meta["seconds"]} | parameter_counts(loaded.model))
