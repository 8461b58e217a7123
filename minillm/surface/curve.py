"""A curve between two models along which the loss stays low: around the barrier (Garipov et al. 2018)."""

import copy

import numpy as np

from ..ground.processes import default_workers
from ..ground.progress import progress
from ..train.costs import must_fit
from ..train.flat import FlatParameters
from ..train.optimizers import AdamW
from ..train.schedule import warmup_linear
from ..train.workers import Workers


def bezier(x, m, y):
    """The quadratic Bezier curve from x to y that bends towards m:  t -> (1 - t)^2 x + 2 t (1 - t) m + t^2 y.

    The three factors add up to 1, so the whole curve lies in the plane through x, m and y.
    """
    x, m, y = (np.asarray(point, np.float64) for point in (x, m, y))
    return lambda t: (1 - t) ** 2 * x + 2 * t * (1 - t) * m + t ** 2 * y


def train_curve(space, x, y, batches, steps, rng, lr=2e-3, clip=1.0, workers=None, title="curve"):
    """Train the m of a Bezier curve phi from x to y so that the mean loss along the curve is small. Returns m.

    x, y and m are vectors of the space. m starts halfway between x and y. Each step draws t from U(0, 1) and takes a batch at
    phi(t). Since dphi/dm = 2 t (1 - t), the chain rule gives   dL(phi(t))/dm = 2 t (1 - t) dL/dtheta.   x and y stay fixed.

    ValueError if this would not fit into memory, or if a loss along the curve is not a number.

    batches     has at(step) -> tokens, targets, and `total`, the number a summed loss is divided by (None: the number of targets
                in each batch)
    """
    n = workers or default_workers()
    must_fit(space.size * (4 * (6 + n) + 8 * 6), f"a curve through models of {space.size:,d} parameters", "choose smaller ones")
    model = copy.deepcopy(space.put(x))
    model.trainable = True
    flat = FlatParameters(model.parameters())
    workers = Workers(model, flat, None, workers)
    middle = copy.copy(flat)                            # the optimizer moves m, but reads the gradient at the model, phi(t)
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
