"""Forks that share work: right answers, errors that arrive, and nobody left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from minillm import processes
from minillm.nn import GPT, Config
from minillm.processes import Team, parallel_map, shared_zeros
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
def test_a_member_that_dies_is_told():
    team = Team(Job(), 2)
    with pytest.raises(RuntimeError, match="a worker process has ended"):
        team.run("vanish")
    assert len(team.run("write", 1)) == 2


@forks_only
def test_a_member_that_dies_between_two_calls_is_told_as_well():
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
    until = time.monotonic() + 5
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
