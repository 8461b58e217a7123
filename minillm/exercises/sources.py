"""The learner's source files: what runs is always what is in the files now.

Python itself trusts the bytecode in __pycache__ if a source has the same size and the same time, to the second; its list of a
folder's files if the folder's time is the same; and sys.modules always. That is fine for files that rarely change. But a learner
may save twice in a second. So for files that are not installed, nothing that was cached is used, and nothing is cached.
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
LARGEST = 5_000_000      # bytes of a source; a longer one is not an exercise
MANY = 500               # the most files, and folders, that are watched


@contextmanager
def at_home(folder):
    """Inside, the files of this folder can be imported, as they are now. Afterwards, sys.modules and sys.path are as before.

    Modules of the folder that were imported earlier are set aside: they may be older than their files.
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
    """The real folder of a file: Python imports from there, even if the path is a link."""
    return Path(os.path.realpath(path)).parent


def compiled(path, folder):
    """The code object of a file. SyntaxError or OSError if there is none. Tracebacks then quote the text that was compiled."""
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
    """The text of a source, read as Python does: a byte order mark is skipped; the encoding is the declared one, or UTF-8."""
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
    """SyntaxError if a source imports a file of the folder that has the name of one of Python's modules, which hides it."""
    with warnings.catch_warnings(), suppress(RecursionError, MemoryError):
        warnings.simplefilter("ignore")                     # they were given when it was compiled
        for node in ast.walk(ast.parse(text)):
            for root in {name.partition(".")[0] for name in imported_by(node)} & sys.modules.keys():
                for own in (Path(folder) / f"{root}.py", Path(folder) / root / "__init__.py"):
                    if own.is_file() and not any(os.path.realpath(file) == os.path.realpath(own)
                                                 for file in files_of(sys.modules[root])):
                        raise SyntaxError(f"it imports {root}, but there are two, Python's and yours, "
                                          f"{own.relative_to(folder)}. Give yours another name", (path, node.lineno, None, None))


def imported_by(node):
    """The dotted names that a statement imports, without relative ones, which can only be the learner's."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []


def modules_for(folder):
    """The names in sys.modules that are those of files in the folder, or of modules that were loaded from it."""
    names = set()
    with suppress(OSError):
        names = {name.partition(".")[0] for name in os.listdir(folder)}
    return [name for name, module in list(sys.modules.items())
            if (name.partition(".")[0] in names or any(path.startswith(f"{folder}{os.sep}") for path in files_of(module)))
            and name != "__main__" and is_learners(module)]


def is_learners(module):
    """Is a module neither installed nor built in? Then it may change at any time."""
    return not all(map(installed, files_of(module)))


def installed(path):
    """Does a file belong to Python, to an installed package, or to minillm?"""
    return not SITES.isdisjoint(Path(path).parts) or f"{os.path.realpath(path)}{os.sep}".startswith(LIBRARIES)


def files_of(module):
    """[the file of a module], or the folders of a namespace package; [] if it is built in."""
    attributes = getattr(module, "__dict__", {})
    paths = [attributes["__file__"]] if attributes.get("__file__") else list(attributes.get("__path__") or ())
    return [os.path.abspath(path) for path in paths if isinstance(path, str)]


def lies_in(path, folder):
    """Is a file in a folder or below it, by its path or its real path, and not installed there?"""
    return os.path.isabs(path) and not installed(path) and any(
        Path(folder) in Path(candidate).parents for candidate in (os.path.abspath(path), os.path.realpath(path)))


def contents(path):
    """{file: (times, inode, bytes)} of a file and all sources beside and below it: everything that a check can depend on.

    Bytes, since a file can change without a change of size or time; times, since a learner who saves a file expects a new check.
    """
    files = {}
    for file in (Path(path).absolute(), *sources_below(folder_of(path))):
        with suppress(OSError):
            status = file.stat()
            if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST:
                files[file] = status.st_mtime_ns, status.st_ctime_ns, status.st_ino, file.read_bytes()
    return files


def sources_below(folder):
    """The .py files in and below a folder, the nearest folders first, at most MANY. Installed and hidden ones are left out."""
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
