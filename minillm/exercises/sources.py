"""The sources of a learner: what runs is what stands in their files at this moment.

Python itself trusts the bytecode in __pycache__ if a source has still the same size and was saved in the same second; its list of
a folder's files if the folder was changed at the same moment; and sys.modules always. That is good for files that rest. A learner
saves twice in a second. So here, of what is not installed, nothing that was kept is trusted, and nothing is kept.
"""

import ast
import importlib
import io
import linecache
import os
import stat
import sys
import sysconfig
import tokenize
import warnings
from contextlib import contextmanager, suppress
from importlib.machinery import SourceFileLoader
from importlib.util import decode_source
from pathlib import Path

LIBRARIES = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")}
                  | {str(Path(__file__).resolve().parents[1]) + os.sep})
SITES = {"site-packages", "dist-packages"}
LARGEST = 5_000_000      # bytes of a source; a longer one is no exercise
MANY = 500               # files, or folders, that are watched


@contextmanager
def at_home(folder):
    """Inside, what lies in this folder can be imported by its name, as it is now. Afterwards all is as before.

    Modules of the folder that were imported earlier step aside: they may be older than their files.
    """
    aside = {name: sys.modules.pop(name) for name in modules_for(folder)}
    modules, path, entries = dict(sys.modules), sys.path, list(sys.path)
    loading, quotes = SourceFileLoader.get_code, dict(linecache.cache)

    def get_code(loader, name):
        file = loader.get_filename(name)
        return loading(loader, name) if installed(file) else compiled(file, folder)

    SourceFileLoader.get_code = get_code
    path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        SourceFileLoader.get_code = loading
        sys.path, path[:] = path, entries
        for name in [name for name, module in sys.modules.items() if name not in modules and is_learners(module)]:
            del sys.modules[name]
        sys.modules.update(modules | aside)
        linecache.cache.clear()
        linecache.cache.update(quotes)


def folder_of(path):
    """The folder in which a file really lies: Python imports from there, even if the file is a link elsewhere."""
    return Path(os.path.realpath(path)).parent


def compiled(path, folder):
    """The code of a file. SyntaxError or OSError if there is none; what a traceback quotes from then on is what was compiled."""
    path = str(path)
    text = text_of(path)
    linecache.cache[path] = len(text), None, [f"{line}\n" for line in text.split("\n")], path
    try:
        code = compile(text, path, "exec", dont_inherit=True)
    except (ValueError, OverflowError) as error:
        raise SyntaxError(str(error), (path, None, None, None)) from None
    except (RecursionError, MemoryError):
        raise SyntaxError("it is nested too deeply", (path, None, None, None)) from None
    hold_names(text, path, folder)
    return code


def text_of(path):
    """As Python reads a source: with a byte order mark or without, in the encoding that it names, or else in UTF-8."""
    def refused(reason):
        return SyntaxError(reason, (path, None, None, None))

    if os.path.getsize(path) > LARGEST:
        raise refused(f"it has {os.path.getsize(path):,d} bytes; is it the right file?")
    data = Path(path).read_bytes()
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise refused("it has null bytes in it; is it a text?")
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
        text = decode_source(data)
    except UnicodeDecodeError as error:
        raise refused(f"it is not {encoding.upper()} text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except SyntaxError as error:                            # of its first lines, which may name an encoding
        raise refused("it is not UTF-8 text; save it as UTF-8" if "missing" in error.msg else
                      f"its encoding is unknown ({error.msg}); save it as UTF-8") from None
    if text.lstrip().startswith("{") and '"nbformat"' in text:
        raise refused("it is a notebook; copy your functions out of it into a file that ends in .py")
    return text


def hold_names(text, path, folder):
    """SyntaxError if a source imports a file of the folder that nobody can import, since Python has a module of that name."""
    with warnings.catch_warnings(), suppress(RecursionError, MemoryError):
        warnings.simplefilter("ignore")                     # they were given when it was compiled
        for node in ast.walk(ast.parse(text)):
            for root in {name.partition(".")[0] for name in imported_by(node)} & sys.modules.keys():
                for own in (Path(folder) / f"{root}.py", Path(folder) / root / "__init__.py"):
                    if own.is_file() and not any(os.path.realpath(place) == os.path.realpath(own)
                                                 for place in places(sys.modules[root])):
                        raise SyntaxError(f"it imports {root}, of which there are two, that of Python and yours, "
                                          f"{own.relative_to(folder)}. Give yours another name", (path, node.lineno, None, None))


def imported_by(node):
    """The dotted names that a statement imports; relative ones left out, which can only be the learner's."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []


def modules_for(folder):
    """The names in sys.modules under which a learner would expect what is in the folder."""
    names = set()
    with suppress(OSError):
        names = {name.partition(".")[0] for name in os.listdir(folder)}
    return [name for name, module in list(sys.modules.items())
            if (name.partition(".")[0] in names or any(place.startswith(f"{folder}{os.sep}") for place in places(module)))
            and name != "__main__" and is_learners(module)]


def is_learners(module):
    """Not installed, and not built in: it may change at any moment."""
    return not all(map(installed, places(module)))


def installed(path):
    """Does a file belong to Python, to a package, or to minillm?"""
    return not SITES.isdisjoint(Path(path).parts) or f"{os.path.realpath(path)}{os.sep}".startswith(LIBRARIES)


def places(module):
    """The file of a module, or of a namespace its folders; nothing if it is built in."""
    held = getattr(module, "__dict__", {})
    paths = [held["__file__"]] if held.get("__file__") else list(held.get("__path__") or ())
    return [os.path.abspath(place) for place in paths if isinstance(place, str)]


def lies_in(path, folder):
    """Is a file in a folder or below it? As its path says, or as the links on it lead. What is installed there is not meant."""
    return os.path.isabs(path) and not installed(path) and any(
        Path(folder) in Path(way).parents for way in (os.path.abspath(path), os.path.realpath(path)))


def contents(path):
    """What can decide about a check: {file: (when it was last touched, its bytes)} of a file and all sources beside and below it.

    The bytes, since neither size nor time must change when a file does; the time, since whoever saves expects an answer.
    """
    held = {}
    for file in (Path(path).absolute(), *sources_below(folder_of(path))):
        with suppress(OSError):
            status = file.stat()
            if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST:
                held[file] = status.st_mtime_ns, status.st_ctime_ns, status.st_ino, file.read_bytes()
    return held


def sources_below(folder):
    """All .py files, the nearest folders first; neither what is installed or hidden nor, of very many, all."""
    folders, sources = [folder], []
    for n, each in enumerate(folders):
        if n >= MANY or len(sources) >= MANY:
            break
        with suppress(OSError), os.scandir(each) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in SITES and not entry.name.startswith((".", "__")):
                        folders.append(entry.path)
                elif entry.name.endswith(".py"):
                    sources.append(Path(entry.path))
    return sources[:MANY]
