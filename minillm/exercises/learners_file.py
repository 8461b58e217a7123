"""A learner's file: it is run, and whatever goes wrong in it is told to the learner with the line, never as a traceback."""

import importlib.util
import re
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path

import numpy as np


class Wrong(Exception):
    """An attempt is not right yet. Its lines tell the learner why; `line` is where to look, if that is known."""

    def __init__(self, *lines, line=None):
        super().__init__("\n".join(filter(None, lines)))
        self.line = line


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
        spec = importlib.util.spec_from_file_location(self.path.stem, self.path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.path.stem] = module
        try:
            with self.told("while it was imported"):
                spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(self.folder))
        return module

    @contextmanager
    def told(self, when):
        """Whatever the learner's code raises inside becomes a Wrong that names the line."""
        try:
            with np.errstate(all="ignore"):
                yield
        except Wrong:
            raise
        except NotImplementedError as error:
            where = self.place(error)
            raise Wrong(f"{where[0]} is not written yet (line {where[1]}).", line=where[1]) from None
        except SyntaxError as error:                                # in another file, which this one imports
            raise Wrong(f"Line {error.lineno} of {Path(error.filename or '?').name} is not Python: {error.msg}.",
                        *quoted(error.text, error.offset)) from None
        except (Exception, SystemExit) as error:
            raise self.failed(error, when) from None

    def failed(self, error, when):
        """What to say of an exception."""
        place = self.place(error)
        kind = type(error).__name__
        what = str(error).splitlines()[0] if str(error) else ""
        advice = advice_on(error)
        if place is None:
            return Wrong(f"{kind} {when}: {what}", advice)
        name, line, text = place
        return Wrong(f"Line {line} of {name} stops {when}:", f"    {text}", f"{kind}: {what}".rstrip(": "), advice, line=line)

    def place(self, error):
        """(file name, line number, text of the line) of the last frame in the learner's folder; None if there is none."""
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if Path(frame.filename).resolve().parent == self.folder:
                return Path(frame.filename).name, frame.lineno, (frame.line or "").strip()
        return None


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
                "is a transpose (.T) missing, or on the wrong factor?")
    if isinstance(error, ValueError) and "broadcast" in text:
        return "These shapes do not fit together. A sum with keepdims=True leaves an axis of length 1, which does."
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
