#!/usr/bin/env python3
"""Ctrl-C at random moments, once or twice, in every command that takes a while.

Those that write several files at once, as import and export, also get it right before or after one of them gets its name.

Held is: exit 130 (or 0, if it was about to end) within 10 s, a line or two on stderr and no traceback, neither a process nor a
temporary file left behind; and what can be gone on with ends as if nothing had happened.

The signal goes to the whole process group, as from a terminal; half of the commands write their messages to one.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ground import Attempt, attempts, forked, gist, noise, options, prepare_to_fork, report, scratch_folder
from runs import (
    AT_A_NAME,
    LONG,
    PATIENCE,
    Run,
    at_name,
    differences,
    end_of,
    finish,
    go_on,
    half_done,
    in_peace,
    jobs,
    set_up,
    strays,
)
from stage import HUB, Stage


class Interrupt:
    """interrupt(i) tries one command."""

    def __init__(self, stage, args):
        self.stage, self.seed = stage, args.seed
        self.jobs = [job for job in jobs() if re.match(args.only, job.name)]
        self.ends = in_peace(stage, self.jobs, args.jobs)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"])
        self.python_is_up = max(0.06, 2 * (time.perf_counter() - start))

    def __call__(self, index):
        rng, start = random.Random(f"{self.seed} {index}"), time.perf_counter()
        job = rng.choices(self.jobs, [job.weight for job in self.jobs])[0]
        undisturbed = self.ends[job.name]
        if job.name.startswith(AT_A_NAME) and rng.random() < 0.5:
            return self.at_a_name(index, job, rng.randrange(4 if job.folder else 1), rng.random() < 0.5)
        moment = rng.uniform(0, undisturbed.seconds)
        again = rng.uniform(0, 0.5) if rng.random() < 0.5 else None
        terminal = rng.random() < 0.5
        with scratch_folder() as outer:
            wrong, outcome = self.attack(job, moment, again, terminal, set_up(self.stage, outer, job), undisturbed.end)
        name = (f"Ctrl-C at {moment:.2f}{f' and {again:.2f} s later' if again is not None else ''} of {undisturbed.seconds:.2f} s"
                f"{', on a terminal' if terminal else ''}")
        how = "twice" if again is not None else "once"
        return Attempt(f"{job.name} ({how})", name, not wrong, wrong or outcome, time.perf_counter() - start, index=index)

    def attack(self, job, moment, again, terminal, box, end):
        """(what is wrong, or None; what became of it)"""
        start = end_of(box)
        run = Run(job.argv, box, terminal)
        run.wait(moment)
        run.send(signal.SIGINT, group=True)
        if again is not None:
            run.wait(again)
            run.send(signal.SIGINT, group=True)
        hangs = not run.wait(PATIENCE)
        code, _, err, orphans = run.over()
        if hangs:
            return "hangs", ""
        if orphans:
            return "processes left behind", ""
        if moment < self.python_is_up:
            return None, "not yet up"
        if wrong := noise(err):
            return wrong, ""
        code = 130 if code == -signal.SIGINT else code          # as a shell sees it
        if code not in (130, *job.ok):
            return f"exit {code}: {gist(err)}", ""
        if not terminal and len([line for line in err.splitlines() if line.strip()]) > 2:
            return f"many words: {gist(err)}", ""
        return self.what_is_left(job, code, start, end, box)

    def at_a_name(self, index, job, name, afterwards):
        """Right before or after a file gets its name."""
        begun, end = time.perf_counter(), self.ends[job.name].end
        with scratch_folder() as outer:
            box = set_up(self.stage, outer, job)
            start = end_of(box)
            result = forked(job.argv, box, LONG, lambda: at_name(name, afterwards, lambda: os.kill(os.getpid(), signal.SIGINT)))
            wrong, outcome = f"exit {result.code}: {gist(result.err)}", ""
            if result.code in (130, *job.ok) and not (wrong := noise(result.err)):
                wrong, outcome = self.what_is_left(job, result.code, start, end, box)
        return Attempt(f"{job.name} (at a name)", f"Ctrl-C {'after' if afterwards else 'before'} file {name}", not wrong,
                       wrong or outcome, time.perf_counter() - begun, index=index)

    def what_is_left(self, job, code, start, end, box):
        """(what is wrong with the files, or None; what became of the command)"""
        if stray := strays(end, box):
            return f"leaves {stray}", ""
        if half := half_done(job, start, end, box):
            return half, ""
        if code == 130 and job.again:
            words = go_on(job, box)
            code, _, err, _ = finish(words, box)
            if code:
                return f"{'--resume' if words[-1] == '--resume' else 'again'} ends with {code}: {noise(err) or gist(err)}", ""
            return differences(end, end_of(box)) or None, "130, and went on"
        return None, str(code)


def main():
    parser = options(__doc__, 200)
    args = parser.parse_args()
    with scratch_folder() as folder:
        prepare_to_fork()
        interrupt = Interrupt(Stage(folder).need("w", "r", "e", "b", *("lhm" if HUB else "")), args)
        return report(attempts(interrupt, range(args.first, args.first + args.count), args.jobs, args.verbose), args.json)


if __name__ == "__main__":
    sys.exit(main())
