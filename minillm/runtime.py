"""Tune the process before NumPy does its first work. Imported first, by `minillm/__init__.py`.

Two facts of a small model on a CPU, and what follows from them:

1.  *Matrices of a few hundred rows are too small for BLAS threads*: handing them out costs more than it saves.
    One BLAS thread, and processes that each take a part of the batch (`processes.py`), are faster.
2.  *Fresh arrays are dear*: glibc returns freed memory to the kernel, which hands it back page by page at the
    next operation; a third of a training step can be page faults. Told to keep what it has, malloc makes
    plain allocating code (`y = x @ W`) as fast as hand-managed buffers, so the code can stay plain.

Everything here is a no-op where it does not apply (another C library, another BLAS), and a setting the user has made
in the environment wins.
"""

import ctypes
import os
import signal
import sys

BLAS_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

# Parameters of glibc's mallopt(3), from <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


# Whether a process may safely be forked; on macOS, its own libraries forbid it.
CAN_FORK = sys.platform.startswith("linux")


def use_one_blas_thread():
    """Read by a BLAS when NumPy is imported; a NumPy that is there already is told through its own library.

    Where there are no forks to use the other cores, they are left to the BLAS.
    """
    if not CAN_FORK or any(variable in os.environ for variable in BLAS_THREAD_VARIABLES):
        return
    os.environ.update(dict.fromkeys(BLAS_THREAD_VARIABLES, "1"))
    if "numpy" in sys.modules:
        _set_threads_of_loaded_openblas(1)


def _set_threads_of_loaded_openblas(n):
    """NumPy's wheels carry an OpenBLAS whose symbols have a prefix and a suffix; other builds have neither."""
    try:
        with open("/proc/self/maps") as maps:
            libraries = {line.split()[-1] for line in maps if "openblas" in line}
    except OSError:
        return
    for library in libraries:
        handle = ctypes.CDLL(library)
        for symbol in ("scipy_openblas_set_num_threads64_", "scipy_openblas_set_num_threads",
                       "openblas_set_num_threads64_", "openblas_set_num_threads"):
            if hasattr(handle, symbol):
                getattr(handle, symbol)(ctypes.c_int(n))
                break


def keep_freed_memory():
    """Serve all sizes from the heap, never shrink it, and let all threads share one.

    Heaps of further arenas are capped at 64 MiB and fall back to the kernel, hence M_ARENA_MAX = 1; it must be set
    before the first thread starts.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)      # musl has none
    if mallopt is None:
        return
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_ARENA_MAX, 1)


def cores():
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory():
    """Bytes of main memory; where the system does not say, as if there were no bound."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


def end_at_ctrl_c():
    """Of the command `minillm`, not of a program that imports it: while it is importing there is nothing to save."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    command = name in ("minillm", "minillm.exe") or name == "-m" and "minillm" in sys.orig_argv
    if command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def leave(signum, frame):
    """At once: NumPy, whose import is interrupted, would take that for a fault of its own."""
    os.write(2, b"\nminillm: interrupted.\n")
    os._exit(130)


def imported():
    """From here on Ctrl-C is a KeyboardInterrupt, as usual."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


end_at_ctrl_c()
use_one_blas_thread()
keep_freed_memory()
