"""Forks that share work: right answers, errors that arrive, and nobody left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from minillm.ground import processes
from minillm.ground.files import written_whole
from minillm.ground.processes import Team, parallel_map, shared_zeros
from minillm.nn import GPT, Config
from minillm.train.optimizers import AdamW
from minillm.train.trainer import Trainer

forks_only = pytest.mark.skipif(not processes.CAN_FORK, reason="processes are not forked on this system")


class Job:
    """Counts its calls, as a member sees them."""

    def __init__(self, size=6):
        self.shared, self.own = shared_zeros(size, np.float32), np.zeros(size, np.float32)
        self.calls = 0

    def write(self, rank, value):
        self.calls += 1
        self.shared[rank] = self.own[rank] = value
        return rank, value, self.calls, os.getpid()

    def fail(self, rank, who):
        if rank == who:
            raise ValueError(f"rank {rank} cannot")
        return rank

    def vanish(self, rank):
        if rank == 1:
            os._exit(1)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_every_rank_answers_in_order(n):
    team = Team(Job(), n)
    for call in (1, 2):
        answers = team.run("write", 2.5)
        assert [answer[:3] for answer in answers] == [(rank, 2.5, call) for rank in range(n)]
    assert answers[0][3] == os.getpid()


@forks_only
def test_only_shared_arrays_are_common():
    job = Job()
    answers = Team(job, 3).run("write", 7)
    assert len({pid for *_, pid in answers}) == 3
    assert job.shared.tolist() == [7, 7, 7, 0, 0, 0] and job.own.tolist() == [7, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("who", [0, 1, 2])
def test_an_error_of_any_rank_is_raised_and_the_team_goes_on(who):
    team = Team(Job(), 3)
    with pytest.raises(ValueError, match=f"rank {who} cannot"):
        team.run("fail", who)
    assert [answer[0] for answer in team.run("write", 1)] == [0, 1, 2]


@forks_only
def test_a_member_that_dies_is_reported():
    team = Team(Job(), 2)
    with pytest.raises(RuntimeError, match="a worker process has ended"):
        team.run("vanish")
    assert len(team.run("write", 1)) == 2


@forks_only
def test_a_member_that_dies_between_two_calls_is_reported_as_well():
    team = Team(Job(), 2)
    pid = team.run("write", 1)[1][3]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="a worker process has ended"):
        while True:      # the pipe may take a message before it is known to be broken
            team.run("write", 1)
    assert len(team.run("write", 1)) == 2


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@forks_only
def test_members_end_with_their_team():
    team = Team(Job(), 3)
    pids = [answer[3] for answer in team.run("write", 1)][1:]
    assert all(map(alive, pids))
    del team
    assert not any(map(alive, pids))


@forks_only
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_members_end_with_the_process_even_if_it_is_killed(how):
    code = """
import time
from tests.test_processes import Job, Team
team = Team(Job(), 3)
print(*[answer[3] for answer in team.run("write", 1)][1:], flush=True)
time.sleep(60)
"""
    root = os.path.dirname(os.path.dirname(__file__))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 2 and all(map(alive, pids))
    process.send_signal(how)
    process.wait()
    until = time.monotonic() + 120
    while any(map(running, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(map(running, pids))


def running(pid):
    """Not ended, nor ended and waiting to be noticed by whoever inherited it."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("workers", [1, 2, 5, None])
def test_a_parallel_map_is_the_builtin(workers):
    data = np.arange(10.0)
    assert list(parallel_map(lambda i: data[i] ** 2, range(10), workers)) == [i ** 2 for i in range(10)]
    assert list(parallel_map(lambda i: i, [], workers)) == []


def test_an_error_in_a_parallel_map_is_raised():
    def invert(x):
        return 1 / x

    with pytest.raises(ZeroDivisionError):
        list(parallel_map(invert, [1, 2, 0, 4], 2))


@forks_only
def test_a_parallel_map_leaves_this_process_as_it_was():
    seen = []
    assert list(parallel_map(seen.append, range(4), 2)) == [None] * 4
    assert seen == []


@forks_only
def test_a_fork_that_forgets_the_team_of_its_parent_does_no_harm():
    teams = [Team(Job(), 2)]
    teams[0].run("write", 1)

    def forget(item):
        teams.clear()
        return item

    assert list(parallel_map(forget, range(4), 2)) == [0, 1, 2, 3]
    assert [answer[0] for answer in teams[0].run("write", 1)] == [0, 1]


@forks_only
def test_the_members_of_a_trainer_end_with_it(rng):
    before = [process.pid for process in multiprocessing.active_children()]
    trainer = Trainer(GPT(Config(5, 4, 1, 2, 8), rng), AdamW(), workers=2)
    tokens = rng.integers(0, 5, (2, 4))
    trainer.step(tokens, tokens)
    new = [process.pid for process in multiprocessing.active_children() if process.pid not in before]
    assert len(new) == 1
    del trainer
    assert not alive(new[0])


# ---- errors that cannot travel, threads that end, and what is dropped

class Stubborn(Exception):
    """Cannot be made again from what pickle keeps of it."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Unpicklable(Exception):
    def __init__(self):
        super().__init__("it holds a lambda")
        self.what = lambda: None


class Raising:
    def stubborn(self, rank):
        if rank:
            raise Stubborn("one", "two")

    def unpicklable(self, rank):
        if rank:
            raise Unpicklable

    def strange(self, rank):
        return (lambda: None) if rank else None

    def divide(self, rank):
        return 1 / (1 - rank)

    def fine(self, rank):
        return rank


@forks_only
@pytest.mark.parametrize("method, message", [("stubborn", "Stubborn: one and two"), ("strange", "pickle"),
                                             ("unpicklable", "Unpicklable: it holds a lambda")])
def test_an_error_that_cannot_be_pickled_arrives_in_words(method, message):
    team = Team(Raising(), 2)
    with pytest.raises(Exception, match=message) as error:
        team.run(method)
    assert not isinstance(error.value, processes.WorkerEnded)
    assert team.run("fine") == [0, 1]


@forks_only
@pytest.mark.parametrize("run", [lambda: Team(Raising(), 2).run("divide"), lambda: parallel_map(lambda i: 1 / i, [1, 0], 2)],
                         ids=["team", "map"])
def test_the_traceback_of_another_process_is_not_lost(run):
    with pytest.raises(ZeroDivisionError) as error:
        run()
    assert "line" in str(error.value.__cause__) and "1 / " in str(error.value.__cause__)


@forks_only
def test_workers_outlive_the_thread_that_forked_them():
    team = Team(Job(), 2)
    thread = threading.Thread(target=team.run, args=("write", 1))
    thread.start()
    thread.join()
    for _ in range(3):
        assert len(team.run("write", 2)) == 2
    team.stop()


@forks_only
def test_results_are_handed_on_in_order_as_they_come():
    """However long each takes: the second waits for the first."""
    seen, first_may_go = [], multiprocessing.get_context("fork").Event()

    def work(i):
        if i == 0:
            first_may_go.wait(120)
        elif i == 1:
            first_may_go.set()
        return i

    assert parallel_map(work, range(6), 2, seen.append) == seen == list(range(6))
    assert parallel_map(lambda i: i, range(3), 1, seen.append) == seen[-3:] == [0, 1, 2]


@forks_only
def test_a_map_that_is_interrupted_leaves_nobody_behind():
    def cut(result):
        raise KeyboardInterrupt

    before = set(multiprocessing.active_children())      # of other tests, not yet collected
    with pytest.raises(KeyboardInterrupt):
        parallel_map(lambda i: i, range(100), 3, cut)
    assert set(multiprocessing.active_children()) <= before


@forks_only
def test_a_worker_of_a_map_that_dies_is_reported():
    before = set(multiprocessing.active_children())
    with pytest.raises(processes.WorkerEnded, match="too little memory"):
        parallel_map(lambda i: os.kill(os.getpid(), signal.SIGKILL), range(4), 2)
    assert set(multiprocessing.active_children()) <= before


@forks_only
def test_a_map_within_a_map():
    assert parallel_map(lambda i: sum(parallel_map(lambda j: i * j, range(4), 2)), range(3), 2) == [0, 6, 12]


@forks_only
def test_a_worker_ends_even_if_its_parent_dies_before_it_has_begun(tmp_path):
    """Held up before the first thing that a fork does, until the parent is gone."""
    code = f"""
import os, signal, time
from minillm.ground import processes
real, parent = processes.begin, os.getpid()
def late(*args):
    open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
    while os.getppid() == parent:
        time.sleep(0.001)
    real(*args)
processes.begin = late
forks = processes.Forks(1, lambda pipe, rank: time.sleep(1000))
while not os.path.exists({str(tmp_path / "pid")!r}) or not open({str(tmp_path / "pid")!r}).read():
    time.sleep(0.001)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=os.path.dirname(os.path.dirname(__file__)), timeout=120, check=False)
    pid, until = int((tmp_path / "pid").read_text()), time.monotonic() + 60
    while running(pid) and time.monotonic() < until:
        time.sleep(0.005)
    assert not running(pid)


@forks_only
def test_a_map_that_is_interrupted_leaves_no_half_file_behind(tmp_path):
    """One item is done; the other is being written, and will be until the process is told to end."""
    def write(i):
        while i == 0:
            if list(tmp_path.iterdir()):
                return
            time.sleep(0.001)
        with written_whole(tmp_path / "picture.png") as temporary:
            temporary.write_text("half")
            time.sleep(1000)

    def cut(result):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parallel_map(write, range(2), 2, cut)
    assert not list(tmp_path.iterdir())
