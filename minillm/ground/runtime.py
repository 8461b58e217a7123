"""Tune the process before NumPy is first used. Imported first, by `minillm/__init__.py`.

Two facts about a small model on a CPU, and what follows from them:

1.  *Matrices of a few hundred rows are too small for BLAS threads*: handing them out costs more than it saves.
    One BLAS thread, and processes that each take a part of the batch (`processes.py`), are faster.
2.  *New arrays are expensive*: glibc returns freed memory to the kernel, which hands it back page by page at the
    next operation; a third of a training step can be page faults. If malloc keeps freed memory instead, plain
    allocating code (`y = x @ W`) is as fast as hand-managed buffers, so the code can stay plain.

Both settings apply to the whole process, including other libraries in it that share NumPy's BLAS or malloc. The environment is
restored afterwards, so child processes, and libraries with a BLAS of their own, are not affected. Everything here is a no-op
where it does not apply (another C library, another BLAS), and the user's own settings in the environment win.
"""

import ctypes
import os
import sys

BLAS_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# Parameters of glibc's mallopt(3), from <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


# Whether processes can safely be forked; on macOS, its own libraries forbid it.
CAN_FORK = sys.platform.startswith("linux")


def use_one_blas_thread():
    """Make the BLAS use one thread. Does nothing where processes cannot be forked: there, BLAS threads use the other cores.

    A BLAS reads the environment when NumPy is imported, so NumPy is imported here. If it was imported earlier, the number is set
    through the library that it has loaded.
    """
    if not CAN_FORK or any(variable in os.environ for variable in BLAS_THREAD_VARIABLES):
        return
    if "numpy" in sys.modules:
        _set_threads_of_loaded_openblas(1)
        return
    os.environ.update(dict.fromkeys(BLAS_THREAD_VARIABLES, "1"))
    try:
        import numpy  # noqa: F401
    finally:
        for variable in BLAS_THREAD_VARIABLES:
            os.environ.pop(variable, None)


def _set_threads_of_loaded_openblas(n):
    """NumPy's wheels carry an OpenBLAS whose symbols have a prefix and a suffix; other builds have neither."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:      # the sixth field is a path, which
            fields = [line.rstrip("\n").split(maxsplit=5) for line in maps]                    # may contain spaces
    except OSError:
        return
    for library in {parts[5] for parts in fields if len(parts) == 6 and "openblas" in os.path.basename(parts[5])}:
        try:
            handle = ctypes.CDLL(library)
        except OSError:      # it was replaced while this process runs, say
            continue
        for symbol in ("scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads",
                       "openblas_set_num_threads64_", "openblas_set_num_threads"):
            if hasattr(handle, symbol):
                getattr(handle, symbol)(ctypes.c_int(n))
                break


def keep_freed_memory():
    """Serve all sizes from the heap, never shrink it, and let all threads share it. True if malloc accepts all three settings.

    Heaps of further arenas are limited to 64 MiB, beyond which they ask the kernel; hence M_ARENA_MAX = 1, which must be set
    before the first thread starts.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)      # musl does not have it
    if mallopt is None:
        return False
    accepted = [mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, 2**31 - 1), mallopt(M_ARENA_MAX, 1)]
    return all(accepted)


def cores():
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory():
    """Bytes of RAM; sys.maxsize where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


use_one_blas_thread()
keep_freed_memory()
