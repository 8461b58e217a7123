"""Several processes for one piece of work: forks of this one, which share chosen arrays and so need not copy anything.

Why processes and not threads? A step of a small model is a thousand short calls of NumPy, and at each of them threads would
hand each other Python's interpreter lock: at the smallest sizes two threads are no faster than one. Forks share no lock, and two
of them take half the time at every size.

Where a process cannot safely be forked (Windows; macOS, whose own libraries forbid it), the same shares of work are done one
after the other in this process, with the same result.
"""

import ctypes
import mmap
import os
import signal
import time
import warnings
import weakref
from contextlib import contextmanager

import numpy as np

from .runtime import CAN_FORK, cores

# Seconds to look for a message again and again before sleeping until it comes: to be woken up takes 50 to 200 us, a tenth of a
# small training step.
PATIENCE = 0.02

PR_SET_PDEATHSIG = 1      # of Linux' prctl(2): the signal to get when the parent ends


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


def parallel_map(function, items, workers=None):
    """Yield function(item) for each item, in order, from several processes.

    The forks know everything as it is now, so function and items may be anything; only the results travel, pickled. What function
    writes, it writes in its own process.
    """
    from concurrent.futures import ProcessPoolExecutor  # here, as below: importing it takes as long as a fifth of NumPy

    items = list(items)
    n = min(workers or default_workers(), len(items))
    if n <= 1 or not CAN_FORK:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(n, forking(), remember, (function, items))
    try:
        with no_warning_about_threads():
            found = pool.map(call_remembered, range(len(items)))
        yield from found
    finally:
        pool.shutdown(cancel_futures=True)


def remember(*function_and_items):
    obey()
    global remembered
    remembered = function_and_items


def call_remembered(i):
    function, items = remembered
    return function(items[i])


class Team:
    """n processes, this one included, that run a method of one object, each for its own rank.

    team.run("gradient", batch)      calls target.gradient(rank, batch) for each rank 0 .. n-1; returns the list of results

    The others are forked at the first run, with everything as it is then. From then on only shared arrays are common, so what
    else may have changed must be an argument. They end with the team.
    """

    def __init__(self, target, n):
        self.target, self.n = target, n
        self.pipes, self.stop_members = [], None

    def run(self, method, *args):
        """An exception in any rank is raised here. The others are stopped then, and the next run forks new ones."""
        if not CAN_FORK:
            return [getattr(self.target, method)(rank, *args) for rank in range(self.n)]
        if self.n > 1 and not self.pipes:
            self.start()
        try:
            for pipe in self.pipes:
                pipe.send((method, args))
            results = [getattr(self.target, method)(0, *args)]
            for pipe in self.pipes:
                result, error = receive(pipe)
                if error:
                    raise error
                results.append(result)
            return results
        except (EOFError, ConnectionError):
            self.stop()
            raise RuntimeError("a worker process has ended; was there too little memory?") from None
        except BaseException:      # a member that was interrupted in its work cannot be understood any more
            self.stop()
            raise

    def start(self):
        context = forking()
        members = []
        for rank in range(1, self.n):
            here, there = context.Pipe()
            member = context.Process(target=serve, args=(there, self.target, rank), daemon=True)
            with no_warning_about_threads():
                member.start()
            there.close()
            members.append(member)
            self.pipes.append(here)
        self.stop_members = weakref.finalize(self, stop, members, os.getpid())

    def stop(self):
        if self.pipes:
            self.stop_members()
            self.pipes = []


def serve(pipe, target, rank):
    """A member's life: wait for a call, answer it."""
    obey()
    while True:
        method, args = receive(pipe)
        try:
            answer = getattr(target, method)(rank, *args), None
        except Exception as error:
            answer = None, error
        pipe.send(answer)


def forking():
    import multiprocessing

    return multiprocessing.get_context("fork")


def obey():
    """What every fork does first: leave Ctrl-C to the process that was started by the user, and end when that one ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def receive(pipe):
    until = time.perf_counter() + PATIENCE
    while not pipe.poll() and time.perf_counter() < until:
        os.sched_yield()
    return pipe.recv()


def stop(members, parent):
    if os.getpid() != parent:      # a fork inherits the team of others as a thing of the past, and may forget it
        return
    for member in members:
        member.kill()
    for member in members:
        member.join()


@contextmanager
def no_warning_about_threads():
    """From 3.12, Python warns of forking while threads run. Those here, of progress bars, hold no lock that a fork needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
