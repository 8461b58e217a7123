#!/usr/bin/env python3
"""Kill runs at random moments, go on, and see whether they end as if nothing had happened.

Held is: files bit for bit those of an undisturbed run (but for times), nothing else beside them, no process left behind, no hang,
no traceback.
"""

import random
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ground import Attempt, attempts, gist, noise, options, report, scratch_folder
from runs import PATIENCE, Run, differences, end_of, finish, go_on, in_peace, jobs, set_up
from stage import Stage

KILLED = ("pretrain", "finetune", "compare", "demo")


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
        with scratch_folder() as outer:
            wrong = self.attack(job, plan, set_up(self.stage, outer, job), undisturbed.end)
        name = ", ".join(f"{number.name} at {moment:.2f} s" for moment, number in plan) + f" of {undisturbed.seconds:.2f}"
        return Attempt(job.name, name, not wrong, wrong or f"went on after {len(plan)}", time.perf_counter() - start, index=index)

    def attack(self, job, plan, box, end):
        """What is wrong, in words; None if nothing is."""
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
        kill = Kill(Stage(folder).need("w"), args)
        return report(attempts(kill, range(args.first, args.first + args.count), args.jobs, args.verbose), args.json)


if __name__ == "__main__":
    sys.exit(main())
