"""Around the barrier: a curve between two models along which the loss stays low (Garipov et al. 2018)."""

import copy

import numpy as np

from ..processes import default_workers
from ..progress import progress
from ..train.costs import must_fit
from ..train.flat import FlatParameters
from ..train.optimizers import AdamW
from ..train.schedule import warmup_linear
from ..train.workers import Workers


def bezier(x, m, y):
    """t -> (1 - t)^2 x + 2 t (1 - t) m + t^2 y, the quadratic Bezier curve: from x to y, drawn towards m on its way.

    The three factors add up to 1, so the whole curve lies in the plane through x, m and y.
    """
    x, m, y = (np.asarray(point, np.float64) for point in (x, m, y))
    return lambda t: (1 - t) ** 2 * x + 2 * t * (1 - t) * m + t ** 2 * y


def train_curve(space, x, y, batches, steps, rng, lr=2e-3, clip=1.0, workers=None, title="curve"):
    """The m of a Bezier curve from x to y, trained so that the mean loss along it is small; vectors of the space.

    m starts halfway between x and y. Each step draws t from U(0, 1) and takes a batch at phi(t); since dphi/dm = 2 t (1 - t), the
    chain rule gives   dL(phi(t))/dm = 2 t (1 - t) dL/dtheta.   The ends stay as they are.

    ValueError if that would not fit into memory, or if the loss on the way is no number.

    batches     at(step) -> tokens, targets, and `total`, what a summed loss is divided by; None: the count in each batch
    """
    n = workers or default_workers()
    must_fit(space.size * (4 * (6 + n) + 8 * 6), f"a curve through models of {space.size:,d} parameters", "choose smaller ones")
    model = copy.deepcopy(space.put(x))
    model.trainable = True
    flat = FlatParameters(model.parameters())
    workers = Workers(model, flat, None, workers)
    middle = copy.copy(flat)                            # what the optimizer moves: m, along the gradient that the model gets
    middle.data = flat.zeros()
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    middle.data[...] = (x + y) / 2
    optimizer, schedule = AdamW(lr, weight_decay=0.0), warmup_linear(steps)
    optimizer.start(middle)
    for step in progress(range(steps), desc=title, unit="step", quiet=not title):
        t = rng.uniform()
        flat.data[...] = bezier(x, middle.data, y)(t)
        _, norm = workers.forward_backward(*batches.at(step), batches.total)
        if not np.isfinite(norm):
            raise ValueError(f"the loss became NaN or infinite at step {step + 1} of the curve; try a lower learning rate")
        factor = 2 * t * (1 - t)
        optimizer.update(optimizer.plan(schedule(step)), factor * min(1.0, clip / max(factor * norm, 1e-30)))
    return middle.data.copy()
