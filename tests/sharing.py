"""A plugin of pytest that shares the tests out over the cores: one worker for each, or as many as `--cores N` says.

What the package pytest-xdist does in general takes a few screens here, and spares everybody who runs the tests a dependency.

Once pytest has collected the tests, its process forks workers; each finds all modules imported and all tests collected. They run
the tests by the hooks of pytest, and what these report (outcome, output, warnings) travels through a pipe to the process that was
started, which hands it to pytest's own hooks. So the summary, `-x`, `--durations`, `--junitxml` and the rest do as ever.

What differs from one process:

- A fixture of a file or of the session is made in each worker that needs it. To make that rare, a worker keeps to one stretch of
  the list of tests as long as it can (see `Deal`).
- A test that ends its process has failed, and the others go on in a new worker.
- For `tmp_path`, each worker has a folder of its own within that of the session.

All tests run in one process for `--cores 1`, where a person watches (`-s`, `--pdb`, `--trace`, `--setup-show`), and on every
system where a process cannot safely be forked.
"""

import gc
import multiprocessing
import os
import signal
import warnings
from collections import deque
from contextlib import suppress
from multiprocessing.connection import wait

import pytest

from minillm.ground.runtime import CAN_FORK, cores

WORTH_A_WORKER = 4      # tests: for less, to fork a worker saves nothing
PATIENCE = 10           # seconds in which a worker that is interrupted may tear its fixtures down


def pytest_addoption(parser):
    parser.getgroup("sharing").addoption("--cores", type=int, metavar="N", help="run tests in N processes (default: one a core)")


def pytest_runtestloop(session):
    """Have all tests run by workers; None where that cannot or should not be, whereupon pytest runs them itself."""
    option = session.config.option
    n = min(option.cores, len(session.items)) if option.cores else min(cores(), len(session.items) // WORTH_A_WORKER)
    watched = option.capture == "no" or option.usepdb or option.trace or option.setupshow
    if n < 2 or watched or option.collectonly or session.testsfailed or not CAN_FORK:
        return None
    gc.collect()
    gc.freeze()      # what is here already need not be looked through by each worker (and copied, as its marks change)
    Sharing(session).run(n)
    gc.unfreeze()
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    return True


class Deal:
    """Which test is next for whom.

    Each worker goes along a stretch of the list of tests. Who comes to the end of it takes over the second half of the longest
    stretch that another still has before it, from where a file begins if there are several. So most files stay whole, and all
    workers end at nearly the same time.
    """

    def __init__(self, files, n):
        self.files = files      # of each test
        self.stretches = [deque(range(len(files)))] + [deque() for _ in range(n - 1)]

    def next(self, rank):
        """The number of the test that this worker is to run, or None if none is left."""
        own = self.stretches[rank]
        if not own:
            longest = max(self.stretches, key=len)
            own.extendleft([longest.pop() for _ in range(len(longest) - self.half(longest))])
        return own.popleft() if own else None

    def half(self, stretch):
        """Where the second half of a stretch begins."""
        files = [self.files[test] for test in stretch]
        beginnings = [at for at in range(1, len(files)) if files[at] != files[at - 1]]
        return min(beginnings, key=lambda at: abs(at - len(files) / 2), default=len(files) // 2)

    def give_back(self, rank, tests):
        self.stretches[rank].extendleft(reversed(tests))


class Sharing:
    """What the process that was started does: it deals the tests out, and reports what the workers tell."""

    def __init__(self, session):
        self.session, self.config, self.hook, self.items = session, session.config, session.config.hook, session.items
        self.folder = self.config._tmp_path_factory.getbasetemp()
        self.workers, self.forked = [], 0
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter:
            reporter.showfspath = False      # a line for each file makes no sense where tests of several files alternate

    def run(self, n):
        self.deal = Deal([item.path for item in self.items], n)
        try:
            self.employ(range(n))
            while self.workers and not self.stopped():
                ready = wait([worker.pipe for worker in self.workers], timeout=0.2)
                for worker in list(self.workers):
                    # Usually a pipe says that its worker has ended, but a child of the worker may hold it open.
                    if worker.pipe in ready or not (ready or worker.process.is_alive()):
                        self.listen(worker)
        finally:
            for worker in self.workers:
                worker.interrupt()
            for worker in self.workers:
                worker.end()

    def stopped(self):
        return self.session.shouldfail or self.session.shouldstop

    def employ(self, ranks):
        """New workers. Each has one test more than it runs, so that it can keep the fixtures that the next one shares."""
        new = []
        for rank in ranks:
            folder = self.folder / f"worker-{self.forked}"
            self.forked += 1
            new.append(Worker(rank, self.session, folder, [other.pipe for other in self.workers]))
            self.workers.append(new[-1])
        for worker in 2 * new:
            self.give(worker)

    def give(self, worker):
        if not worker.has_all:
            worker.give(self.deal.next(worker.rank))

    def listen(self, worker):
        """One test has been run, or pytest is to stop, or the worker has ended."""
        try:
            message = worker.pipe.recv() if worker.pipe.poll() else None
        except (EOFError, ConnectionError):
            message = None
        if message is None:
            self.bury(worker)
        elif isinstance(message, BaseException):   # pytest.exit() or KeyboardInterrupt
            raise message
        else:
            self.give(worker)
            reports, warned = message
            self.report(worker.tests.popleft(), [self.hook.pytest_report_from_serializable(config=self.config, data=report)
                                                 for report in reports], warned)

    def bury(self, worker):
        """A worker has ended: after its last test, or within one. In that case another takes its place."""
        worker.end()
        self.workers.remove(worker)
        if worker.tests:
            culprit = worker.tests.popleft()
            self.deal.give_back(worker.rank, worker.tests)
            self.report(culprit, [death(self.items[culprit], worker.process.exitcode)])
            if not self.stopped():
                self.employ([worker.rank])

    def report(self, test, reports, warned=()):
        """Hand what is known of a test to pytest, as if it had been run here."""
        item = self.items[test]
        if self.stopped():      # it was already running when another one failed
            return
        self.hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in reports:
            self.hook.pytest_runtest_logreport(report=report)
        for text, category, filename, line, about in warned:      # the class itself may be known in the worker only
            warning = warnings.WarningMessage(text, type(category, (Warning,), {}), filename, line)
            self.hook.pytest_warning_recorded.call_historic(kwargs={"warning_message": warning, **about})
        self.hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)


def death(item, code):
    """The report of a test whose process ended."""
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return pytest.TestReport(item.nodeid, item.location, {item.name: 1}, "failed", f"the process that ran this test ended: {how}",
                             "call")


class Worker:
    """A worker, as the process that forked it sees it."""

    def __init__(self, rank, session, folder, pipes):
        self.rank = rank
        self.tests = deque()      # given and not yet reported; the first one is being run
        self.has_all = False
        self.pipe, there = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("fork").Process(
            target=work, args=(session, folder, there, [self.pipe, *pipes]))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])      # until `work` is ready to be interrupted
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)      # from 3.12, of threads: there are none here
            self.process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        there.close()

    def give(self, test):
        """The number of a test, or None: there are no more."""
        if test is None:
            self.has_all = True
        else:
            self.tests.append(test)
        with suppress(ConnectionError):      # it has ended, which `Sharing.listen` will find
            self.pipe.send(test)

    def interrupt(self):
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGINT)

    def end(self):
        self.pipe.close()
        self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()


def work(session, folder, pipe, pipes_of_parent):
    """A worker's life."""
    for other in pipes_of_parent:      # so that each pipe ends with the process that has it
        other.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    heard = settle(session.config, folder)
    items = {None: None} | dict(enumerate(session.items))
    try:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            test = pipe.recv()
            while test is not None:
                following = pipe.recv()
                session.config.hook.pytest_runtest_protocol(item=items[test], nextitem=items[following])
                pipe.send(heard.all())
                test = None if session.shouldfail or session.shouldstop else following
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)      # what follows is done to its end
    except (KeyboardInterrupt, pytest.exit.Exception) as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)      # Ctrl-C comes from the terminal and from the parent
        with suppress(ConnectionError):
            pipe.send(stop)
    except (EOFError, ConnectionError):      # the parent has ended
        pass
    finally:
        session._setupstate.teardown_exact(None)


def settle(config, folder):
    """In a fork of pytest's process, take leave of what that one goes on using: terminal, files of captured output, folder."""
    plugins = config.pluginmanager
    plugins.unregister(name="terminalreporter")
    capture = plugins.get_plugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    capture.suspend_global_capture()
    folder.mkdir()
    config._tmp_path_factory._basetemp = folder
    heard = Heard(config)
    plugins.register(heard)
    return heard


class Heard:
    """A plugin in a worker that hears what is to be reported, and has it in a form that can be sent."""

    def __init__(self, config):
        self.config, self.reports, self.warned = config, [], []

    def pytest_runtest_logreport(self, report):
        self.reports.append(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_warning_recorded(self, warning_message, when, nodeid, location):
        about = {"when": when, "nodeid": nodeid, "location": location}
        self.warned.append((str(warning_message.message), warning_message.category.__name__, warning_message.filename,
                            warning_message.lineno, about))

    def all(self):
        heard = self.reports, self.warned
        self.reports, self.warned = [], []
        return heard
