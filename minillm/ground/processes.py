"""Share one piece of work among several processes: forks of this one, which share chosen arrays, so nothing is copied.

Why processes and not threads? A step of a small model is a thousand short calls of NumPy, and at each of them threads would
pass Python's global interpreter lock (GIL) to each other: at the smallest sizes two threads are no faster than one. Forks share
no lock, and two of them take half the time at every size.

Where a process cannot safely be forked (on Windows, and on macOS, whose own libraries forbid it), the same shares of the work
are done one after the other in this process, with the same result.
"""

import mmap
import os
import pickle
import signal
import threading
import time
import traceback
import warnings
import weakref

import numpy as np

from .files import remove_unfinished
from .interrupts import shielded
from .runtime import CAN_FORK, cores

# Seconds to poll for a message before sleeping until it comes: waking up takes 50 to 200 us, a tenth of a small training step.
POLL_SECONDS = 0.02
CLEAN_UP_SECONDS = 2.0      # that a process has to clean up after SIGTERM, before it is killed; it needs a thousandth of them


class WorkerError(RuntimeError):
    """Something went wrong in a worker process."""


class WorkerEnded(WorkerError):
    """A worker process is gone: most often, the system has killed it because RAM ran out."""

    def __init__(self):
        super().__init__("a worker process has ended; was there too little memory? Fewer workers or a smaller batch take less")


class InWorker(Exception):
    """The traceback of an exception in a worker process, as text: the `__cause__` of the same exception raised here."""


_is_worker = False


def can_fork():
    """Can this process fork workers? A worker forks none: all cores are busy already."""
    return CAN_FORK and not _is_worker


def default_workers():
    """The number of cores; 1 where processes cannot be forked."""
    return cores() if CAN_FORK else 1


def shared_zeros(size, dtype):
    """A vector of zeros in shared memory: forks of this process read and write the same numbers."""
    return np.frombuffer(mmap.mmap(-1, max(1, size * np.dtype(dtype).itemsize)), dtype, size)


def is_shared(array):
    """Is the array a vector from `shared_zeros`, or a view of one?"""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, memoryview) and isinstance(array.obj, mmap.mmap)


def parallel_map(function, items, workers=None, each=None):
    """[function(item) for item in items], computed by several processes.

    A fork has everything that this process has now, so function and items may be anything; only the results are pickled and sent.
    If function changes a variable, only its own process sees the change.

    each        called in this process with every result, in order, as soon as it and all earlier ones are known
    An exception in function is raised here, and the remaining items are dropped.
    """
    items = list(items)
    results, known = [None] * len(items), 0
    n = min(workers or default_workers(), len(items))
    if n <= 1 or not can_fork():
        for i, item in enumerate(items):
            results[i] = function(item)
            if each:
                each(results[i])
        return results
    from multiprocessing.connection import wait  # here: importing it takes a fifth as long as NumPy

    forks = Forks(n, serve_items, function, items)
    try:
        remaining, arrived = list(range(len(items)))[::-1], set()
        busy = {}                                                   # {pipe: index of the item}
        for pipe in forks.pipes:
            busy[pipe] = remaining.pop()
            pipe.send(busy[pipe])
        while busy:
            for pipe in wait(list(busy)):
                i = busy.pop(pipe)
                results[i] = result_of(pipe.recv())
                arrived.add(i)
                if remaining:
                    busy[pipe] = remaining.pop()
                    pipe.send(busy[pipe])
            while known in arrived:
                if each:
                    each(results[known])
                known += 1
    except (EOFError, ConnectionError):
        raise WorkerEnded from None
    finally:
        forks.stop()
    return results


def serve_items(pipe, rank, function, items):
    """The loop of a process of `parallel_map`: receive the index of an item, send back function(item)."""
    while True:
        answer(pipe, function, items[pipe.recv()])


class Team:
    """n processes, this one included, that run a method of one object, each with its own rank.

    team = Team(workers, n)
    team.run("apply", plan, shrink)    # workers.apply(rank, plan, shrink) for each rank 0 .. n-1, all at the same time

    The others are forked at the first run and are copies of this process as it is then. From then on they have in common only
    shared arrays (`shared_zeros`), so anything else that may have changed must be passed as an argument. They end with the team.
    """

    def __init__(self, target, n):
        self.target, self.n = target, n
        self.forks = None

    def run(self, method, *args):
        """Call the target's method in every process, and return the list of results, one for each rank.

        `run` is a barrier: it returns only when every rank is done. So what one run has written into shared arrays is complete
        before the next run reads it; two ranks can disturb each other only within a run, where each writes to its own part.
        That is why workers cannot corrupt each other's gradients.

        An exception in any rank is raised here. The other processes are stopped then, and the next run forks new ones.
        """
        if not can_fork():
            return [getattr(self.target, method)(rank, *args) for rank in range(self.n)]
        if self.n > 1 and not self.forks:
            self.forks = Forks(self.n - 1, serve_methods, self.target)
        pipes = self.forks.pipes if self.forks else []
        try:
            for pipe in pipes:
                pipe.send((method, args))
            results = [getattr(self.target, method)(0, *args)]
            return results + [result_of(receive(pipe)) for pipe in pipes]
        except (EOFError, ConnectionError):
            self.stop()
            raise WorkerEnded from None
        except BaseException:      # a fork may not have answered yet, and the next run would take its answer for another one
            self.stop()
            raise

    def stop(self):
        if self.forks:
            self.forks.stop()
            self.forks = None


def serve_methods(pipe, rank, target):
    """The loop of a process of a Team: receive a method's name and arguments, send back its result."""
    while True:
        method, args = receive(pipe)
        answer(pipe, getattr(target, method), rank + 1, *args)


# Messages.

def answer(pipe, function, *args):
    """Call a function and send its result, or the exception that it raised."""
    try:
        message = pickle.dumps((function(*args), None, ""), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        message = pickle.dumps((None, portable(error), traceback.format_exc()), pickle.HIGHEST_PROTOCOL)
    pipe.send_bytes(message)


def portable(error):
    """The exception; or, if it cannot be pickled and unpickled, a WorkerError that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return WorkerError(f"{type(error).__name__}: {error}")
    return error


def result_of(message):
    result, error, trace = message
    if error:
        raise error from InWorker(f"\n{trace}")
    return result


def receive(pipe):
    until = time.perf_counter() + POLL_SECONDS
    while not pipe.poll() and time.perf_counter() < until:
        os.sched_yield()
    return pipe.recv()


# Processes.

class Forks:
    """n forks of this process that run loop(pipe, rank, *args).

    pipes       this process' ends of the pipes to them
    stop()      ends them. They also end when this object is garbage-collected, and when this process ends, however it ends.
    """

    def __init__(self, n, loop, *args):
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self.pipes, processes = [], []
        with shielded(), warnings.catch_warnings():
            # Since 3.12, Python warns of forks while threads run. Those here, of progress bars, hold no lock that a fork needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.stop = weakref.finalize(self, stop, processes, self.pipes, os.getpid())
            reading, writing = lifeline()
            for rank in range(n):
                own_end, fork_end = context.Pipe()
                process = context.Process(target=begin, args=(reading, writing, loop, fork_end, rank, *args), daemon=True)
                process.start()
                fork_end.close()
                processes.append(process)
                self.pipes.append(own_end)


def begin(reading, writing, loop, pipe, rank, *args):
    """The first function in every fork. It leaves Ctrl-C to its parent, ends when the parent ends, and runs the loop."""
    global _is_worker
    _is_worker = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    os.close(writing)
    threading.Thread(target=end_with, args=(reading,), daemon=True).start()
    try:
        loop(pipe, rank, *args)
    except (EOFError, ConnectionError):      # the parent has closed the pipe
        os._exit(0)
    finally:
        remove_unfinished()


def leave(signum, frame):
    """On SIGTERM, leave through an exception, so that temporary files are still removed."""
    raise SystemExit(0)


_lifeline = None


def lifeline():
    """A pipe whose writing end only this process holds and never uses: a read at the other end returns when this process ends.

    (Linux can send a signal when a parent ends. But that means the parent's *thread*, and the signal is missed if the parent ends
    before the child has asked for it.)
    """
    global _lifeline
    if _lifeline is None or _lifeline[0] != os.getpid():
        _lifeline = os.getpid(), os.pipe()
    return _lifeline[1]


def end_with(reading):
    """Wait until the parent has ended, then end this process."""
    os.read(reading, 1)
    os._exit(1)


def stop(processes, pipes, parent):
    """Ask processes to end, kill those that have not after CLEAN_UP_SECONDS, and close their pipes."""
    if os.getpid() != parent:      # a fork has copied this object, but the processes are its parent's to end
        return
    with shielded():
        for process in processes:
            process.terminate()
        until = time.monotonic() + CLEAN_UP_SECONDS
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
            process.kill()
        for process in processes:
            process.join()
        for pipe in pipes:
            pipe.close()
