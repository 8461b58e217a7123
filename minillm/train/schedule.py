"""Learning-rate schedules: step -> a factor between 0 and 1 on the optimizer's learning rate."""

import math


def constant(step):
    return 1.0


def warmup_cosine(steps, warmup=None, final=0.1):
    """Rise linearly for `warmup` steps (default: a twentieth), then fall along half a cosine to `final` at the last step."""
    warmup = steps // 20 if warmup is None else warmup

    def factor(step):
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def warmup_linear(steps, warmup=None, final=0.0):
    """Rise linearly for `warmup` steps (default: a twentieth), then fall linearly to `final` at the last step."""
    warmup = steps // 20 if warmup is None else warmup

    def factor(step):
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
        return 1 - (1 - final) * done

    return factor
