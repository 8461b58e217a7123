"""A learner's file: it is run, and whatever goes wrong in it is told to the learner with the line, never as a traceback."""

import importlib.util
import re
import sys
import traceback
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path

import numpy as np


class Wrong(Exception):
    """An attempt is not right yet. Its lines tell the learner why; `line` is where to look, if that is known."""

    def __init__(self, *lines, line=None):
        super().__init__("\n".join(filter(None, lines)))
        self.line = line


class Unwritten(Wrong):
    """Something still has its `raise NotImplementedError`."""


class LearnersFile:
    """path, and module: what running the file has made."""

    def __init__(self, path):
        self.path = Path(path)
        self.folder = self.path.resolve().parent
        self.module = self.load()

    def load(self):
        """Run the file from top to bottom. The files beside it, earlier exercises, can be imported by name."""
        try:
            source = self.path.read_text(encoding="utf-8")
            compile(source, str(self.path), "exec")
        except UnicodeDecodeError as error:
            raise Wrong(f"{self.path.name} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8.") from None
        except SyntaxError as error:
            raise Wrong(f"Line {error.lineno} of {self.path.name} is not Python: {error.msg}.",
                        *quoted(error.text, error.offset), line=error.lineno) from None
        except ValueError as error:
            raise Wrong(f"{self.path.name} is not Python: {error}.") from None
        sys.path.insert(0, str(self.folder))
        for name in [name for name in sys.modules if re.fullmatch(r"ex\d\d_\w+", name)]:
            del sys.modules[name]                                   # as it is now, and from this folder
        loader = SourceFileLoader(self.path.stem, str(self.path))      # whatever the file's ending
        spec = importlib.util.spec_from_file_location(self.path.stem, self.path, loader=loader)
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.path.stem] = module
        try:
            with self.told("while it was imported"):
                spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(self.folder))
        return module

    @contextmanager
    def told(self, when, given=""):
        """Whatever the learner's code raises inside becomes a Wrong that names the line; `given` says with what it was called."""
        try:
            with np.errstate(all="ignore"):
                yield
        except Wrong:
            raise
        except NotImplementedError as error:
            frame = self.frames(error)[-1]
            what = Path(frame.filename).name if frame.name == "<module>" else frame.name
            raise Unwritten(f"{what} is not written yet (line {frame.lineno} of {Path(frame.filename).name}).",
                            line=frame.lineno) from None
        except SyntaxError as error:                                # in another file, which this one imports
            raise Wrong(f"Line {error.lineno} of {Path(error.filename or '?').name} is not Python: {error.msg}.",
                        *quoted(error.text, error.offset)) from None
        except (Exception, SystemExit) as error:
            raise self.failed(error, when, given) from None

    def failed(self, error, when, given=""):
        """What to say of an exception: the line of this file first, and then, if it got there, that of an earlier exercise."""
        kind = type(error).__name__
        what = f"{kind}: {str(error).splitlines()[0] if str(error) else ''}".rstrip(": ")
        frames = self.frames(error)
        if not frames:
            return Wrong(f"{what} ({when})", given, advice_on(error))
        own = [frame for frame in frames if Path(frame.filename).resolve() == self.path.resolve()] or frames
        lines = [f"Line {own[-1].lineno} of {Path(own[-1].filename).name} stops {when}:", f"    {own[-1].line}"]
        if frames[-1] is not own[-1]:
            lines += [f"It got as far as line {frames[-1].lineno} of {Path(frames[-1].filename).name}:", f"    {frames[-1].line}"]
        return Wrong(*lines, what, given, advice_on(error), line=own[-1].lineno)

    def frames(self, error):
        """The places in the learner's folder that an exception has come through, the innermost last."""
        return [frame for frame in traceback.extract_tb(error.__traceback__)
                if Path(frame.filename).resolve().parent == self.folder]


def quoted(text, offset):
    """A line of source with a mark under the place."""
    if not text:
        return []
    line = text.rstrip("\n").split("\n")[0]
    indent = len(line) - len(line.lstrip())
    mark = " " * max(0, (offset or 1) - 1 - indent) + "^"
    return [f"    {line.strip()}", f"    {mark}"]


def advice_on(error):
    """What usually helps."""
    text = str(error)
    if isinstance(error, ValueError) and "matmul" in text:
        return ("In a product x @ y the last length of x must be the last but one of y. Write the shapes beside the line; "
                "is a transpose (.T) missing, or on the wrong factor? With more than two axes .T turns all of them.")
    if isinstance(error, ValueError) and "broadcast" in text:
        return ("These shapes do not fit together number by number. Write them beside the line; is a product of matrices (@) "
                "meant? After a sum over one axis, keepdims=True leaves it with length 1, and then the rest fits.")
    if isinstance(error, ValueError) and "truth value of an array" in text:
        return ("`if`, `and` and max() want a single True or False, and this is a whole array of them. np.maximum and np.where "
                "work number by number, and so does a product with (x > 0).")
    if isinstance(error, TypeError) and ("only length-1" in text or "only 0-dimensional" in text or "only size-1" in text):
        return "Functions of `math` take one number; those of NumPy (np.exp, np.tanh) take whole arrays."
    if type(error).__name__ == "AxisError":
        return "The array has fewer axes than that. Counted from the end it fits all: axis=-1 is the last."
    if isinstance(error, ModuleNotFoundError) and re.fullmatch(r"ex\d\d_\w+", error.name or ""):
        return f"This exercise builds on an earlier one: {error.name}.py must be in the same folder, and solved."
    if isinstance(error, EOFError):
        return "An exercise is checked without a keyboard: it must not ask for input."
    if isinstance(error, SystemExit):
        return "The file must not end the program: remove exit() or quit()."
    if isinstance(error, RecursionError):
        return "The function calls itself without end."
    if isinstance(error, (NameError, UnboundLocalError)):
        return "Is it spelled as where it was set, and set on every way to this line?"
    return ""
