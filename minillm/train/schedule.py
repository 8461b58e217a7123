"""Learning-rate schedules: step -> a factor between 0 and 1 on the learning rate of the optimizer."""

import math


def constant(step):
    return 1.0


def warmup_linear(steps, warmup=None, final=0.0):
    """Rise for `warmup` steps (default: a twentieth), then fall along a straight line to `final` at the last step."""
    return rise_and_fall(steps, warmup, lambda done: 1 - (1 - final) * done)


def warmup_cosine(steps, warmup=None, final=0.1):
    """Rise for `warmup` steps (default: a twentieth), then fall along half a cosine to `final` at the last step."""
    return rise_and_fall(steps, warmup, lambda done: final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done)))


def rise_and_fall(steps, warmup, fall):
    """Rise linearly, then fall(done) with `done` going from 0 to 1."""
    warmup = steps // 20 if warmup is None else warmup

    def factor(step):
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return fall(min(1.0, (step - warmup) / max(1, steps - 1 - warmup)))

    return factor
