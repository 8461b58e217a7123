"""Tune the process before NumPy does its first work. Imported first, by `minillm/__init__.py`.

Two facts of a small model on a CPU, and what follows from them:

1.  *Matrices of a few hundred rows are too small for BLAS threads*: handing them out costs more than it saves.
    One BLAS thread, and processes that each take a part of the batch (`processes.py`), are faster.
2.  *Fresh arrays are dear*: glibc returns freed memory to the kernel, which hands it back page by page at the
    next operation; a third of a training step can be page faults. Told to keep what it has, malloc makes
    plain allocating code (`y = x @ W`) as fast as hand-managed buffers, so the code can stay plain.

Both hold for the whole process, also for other libraries in it that share NumPy's BLAS or malloc. The environment is left as it
was, so what is started from here, or loads a BLAS of its own, is not touched. Everything here is a no-op where it does not apply
(another C library, another BLAS), and a setting the user has made in the environment wins.
"""

import ctypes
import os
import sys

BLAS_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# Parameters of glibc's mallopt(3), from <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


# Whether a process may safely be forked; on macOS, its own libraries forbid it.
CAN_FORK = sys.platform.startswith("linux")


def use_one_blas_thread():
    """Read by a BLAS when NumPy is imported, so that is done here; a NumPy that is there already is told through its own library.

    Where there are no forks to use the other cores, they are left to the BLAS.
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
            fields = [line.rstrip("\n").split(maxsplit=5) for line in maps]                    # may have spaces in it
    except OSError:
        return
    for library in {parts[5] for parts in fields if len(parts) == 6 and "openblas" in os.path.basename(parts[5])}:
        try:
            handle = ctypes.CDLL(library)
        except OSError:      # such as one that was replaced while this process runs
            continue
        for symbol in ("scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads",
                       "openblas_set_num_threads64_", "openblas_set_num_threads"):
            if hasattr(handle, symbol):
                getattr(handle, symbol)(ctypes.c_int(n))
                break


def keep_freed_memory():
    """Serve all sizes from the heap, never shrink it, and let all threads share one. True if malloc has agreed to all three.

    Heaps of further arenas are capped at 64 MiB and fall back to the kernel, hence M_ARENA_MAX = 1; it must be set
    before the first thread starts.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)      # musl has none
    if mallopt is None:
        return False
    agreed = [mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, 2**31 - 1), mallopt(M_ARENA_MAX, 1)]
    return all(agreed)


def cores():
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory():
    """Bytes of main memory; where the system does not say, as if there were no bound."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


use_one_blas_thread()
keep_freed_memory()
