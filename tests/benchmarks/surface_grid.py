"""How long does it take to measure a loss surface of 51 x 51 points?

    python tests/benchmarks/surface_grid.py [--points 51] [--rounds 3]

The model has the shape of the demo's, with adapters; the plane goes through random weights in three places. Each point is the
loss on 512 tokens, half of them of the new task and half of the old.
"""

import statistics
import time

import numpy as np
import report

from minillm.demo import Plan
from minillm.finetune.methods import BottleneckAdapter
from minillm.ground.processes import default_workers
from minillm.nn import GPT, Config
from minillm.surface.measure import measure_surface
from minillm.surface.plane import plane_through
from minillm.surface.space import Probe, Space
from minillm.text.world import World

QUICK = dict(rounds=1, points=7)
DOCUMENT = 66                                      # ids: the first is given, the next is the tag, and 64 count
DOCUMENTS = 4                                      # of each of the two tasks


def demo_model(rng):
    plan = Plan()
    model = GPT(Config(len(World().tokenizer), **plan.config()), rng)
    BottleneckAdapter(plan.bottleneck).apply(model, rng)
    return model


def moved(model, rng):
    """All weights, each a little elsewhere."""
    return {name: array + rng.normal(0, 0.01, array.shape).astype(array.dtype) for name, array in model.state_dict().items()}


def measure(rounds=3, points=51):
    rng = np.random.default_rng(0)
    model = demo_model(rng)
    space = Space(model)
    ends = {name: space.vector(moved(model, rng)) for name in ("full", "adapter")}
    plane = plane_through(space.start, *ends.values())
    probe = Probe({name: rng.integers(0, model.config.vocab_size, (DOCUMENTS, DOCUMENT)).tolist() for name in ("new", "old")})
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        measure_surface(space, plane, ends, {}, probe, points)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    return [{"grid": f"{points} x {points}", "tokens": sum(probe.count.values()), "processes": default_workers(),
             "median s": median, "least s": min(seconds), "points/s": points ** 2 / median}]


def main():
    report.command(__doc__, measure, QUICK, rounds=dict(type=int, help="how often"),
                   points=dict(type=int, help="along each axis"))


if __name__ == "__main__":
    main()
