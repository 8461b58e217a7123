"""How much longer than `import numpy` does `import minillm` take?

    python tests/benchmarks/import_time.py [--rounds 15]

The wall time of fresh processes, in turns.
"""

import subprocess
import sys

import report

from minillm.bench import seconds_of

QUICK = dict(rounds=3)
CODES = {"import minillm": "import minillm", "import numpy": "import numpy", "Python alone": ""}


def measure(rounds=15):
    times = {name: [] for name in CODES}
    for counted in [False] + [True] * rounds:      # the first time, files are read from the disk
        for name, code in CODES.items():
            took = seconds_of(lambda: subprocess.run([sys.executable, "-c", code], check=True, env=report.plain_environment()))
            times[name] += [took] if counted else []
    return report.compared(times, "import minillm")


def main():
    report.command(__doc__, measure, QUICK, rounds=report.ROUNDS)


if __name__ == "__main__":
    main()
