#!/usr/bin/env python3
"""Kill runs at random moments, go on, and see whether they end as if nothing had happened.

Those that write several files at once, as import and export, also end right before or after one of them gets its name.

Held is: files bit for bit those of an undisturbed run (but for times), nothing else beside them, no process left behind, no hang,
no traceback.
"""

import os
import random
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ground import Attempt, attempts, forked, gist, noise, options, prepare_to_fork, report, scratch_folder
from runs import AT_A_NAME, LONG, PATIENCE, Run, at_name, differences, end_of, finish, go_on, half_done, in_peace, jobs, set_up
from stage import HUB, Stage

KILLED = ("pretrain", "finetune", "compare", "demo", "import", "export")


class Kill:
    """kill(i) tries one run: killed one to three times, gone on with after each, finished, and compared."""

    def __init__(self, stage, args):
        self.stage, self.seed = stage, args.seed
        self.jobs = [job for job in jobs() if job.name.startswith(KILLED) and re.match(args.only, job.name)]
        self.ends = in_peace(stage, self.jobs, args.jobs)

    def __call__(self, index):
        rng, start = random.Random(f"{self.seed} {index}"), time.perf_counter()
        job = rng.choices(self.jobs, [job.weight for job in self.jobs])[0]
        undisturbed = self.ends[job.name]
        plan = [(rng.uniform(0, undisturbed.seconds), rng.choice([signal.SIGKILL] * 4 + [signal.SIGTERM]))
                for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        if job.name.startswith(AT_A_NAME) and rng.random() < 0.5:
            return self.at_a_name(index, job, rng.randrange(5 if job.folder else 1), rng.random() < 0.5)
        with scratch_folder() as outer:
            wrong = self.attack(job, plan, set_up(self.stage, outer, job), undisturbed.end)
        name = ", ".join(f"{number.name} at {moment:.2f} s" for moment, number in plan) + f" of {undisturbed.seconds:.2f}"
        return Attempt(job.name, name, not wrong, wrong or f"went on after {len(plan)}", time.perf_counter() - start, index=index)

    def at_a_name(self, index, job, name, afterwards):
        begun, end = time.perf_counter(), self.ends[job.name].end
        with scratch_folder() as outer:
            box = set_up(self.stage, outer, job)
            start = end_of(box)
            result = forked(job.argv, box, LONG, lambda: at_name(name, afterwards, lambda: os._exit(137)))
            wrong = None if result.code in (0, 137) else f"exit {result.code}: {gist(result.err)}"
            wrong = wrong or half_done(job, start, end, box, killed=True) or self.finished(job, box, end)
        return Attempt(f"{job.name} (at a name)", f"{'after' if afterwards else 'before'} file {name}", not wrong,
                       wrong or "went on", time.perf_counter() - begun, index=index)

    def attack(self, job, plan, box, end):
        """What is wrong, in words; None if nothing is."""
        start = end_of(box)
        for moment, number in plan:
            run = Run(go_on(job, box), box)
            run.wait(moment)
            run.send(number)
            hangs = not run.wait(PATIENCE)
            code, _, err, orphans = run.over()
            if hangs:
                return f"does not end of {number.name}"
            if orphans:
                return f"processes left behind by {number.name}"
            if wrong := noise(err):
                return f"{number.name}: {wrong}"
            if code not in (0, -number, 128 + number):
                return f"exit {code}: {gist(err)}"
            if half := half_done(job, start, end, box, killed=True):
                return half
        return self.finished(job, box, end)

    def finished(self, job, box, end):
        """What is wrong with the end, when it went on in peace."""
        words = go_on(job, box)
        code, _, err, orphans = finish(words, box)
        if code:
            return f"{'--resume' if words[-1] == '--resume' else 'again'} ends with {code}: {noise(err) or gist(err)}"
        if orphans:
            return "processes left behind at the end"
        return differences(end, end_of(box)) or None


def main():
    parser = options(__doc__, 100)
    args = parser.parse_args()
    with scratch_folder() as folder:
        prepare_to_fork()
        kill = Kill(Stage(folder).need("w", *("lhm" if HUB else "")), args)
        return report(attempts(kill, range(args.first, args.first + args.count), args.jobs, args.verbose), args.json)


if __name__ == "__main__":
    sys.exit(main())
