"""Several processes for one piece of work: forks of this one, which share chosen arrays and so need not copy anything.

Why processes and not threads? A step of a small model is a thousand short calls of NumPy, and at each of them threads would
hand each other Python's interpreter lock: at the smallest sizes two threads are no faster than one. Forks share no lock, and two
of them take half the time at every size.

Where a process cannot safely be forked (Windows; macOS, whose own libraries forbid it), the same shares of work are done one
after the other in this process, with the same result.
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

from .interrupts import shielded
from .runtime import CAN_FORK, cores

# Seconds to look for a message again and again before sleeping until it comes: to be woken up takes 50 to 200 us, a tenth of a
# small training step.
PATIENCE = 0.02
LAST_WORDS = 2.0      # seconds that a process has to clean up when it is told to end; it takes a thousandth


class WorkerError(RuntimeError):
    """Something went wrong in another process that shared the work."""


class WorkerEnded(WorkerError):
    """A process that shared the work is gone: most often, the system ended it because memory ran out."""

    def __init__(self):
        super().__init__("a worker process has ended; was there too little memory? Fewer workers or a smaller batch take less")


class InWorker(Exception):
    """The traceback of an exception in another process, as text: the cause of the exception here."""


_is_member = False


def can_fork():
    """A process that shares the work of another does its part alone: all cores have something to do already."""
    return CAN_FORK and not _is_member


def default_workers():
    """As many processes as there are cores, where processes can be forked."""
    return cores() if CAN_FORK else 1


def shared_zeros(size, dtype):
    """A vector in memory that forks of this process see and write as well."""
    return np.frombuffer(mmap.mmap(-1, max(1, size * np.dtype(dtype).itemsize)), dtype, size)


def is_shared(array):
    """Is this such a vector, or a view of one?"""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, memoryview) and isinstance(array.obj, mmap.mmap)


def parallel_map(function, items, workers=None, each=None):
    """[function(item) for item in items], worked out by several processes.

    The forks know everything as it is now, so function and items may be anything; only the results travel, pickled. What function
    writes, it writes in its own process.

    each        called here with every result, in order, as soon as it and all before it are known
    An exception in function is raised here, and the work that is left is dropped.
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
    from multiprocessing.connection import wait  # here: importing it takes as long as a fifth of NumPy

    members = Members(n, call, function, items)
    try:
        left, arrived = list(range(len(items)))[::-1], set()
        busy = {}                                                   # {pipe: number of the item}
        for pipe in members.pipes:
            busy[pipe] = left.pop()
            pipe.send(busy[pipe])
        while busy:
            for pipe in wait(list(busy)):
                i = busy.pop(pipe)
                results[i] = result_of(pipe.recv())
                arrived.add(i)
                if left:
                    busy[pipe] = left.pop()
                    pipe.send(busy[pipe])
            while known in arrived:
                if each:
                    each(results[known])
                known += 1
    except (EOFError, ConnectionError):
        raise WorkerEnded from None
    finally:
        members.stop()
    return results


def call(pipe, rank, function, items):
    """The life of a process of `parallel_map`: told the number of an item, it answers with the result."""
    while True:
        answer(pipe, function, items[pipe.recv()])


class Team:
    """n processes, this one included, that run a method of one object, each for its own rank.

    team.run("gradient", batch)      calls target.gradient(rank, batch) for each rank 0 .. n-1; returns the list of results

    The others are forked at the first run, with everything as it is then. From then on only shared arrays are common, so what
    else may have changed must be an argument. They end with the team.
    """

    def __init__(self, target, n):
        self.target, self.n = target, n
        self.members = None

    def run(self, method, *args):
        """An exception in any rank is raised here. The others are stopped then, and the next run forks new ones."""
        if not can_fork():
            return [getattr(self.target, method)(rank, *args) for rank in range(self.n)]
        if self.n > 1 and not self.members:
            self.members = Members(self.n - 1, serve, self.target)
        pipes = self.members.pipes if self.members else []
        try:
            for pipe in pipes:
                pipe.send((method, args))
            results = [getattr(self.target, method)(0, *args)]
            return results + [result_of(receive(pipe)) for pipe in pipes]
        except (EOFError, ConnectionError):
            self.stop()
            raise WorkerEnded from None
        except BaseException:      # a member that was interrupted in its work cannot be understood any more
            self.stop()
            raise

    def stop(self):
        if self.members:
            self.members.stop()
            self.members = None


def serve(pipe, rank, target):
    """The life of a team's member: wait for a call, answer it."""
    while True:
        method, args = receive(pipe)
        answer(pipe, getattr(target, method), rank + 1, *args)


# Messages.

def answer(pipe, function, *args):
    """Send the result of a call, or the exception that it has raised."""
    try:
        message = pickle.dumps((function(*args), None, ""), pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        message = pickle.dumps((None, portable(error), traceback.format_exc()), pickle.HIGHEST_PROTOCOL)
    pipe.send_bytes(message)


def portable(error):
    """The exception; or, if it cannot travel (not everything can be pickled, or made again from it), one that says the same."""
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
    until = time.perf_counter() + PATIENCE
    while not pipe.poll() and time.perf_counter() < until:
        os.sched_yield()
    return pipe.recv()


# Processes.

class Members:
    """n forks that run life(pipe, rank, *args), and the ends of their pipes here. They end when told to, when nobody holds this
    object any more, and with this process, however it ends."""

    def __init__(self, n, life, *args):
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self.pipes, processes = [], []
        with shielded(), warnings.catch_warnings():
            # From 3.12, Python warns of forking while threads run. Those here, of progress bars, hold no lock that a fork needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.stop = weakref.finalize(self, stop, processes, self.pipes, os.getpid())
            reading, writing = lifeline()
            for rank in range(n):
                here, there = context.Pipe()
                process = context.Process(target=live, args=(reading, writing, life, there, rank, *args), daemon=True)
                process.start()
                there.close()
                processes.append(process)
                self.pipes.append(here)


def live(reading, writing, life, pipe, rank, *args):
    """What every fork does first: leave Ctrl-C to the process that was started by the user, and end when that one ends."""
    global _is_member
    _is_member = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    os.close(writing)
    threading.Thread(target=end_with, args=(reading,), daemon=True).start()
    try:
        life(pipe, rank, *args)
    except (EOFError, ConnectionError):      # nobody asks any more
        os._exit(0)


def leave(signum, frame):
    """Told to end, a member still removes what it has begun to write."""
    raise SystemExit(0)


_lifeline = None


def lifeline():
    """A pipe whose writing end this process alone holds, and never uses: who reads at its other end learns when it is gone.

    (Linux can send a signal when a parent ends. But it goes by the parent's *thread*, and is missed if the parent ends first.)
    """
    global _lifeline
    if _lifeline is None or _lifeline[0] != os.getpid():
        _lifeline = os.getpid(), os.pipe()
    return _lifeline[1]


def end_with(reading):
    os.read(reading, 1)
    os._exit(1)


def stop(processes, pipes, parent):
    if os.getpid() != parent:      # a fork inherits the members of others as a thing of the past, and may forget them
        return
    with shielded():
        for process in processes:
            process.terminate()
        until = time.monotonic() + LAST_WORDS
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
            process.kill()
        for process in processes:
            process.join()
        for pipe in pipes:
            pipe.close()
