"""Does the demo keep its promise on every seed?

    python tests/benchmarks/demo_seeds.py --seeds 241 242 243 [--out runs/demo_seeds]

Runs `minillm demo` once for each seed, as a user would, and reads its metrics.json. A table shows what was promised (GATES) and
what came out, with a star where a seed misses; below it, how many seeds keep each promise. Choose seeds that nobody looked at
while the demo was tuned: on others it proves nothing. Two minutes a seed on two cores; what is finished is not run again.
"""

import contextlib
import io
import json
from pathlib import Path

import report
from tqdm import tqdm

from minillm.demo import QUICK as SMALL_PLAN
from minillm.demo import demo
from minillm.tasks.samples import TEMPERATURES

TEMPERATURE = f"{TEMPERATURES[0]:g}"      # as metrics.json has it
QUICK = dict(seeds=[1], small=True, out="runs/demo_seeds_quick")

# {what is promised: (how it is shown, the least, the most)}
GATES = {
    "generalist: worst excess": (".3f", 0, 0.05),
    "own kinds flawless": (".0%", 0.85, 1),
    "novels, untouched": (".2f", 0.5, 3),
    "full": (".3f", 0, 0.08),
    "adapter": (".3f", 0, 0.12),
    "scratch / full": (".0f", 3, float("inf")),
    "flawless novels: full": (".0%", 0.7, 1),
    "adapter's": (".0%", 0.55, 1),
    "seconds": (".0f", 0, 120),
}


def promised(metrics):
    """The numbers of GATES in one metrics.json."""
    general, special = metrics["domains"].values()
    excess = {name: model["excess"] for name, model in metrics["models"].items()}
    flawless = {name: model["flawless"] for name, model in metrics["models"].items()}
    own = [flawless["pretrained"][kind][TEMPERATURE] for kind in general]
    return {
        "generalist: worst excess": max(excess["pretrained"][kind] for kind in general),
        "own kinds flawless": sum(kind["count"] for kind in own) / sum(kind["n"] for kind in own),
        "novels, untouched": excess["pretrained"][special],
        "full": excess["full"][special],
        "adapter": excess["adapter"][special],
        "scratch / full": excess["scratch"][special] / excess["full"][special],
        "flawless novels: full": flawless["full"][special][TEMPERATURE]["share"],
        "adapter's": flawless["adapter"][special][TEMPERATURE]["share"],
        "seconds": metrics["seconds"]["total"],
    }


def kept(name, value):
    _, least, most = GATES[name]
    return least <= value <= most


def metrics_of(out, seed, small):
    """The metrics of a demo with this seed, run now if it is not in the folder `out`."""
    folder = out / f"seed{seed}"
    path = folder / "metrics.json"
    if not path.exists():
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            demo(folder, folder / "plots", seed, SMALL_PLAN if small else None, resume=True)
    return json.loads(path.read_text(encoding="utf-8"))


def measure(seeds=range(241, 261), out="runs/demo_seeds", small=False):
    results = {seed: promised(metrics_of(Path(out), seed, small)) for seed in tqdm(seeds, desc="demos")}
    rows = [{"seed": str(seed)} | {name: f"{value:{GATES[name][0]}}{'' if kept(name, value) else ' *'}"
                                   for name, value in values.items()} for seed, values in results.items()]
    keepers = {name: sum(kept(name, values[name]) for values in results.values()) for name in GATES}
    return [*rows, {"seed": "kept by"} | {name: f"{n} of {len(results)}" for name, n in keepers.items()}]


def main():
    report.command(__doc__, measure, QUICK,
                   seeds=dict(type=int, nargs="+", metavar="N", help="of the demos (default: 241 to 260)"),
                   out=dict(metavar="FOLDER", help="where the demos are kept (default: runs/demo_seeds)"),
                   small=dict(action="store_true", help="the plan of demo --quick, which promises less"))


if __name__ == "__main__":
    main()
