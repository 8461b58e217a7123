"""Run a learner's file, and report whatever goes wrong in it with its line, never as a traceback."""

import errno
import importlib.util
import re
import sys
import traceback
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np

from .sources import compiled, folder_of, is_learners, lies_in
from .warden import MEMORY, WRITTEN

IMPORTS = {"np": "import numpy as np", "numpy": "import numpy", "math": "import math"}


class Wrong(Exception):
    """An attempt is not right yet. Its lines tell the learner why; `line` is the line to look at, if it is known."""

    def __init__(self, *lines, line=None):
        super().__init__("\n".join(filter(None, lines)))
        self.line = line


class Unwritten(Wrong):
    """A function still has its `raise NotImplementedError`."""


class LearnersFile:
    """A file and the module that it becomes when it is run. It can import files beside it inside `sources.at_home`."""

    def __init__(self, path):
        self.path = Path(path).absolute()
        self.folder = folder_of(path)
        self.module = self.load()

    def load(self):
        """Run the file from top to bottom, and return its module."""
        try:
            code = compiled(self.path, self.folder)
        except SyntaxError as error:
            raise not_python(error) from None
        except OSError as error:
            raise Wrong(f"{self.path.name} cannot be read: {error.strerror}.") from None
        name = self.path.stem
        if name in sys.modules and not is_learners(sys.modules[name]):
            name += " of the learner"                           # numpy.py, say, must not replace NumPy
        loader = SourceFileLoader(name, str(self.path))         # for any suffix
        module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(name, self.path, loader=loader))
        sys.modules[name] = module
        with self.explaining("while it was imported"):
            exec(code, vars(module))
        return module

    @contextmanager
    def explaining(self, when, inputs=""):
        """Inside, any exception of the learner's code becomes a Wrong that names the line; `inputs` describes the arguments."""
        try:
            with np.errstate(all="ignore"):
                yield
        except Wrong:
            raise
        except NotImplementedError as error:
            if not (frames := self.frames(error)):
                raise self.failed(error, when, inputs) from None
            unwritten = Path(frames[-1].filename).name if frames[-1].name == "<module>" else frames[-1].name
            raise Unwritten(f"{unwritten} is not written yet (line {frames[-1].lineno} of {Path(frames[-1].filename).name}).",
                            line=frames[-1].lineno) from None
        except BaseException as error:
            if isinstance(error, SyntaxError) and lies_in(str(error.filename), self.folder):
                raise not_python(error) from None                # another file, which this one imports
            raise self.failed(error, when, inputs) from None

    def failed(self, error, when, inputs=""):
        """A Wrong for an exception: the line in this file first, then the line in an earlier exercise, if it was raised there."""
        text = f"{type(error).__name__}: {message(error)}".rstrip(": ")
        frames = self.frames(error)
        if not frames:
            return Wrong(f"{text} ({when})", inputs, advice_on(error))
        own = [frame for frame in frames if frame.filename == str(self.path)] or frames
        lines = [f"Line {own[-1].lineno} of {Path(own[-1].filename).name} stops {when}:", f"    {own[-1].line}"]
        if frames[-1] is not own[-1]:
            lines += [f"It got as far as line {frames[-1].lineno} of {Path(frames[-1].filename).name}:", f"    {frames[-1].line}"]
        return Wrong(*lines, text, inputs, advice_on(error), line=own[-1].lineno)

    def frames(self, error):
        """The traceback entries of an exception that are in the learner's folder, the innermost last."""
        return [frame for frame in traceback.extract_tb(error.__traceback__) if lies_in(frame.filename, self.folder)]


def message(error):
    """The first line of an exception's message; "" if it cannot be converted to a string."""
    try:
        return str(error).split("\n")[0]
    except Exception:
        return ""


def not_python(error):
    """A Wrong for a file that cannot be compiled."""
    name = Path(error.filename).name
    where = f"Line {error.lineno} of {name}" if error.lineno else name
    return Wrong(f"{where} is not Python: {error.msg}.", *quoted(error.text, error.offset), line=error.lineno)


def quoted(text, offset):
    """A line of source, and a line with a mark under the error."""
    if not text:
        return []
    line = text.rstrip("\n").split("\n")[0]
    indent = len(line) - len(line.lstrip())
    mark = " " * max(0, (offset or 1) - 1 - indent) + "^"
    return [f"    {line.strip()}", f"    {mark}"]


def advice_on(error):
    """Advice that usually helps with an exception; "" if there is none."""
    text = message(error)
    if isinstance(error, ValueError) and "matmul" in text:
        return ("In a product x @ y the last length of x must be the last but one of y. Write the shapes beside the line; "
                "is a transpose (.T) missing, or on the wrong factor? With more than two axes .T turns all of them.")
    if isinstance(error, ValueError) and "remapped" in text:
        return "In einsum a letter stands for one length, wherever it occurs. Write the shapes beside the letters."
    if isinstance(error, ValueError) and "broadcast" in text:
        return ("These shapes do not fit together number by number. Write them beside the line; is a matrix product (@) "
                "meant? After a sum over one axis, keepdims=True leaves it with length 1, and then the rest fits.")
    if isinstance(error, ValueError) and "truth value of an array" in text:
        return ("`if`, `and` and max() want a single True or False, and this is a whole array of them. np.maximum and np.where "
                "work number by number, and so does a product with (x > 0).")
    if isinstance(error, TypeError) and ("only length-1" in text or "only 0-dimensional" in text or "only size-1" in text):
        return "Functions of `math` take one number; those of NumPy (np.exp, np.tanh) take whole arrays."
    if type(error).__name__ == "AxisError":
        return "The array has fewer axes than that. Counting from the end works for any number of axes: axis=-1 is the last."
    if isinstance(error, ModuleNotFoundError) and re.fullmatch(r"ex\d\d_\w+", error.name or ""):
        return f"This exercise builds on an earlier one: {error.name}.py must be in the same folder, and solved."
    if isinstance(error, EOFError):
        return "An exercise is checked without a keyboard: it must not ask for input."
    if isinstance(error, SystemExit):
        return "The file must not end the program: remove exit() or quit()."
    if isinstance(error, RecursionError):
        return "The function calls itself without end."
    if isinstance(error, KeyboardInterrupt):
        return "The file must not raise that: it is for Ctrl-C alone."
    if isinstance(error, MemoryError):
        return f"A check may take {MEMORY / 2 ** 30:.0f} GB of memory. Is an array larger than meant, or a loop without end?"
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return f"A check may write {WRITTEN / 2 ** 20:.0f} MB into a file."
    if isinstance(error, NameError) and error.name in IMPORTS:
        return f"Is a line missing at the top of the file: {IMPORTS[error.name]}?"
    if isinstance(error, (NameError, UnboundLocalError)):
        return "Is it spelled as where it is assigned, and is it always assigned before this line?"
    return ""
