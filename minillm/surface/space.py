"""The space of all weights, in which a model is a point, and the loss at a point, always on the same few texts."""

import copy

import numpy as np

from ..nn import IGNORE
from ..tasks.evaluate import log_p_at
from ..text.batches import Text, pad
from ..train.flat import FlatParameters

ROWS, PADDING = 8, 0.15      # of a batch: at most so many texts, and at most this share of padding


class Probe:
    """The texts on which a surface is measured: the same at every point, so that only the weights cause differences.

    tasks       their names
    count       {task: how many tokens its loss is a mean over}
    batches     [(tokens, targets, index of the task of each row)], of texts of similar lengths, from all tasks
    """

    def __init__(self, texts):
        """texts: {task: [Text, or a list of ids whose tag is given]}. ValueError if a task has no tokens to predict."""
        self.tasks = list(texts)
        pairs = [(text if isinstance(text, Text) else Text(text), k) for k, task in enumerate(self.tasks)
                 for text in texts[task]]
        pairs.sort(key=lambda pair: len(pair[0].ids))
        self.batches = []
        for group in group_by_length(pairs):
            tokens, targets = pad([text.ids for text, _ in group], [text.given for text, _ in group])
            self.batches.append((tokens, targets, np.array([k for _, k in group])))
        self.count = {task: sum(int((targets[of == k] != IGNORE).sum()) for _, targets, of in self.batches)
                      for k, task in enumerate(self.tasks)}
        for task, n in self.count.items():
            if not n:
                raise ValueError(f"the texts of {task} are too short to measure a loss on")

    def losses(self, model):
        """{task: mean of -log p(target)}, in nats per token; nan or infinite if the weights are ruined."""
        total = np.zeros(len(self.tasks))
        with np.errstate(over="ignore", invalid="ignore"):
            for tokens, targets, of in self.batches:
                surprise = np.where(targets == IGNORE, 0, -log_p_at(model.logits(tokens), targets)).sum(axis=1)
                total += np.bincount(of, surprise, len(total))
        return {task: float(sum_ / self.count[task]) for task, sum_ in zip(self.tasks, total)}

    def batches_of(self, task):
        """[(tokens, targets)] of one task, for a gradient (sharpness.py)."""
        k = self.tasks.index(task)
        return [(tokens[of == k], targets[of == k]) for tokens, targets, of in self.batches if (of == k).any()]


def group_by_length(pairs):
    """Cut [(Text, task)], sorted by length, into groups of at most ROWS texts that need little padding, which is wasted work."""
    groups, size = [[]], 0
    for pair in pairs:
        length = len(pair[0].ids)
        if len(groups[-1]) == ROWS or (len(groups[-1]) + 1) * length > (1 + PADDING) * (size + length):
            groups.append([])
            size = 0
        groups[-1].append(pair)
        size += length
    return groups


class Space:
    """All weights of one model as a vector, so that the results of all methods are points of one space.

    The model is the *adapted* one, with weights (theta, phi) of the body and of the inserted modules. Full fine-tuning ends at
    (theta_1, phi_0), an adapter at (theta_0, phi_1). At phi_0 the inserted modules do nothing, so (theta_1, phi_0) is the fully
    fine-tuned model itself. Any other point is a model of the same form, good or bad, and the surface is its loss. What can be
    merged into the body (LoRA) moves theta alone (family.py).

    start       the weights of the model as it was given
    """

    def __init__(self, model):
        self.model = copy.deepcopy(model)
        self.flat = FlatParameters(self.model.parameters(), gradients=False)
        self.start = self.flat.data.copy()

    @property
    def size(self):
        return self.start.size

    def vector(self, arrays):
        """The starting weights with some of them replaced by arrays {name: array}. ValueError if names or shapes do not fit."""
        theta = self.start.copy()
        views = self.flat.views(theta)
        for name, array in arrays.items():
            if name not in views or views[name].shape != np.shape(array):
                expected = f"shape {views[name].shape}" if name in views else "no such weights"
                raise ValueError(f"models of different shapes have no plane in common: one has {name} of shape "
                                 f"{np.shape(array)}, another {expected}")
            views[name][...] = array
        return theta

    def arrays(self, theta):
        """{name: array} of a vector, as views into it."""
        return self.flat.views(theta)

    def put(self, theta):
        """The model, with these weights. Nothing is copied if theta is flat.data. ValueError if its arrays were replaced."""
        self.flat.check()
        if theta is not self.flat.data:
            self.flat.data[...] = theta
        return self.model

    def losses(self, theta, probe):
        """{task: loss} at theta; afterwards the model has these weights."""
        return probe.losses(self.put(theta))
