"""The tests are shared out over several processes (`sharing.py`): nothing is lost, and nothing looks different."""

import os
import random
import re
import signal
from pathlib import Path

import pytest
import sharing

from minillm.ground.runtime import CAN_FORK

pytest_plugins = "pytester"
needs_forks = pytest.mark.skipif(not CAN_FORK, reason="processes cannot be forked here")

OF_ALL_KINDS = {
    "test_first": """
        import warnings
        import pytest

        def test_a(): pass
        def test_fails():
            print("printed before")
            assert [1, 2] == [1, 3]
        @pytest.fixture
        def broken(): raise OSError("no such thing")
        def test_errs(broken): pass
        @pytest.fixture
        def breaks_late():
            yield
            raise OSError("too late")
        def test_errs_after(breaks_late): pass
        def test_skips(): pytest.skip("not today")
        class Peculiar(UserWarning):
            def __init__(self, a, b): super().__init__(a + b)
        def test_warns(): warnings.warn(Peculiar("mind ", "the gap"))
        """,
    "test_second": """
        import pytest

        @pytest.mark.xfail
        def test_is_known_to_fail(): assert False
        @pytest.mark.xfail
        def test_passes_after_all(): pass
        @pytest.mark.xfail(strict=True)
        def test_passes_and_must_not(): pass
        @pytest.mark.parametrize("n", range(20))
        def test_many(n): print("number", n); assert n != 17
        """,
}


@pytest.fixture
def run(pytester):
    """Runs pytest on some files in this process, which forks the workers."""
    def run(files, *args):
        pytester.makepyfile(**files)
        return pytester.runpytest_inprocess("-p", "sharing", "-p", "no:cacheprovider", *args, no_reraise_ctrlc=True)
    return run


def body(result):
    """What was printed but for the times, the order of the dots and the folder of the worker."""
    lines = [re.sub(r"in [\d.]+s|worker-\d/", "", line) for line in result.outlines]
    return sorted(line for line in lines if not re.match(r"[.sxXFE]+ +\[ *\d+%\]", line))


@needs_forks
@pytest.mark.parametrize("n", [2, 3])
def test_the_outcome_is_that_of_one_process(run, n):
    alone, shared = (run(OF_ALL_KINDS, "--cores", cores, "-q", "-rA") for cores in (1, n))
    assert alone.parseoutcomes() == shared.parseoutcomes() \
        == {"passed": 22, "failed": 3, "errors": 2, "skipped": 1, "xfailed": 1, "xpassed": 1, "warnings": 1}
    assert alone.ret == shared.ret == 1
    assert body(alone) == body(shared)


@needs_forks
def test_a_failure_is_reported_with_all_that_helps(run):
    result = run(OF_ALL_KINDS, "--cores", "2")
    result.stdout.fnmatch_lines(["*assert [[]1, 2] == [[]1, 3]", "*At index 1 diff: 2 != 3*", "*Captured stdout call*",
                                 "printed before"])
    result.stdout.fnmatch_lines(["*Captured stdout call*", "number 17"])
    result.stdout.fnmatch_lines(["*Peculiar: mind the gap"])
    result.stdout.no_fnmatch_line("number 16")


@needs_forks
def test_each_test_has_its_line_if_asked_for(run):
    lines = run(OF_ALL_KINDS, "--cores", "2", "-v").outlines
    assert sum(bool(re.match(r"test_\w+\.py::\S+ (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)", line)) for line in lines) == 30


@needs_forks
def test_other_plugins_hear_of_every_test(run, pytester):
    result = run(OF_ALL_KINDS, "--cores", "2", "--junitxml", "found.xml", "--durations", "0", "-vv")
    assert (pytester.path / "found.xml").read_text().count("<testcase") == 29
    result.stdout.fnmatch_lines(["*slowest durations*", "*s call *"])


TOGETHER = """
    import pathlib, time

    def test_meets_the_other(pytestconfig):
        pathlib.Path("{me}").touch()
        until = time.monotonic() + 120
        while not pathlib.Path("{other}").exists():
            assert time.monotonic() < until
            time.sleep(0.001)
    """


@needs_forks
def test_two_tests_run_at_the_same_time(run):
    files = {"test_first": TOGETHER.format(me="a", other="b"), "test_second": TOGETHER.format(me="b", other="a")}
    assert run(files, "--cores", "2").ret == 0


WHERE = """
    import os, pathlib, pytest, signal, time

    def note(*what):
        with open("log", "a") as log:
            print(os.getpid(), *what, sep=",", file=log)

    @pytest.fixture(scope="session")
    def mine(tmp_path_factory):
        folder = tmp_path_factory.mktemp("mine")
        note("made", folder)
        yield folder
        note("torn down", folder)

    @pytest.mark.parametrize("n", range(6))
    def test_it(mine, tmp_path, n):
        note("ran", mine, tmp_path)
        pass
    """


def logged(pytester, what):
    lines = [line.split(",") for line in (pytester.path / "log").read_text().splitlines()]
    return [(int(pid), *where) for pid, kind, *where in lines if kind == what]


def log(pytester):
    """Of each test, the process in which it ran and its folders. All that was made has been torn down."""
    assert sorted(logged(pytester, "made")) == sorted(logged(pytester, "torn down"))
    return logged(pytester, "ran")


@needs_forks
def test_each_worker_has_its_own_folder_and_tears_down_what_it_made(run, pytester):
    assert run({"test_first": WHERE, "test_second": WHERE}, "--cores", "2").ret == 0
    tests = log(pytester)
    assert len({folder for *_, folder in tests}) == 12
    workers = {pid for pid, *_ in tests}
    assert len(workers) == 2 and os.getpid() not in workers
    assert len({(pid, Path(mine).parent, Path(folder).parent) for pid, mine, folder in tests}) == 2


@pytest.mark.parametrize("args", [["--cores", "1"], ["--cores", "2", "-s"], ["--cores", "2", "--setup-show"]])
def test_one_process_for_who_wants_it(run, pytester, args):
    assert run({"test_first": WHERE}, *args).ret == 0
    assert {pid for pid, *_ in log(pytester)} == {os.getpid()}


def test_few_tests_are_not_worth_a_fork(run, pytester, monkeypatch):
    monkeypatch.setattr(sharing, "cores", lambda: 8)
    assert run({"test_first": WHERE}).ret == 0
    assert {pid for pid, *_ in log(pytester)} == {os.getpid()}


@needs_forks
@pytest.mark.parametrize("end, cause", [("os._exit(7)", "exit code 7"), ("os._exit(0)", "exit code 0"),
                                        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL")])
def test_a_test_that_ends_its_process_has_failed_and_the_others_go_on(run, end, cause):
    result = run({"test_first": WHERE.replace("pass", f"if n in (1, 2, 5): {end}"), "test_second": WHERE}, "--cores", "2")
    result.assert_outcomes(passed=9, failed=3)
    assert result.ret == 1
    assert result.outlines.count(f"the process that ran this test ended: {cause}") == 3
    assert sorted(re.findall(r"FAILED (\S+)", str(result.stdout))) == [f"test_first.py::test_it[{n}]" for n in (1, 2, 5)]


@needs_forks
def test_the_end_of_a_process_is_noticed_though_a_child_of_it_lives(run, pytester):
    body = """if n == 2:
            child = os.fork()
            if not child:
                signal.alarm(120)
                signal.pause()
            pathlib.Path("child").write_text(str(child))
            os._exit(0)"""
    result = run({"test_first": WHERE.replace("pass", body)}, "--cores", "2")
    os.kill(int((pytester.path / "child").read_text()), signal.SIGKILL)
    result.assert_outcomes(passed=5, failed=1)


@needs_forks
@pytest.mark.parametrize("args, failed", [(["-x"], 1), (["--maxfail", "2"], 2)])
def test_after_so_many_failures_it_stops(run, pytester, args, failed):
    many = WHERE.replace("range(6)", "range(500)").replace("pass", "assert False")
    result = run({"test_first": many, "test_second": many}, "--cores", "2", *args)
    result.assert_outcomes(failed=failed)
    assert result.ret == 1
    assert len(logged(pytester, "ran")) <= 2 * failed
    result.stdout.fnmatch_lines([f"*stopping after {failed} failures*"])


@needs_forks
def test_a_worker_that_is_interrupted_before_it_has_begun_ends_in_peace(run, pytester, monkeypatch):
    fork = os.fork

    def interrupted_fork():
        pid = fork()
        os.kill(pid or os.getpid(), signal.SIGINT)
        return pid

    monkeypatch.setattr(os, "fork", interrupted_fork)
    result = run({"test_first": WHERE}, "--cores", "2")
    result.assert_outcomes()
    assert result.ret == 2 and not (pytester.path / "log").exists()
    assert str(result.stdout).count("test session starts") == 1


@needs_forks
@pytest.mark.parametrize("body, code", [("os.kill(os.getppid(), signal.SIGINT); time.sleep(120)", 2),
                                        ("raise KeyboardInterrupt", 2),
                                        ("pytest.exit('enough', 42)", 42)])
def test_ctrl_c_and_exit_end_everything_at_once_and_tear_down(run, pytester, body, code):
    wait = "while not pathlib.Path('asleep').exists(): time.sleep(0.001)"      # what is interrupted while it is made may stay
    first = f"""if n == 3:
            {wait}
            {body}"""
    second = "pathlib.Path('asleep').touch(); time.sleep(120); note('slept')"
    files = {"test_first": WHERE.replace("pass", first),
             "test_second": WHERE.replace("range(6)", "range(2)").replace("pass", second)}
    result = run(files, "--cores", "2")
    assert result.ret == code
    assert not re.search("slept|test_it_5", (pytester.path / "log").read_text())
    log(pytester)
    result.stdout.fnmatch_lines(["!*KeyboardInterrupt*" if code == 2 else "!*enough*"])


@needs_forks
def test_what_is_wrong_before_any_test_runs_is_reported_as_ever(run):
    assert run({"test_first": "import nothing_of_this_name", "test_second": WHERE}, "--cores", "2").ret == 2
    assert run({"test_first": ""}, "--cores", "2", "-k", "nothing").ret == 5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [1, 2, 5])
def test_every_test_is_dealt_once_whoever_is_quick(n, seed):
    chance = random.Random(seed)
    files = sorted(chance.choices("abcdefgh", k=100))
    deal, dealt, ranks = sharing.Deal(files, n), [], list(range(n))
    while ranks:
        rank = chance.choices(ranks, [1 + 10 * rank for rank in ranks])[0]
        test = deal.next(rank)
        if test is None:
            assert not any(deal.stretches)
            ranks.remove(rank)
        elif chance.random() < 0.1:
            deal.give_back(rank, [test])
        else:
            dealt.append(test)
    assert sorted(dealt) == list(range(100))


def test_files_stay_whole_as_long_as_they_can():
    deal = sharing.Deal("aaaabbbbbcccc", 2)
    assert [deal.next(rank) for rank in (0, 1)] == [0, 9]                  # c is nearest to the middle
    assert [deal.next(1) for _ in range(3)] == [10, 11, 12]
    assert [deal.next(1) for _ in range(5)] == [4, 5, 6, 7, 8]             # then b
    assert [deal.next(1) for _ in range(3)] == [2, 3, 1]                   # and of a the second half
    assert deal.next(0) is None and deal.next(1) is None
