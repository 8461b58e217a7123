"""What does each way of fine-tuning cost: time for a step, memory for gradients and optimizer, activations kept?

    python tests/benchmarks/methods.py [--rounds 12]

At the size of nanoGPT's CPU recipe and at that of the demo's fine-tuning, AdamW, all cores. Gradients and the optimizer's state
should be proportional to what trains: `expected` is 4 bytes for each trainable parameter, times one gradient for each process and
AdamW's two moments. Activations are what the forward pass over a whole batch keeps for the backward pass.
"""

import statistics

import report

from minillm import bench
from minillm.demo import Plan
from minillm.ground.processes import default_workers
from minillm.nn import Config
from minillm.tasks.world import CONTEXT
from minillm.text.world import World
from minillm.train.costs import activation_bytes, training_state_bytes

QUICK = dict(rounds=1)
PLAN = Plan()


class DemoSize(bench.Size):
    """With the demo's positions, too."""

    @property
    def config(self):
        return Config(self.vocabulary, **PLAN.config())


DEMO = DemoSize("demo", PLAN.layers, PLAN.width, PLAN.heads, CONTEXT, PLAN.finetuning_batch, vocabulary=len(World().tokenizer))


def measure(rounds=12):
    return [row for size in (bench.SIZES["nano"], DEMO) for row in rows_of_size(size, rounds)]


def rows_of_size(size, rounds):
    workers = default_workers()
    times = report.race({name: bench.training_step(size, workers, recipe) for name, recipe in bench.METHODS.items()}, rounds)
    return [{"size": str(size), "method": name} | time_of(times, name) | memory_of(size, workers, recipe)
            for name, recipe in bench.METHODS.items()]


def time_of(times, name):
    median, least = statistics.median, min
    return {"median ms": 1e3 * median(times[name]), "least ms": 1e3 * least(times[name]),
            "of full": median(times[name]) / median(times["full"]), "of full, least": least(times[name]) / least(times["full"])}


def memory_of(size, workers, recipe):
    trainer, (tokens, _) = bench.new_trainer(size, workers, recipe), size.batch_of_noise()
    trains = sum(p.size for p in trainer.model.trainable_parameters().values())
    return {"trains": trains, "gradient, optimizer kB": training_state_bytes(trainer) / 1e3,
            "expected kB": 4 * trains * (workers + 2) / 1e3,
            "activations MB": activation_bytes(trainer.model, tokens) / 1e6}


def main():
    report.command(__doc__, measure, QUICK, rounds=report.ROUNDS)


if __name__ == "__main__":
    main()
