"""Does the demo keep its promise on every seed?

    python tests/benchmarks/demo_seeds.py --seeds 291 292 293 [--out runs/demo_seeds]
    python tests/benchmarks/demo_seeds.py --models

Runs `minillm demo` once for each seed and reads its metrics.json. The table shows what is promised (GATES) and what came out,
with a star where a seed misses; its last line, how many seeds keep each promise. With --models there is a line for each model
instead: means over the seeds. Choose seeds that nobody looked at while the demo was tuned: on others it proves nothing. Two
minutes a seed on two cores; what is finished is not run again. Seconds are those of the demo, without the start of Python.
"""

import contextlib
import io
import json
from dataclasses import asdict
from pathlib import Path
from statistics import fmean as mean

import report
from tqdm import tqdm

from minillm import World
from minillm.demo import QUICK as SMALL_PLAN
from minillm.demo import Plan, demo
from minillm.tasks.samples import TEMPERATURES

TEMPERATURE = f"{TEMPERATURES[0]:g}"      # as metrics.json has it
QUICK = dict(seeds=[1], small=True)
SEEDS = (*range(286, 301), *range(305, 310))      # twenty that played no part in tuning

# {what is promised: (how it is shown, the least, the most)}
GATES = {
    "generalist: worst excess": (".3f", 0, 0.05),
    "its own kinds flawless": (".0%", 0.85, 1),
    "its excess on novels": (".2f", 0.5, 3),
    "excess on novels: full": (".3f", 0, 0.08),
    "adapter": (".3f", 0, 0.12),
    "scratch / full": (".0f", 3, float("inf")),
    "flawless novels: full": (".0%", 0.7, 1),
    "adapter's": (".0%", 0.55, 1),
    "seconds": (".0f", 0, 120),
}


def flawless_share(model, kinds):
    """Of the texts of some kinds that one model of a metrics.json has written, those without a mistake."""
    texts = [model["flawless"][kind][TEMPERATURE] for kind in kinds]
    return sum(kind["count"] for kind in texts) / sum(kind["n"] for kind in texts)


def outcome(metrics):
    """The numbers of GATES in one metrics.json."""
    general, special = metrics["domains"].values()
    excess = {name: model["excess"] for name, model in metrics["models"].items()}
    values = (max(excess["pretrained"][kind] for kind in general),
              flawless_share(metrics["models"]["pretrained"], general),
              excess["pretrained"][special],
              excess["full"][special],
              excess["adapter"][special],
              excess["scratch"][special] / excess["full"][special],
              flawless_share(metrics["models"]["full"], [special]),
              flawless_share(metrics["models"]["adapter"], [special]),
              metrics["seconds"]["total"])
    return dict(zip(GATES, values, strict=True))


def kept(name, value):
    _, least, most = GATES[name]
    return least <= value <= most


def metrics_of(folder, seed, plan):
    """The metrics of a demo with this seed and plan, run now if the folder has none of the same world."""
    path, wanted = folder / "metrics.json", {"seed": seed, "config": asdict(plan), "world": World(seed).fingerprint()}
    metrics = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if wanted.items() <= metrics.items():
        return metrics
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return demo(folder, folder / "plots", seed, plan)


def models_of(demos):
    """A row for each model: mean and range over the demos of its excess, and of its texts without a mistake at temperature 1."""
    general, special = demos[0]["domains"].values()
    rows = []
    for name in demos[0]["models"]:
        models = [metrics["models"][name] for metrics in demos]
        row = {"model": name}
        for column, kinds in {"novels": [special], "old kinds": general}.items():
            row[f"excess on {column}"] = spread([mean(model["excess"][kind] for kind in kinds) for model in models], ".3f")
            row[f"{column} without a mistake"] = spread([flawless_share(model, kinds) for model in models], ".0%")
        rows.append(row)
    return rows


def spread(values, form):
    """mean (least to largest)"""
    return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def measure(seeds=SEEDS, out="runs/demo_seeds", small=False, models=False):
    plan, folder = (SMALL_PLAN, Path(out) / "small") if small else (Plan(), Path(out))
    demos = {seed: metrics_of(folder / f"seed{seed}", seed, plan) for seed in tqdm(seeds, desc="demos")}
    if models:
        return models_of(list(demos.values()))
    results = {seed: outcome(metrics) for seed, metrics in demos.items()}
    promised = {name: f"{least:{form}} to {most:{form}}" for name, (form, least, most) in GATES.items()}
    rows = [{"seed": str(seed)} | {name: f"{value:{GATES[name][0]}}{'' if small or kept(name, value) else ' *'}"
                                   for name, value in values.items()} for seed, values in results.items()]
    if small:                                               # its plan promises nothing
        return rows
    keepers = {name: sum(kept(name, values[name]) for values in results.values()) for name in GATES}
    return [{"seed": "promised"} | promised, *rows,
            {"seed": "kept by"} | {name: f"{n} of {len(results)}" for name, n in keepers.items()}]


def main():
    report.command(__doc__, measure, QUICK,
                   seeds=dict(type=int, nargs="+", metavar="N", help="of the demos (default: 286 to 300, 305 to 309)"),
                   models=dict(action="store_true", help="a line for each model, in place of the promises"),
                   out=dict(metavar="FOLDER", help="where the demos are kept (default: runs/demo_seeds)"),
                   small=dict(action="store_true", help="the plan of demo --quick, which promises nothing"))


if __name__ == "__main__":
    main()
