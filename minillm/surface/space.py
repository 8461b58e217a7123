"""One space for all: the weights of a model, end to end, as a point; and the loss there, on the same few texts."""

import copy

import numpy as np

from ..nn import IGNORE
from ..tasks.evaluate import log_p_at
from ..text.batches import Text, pad
from ..train.flat import FlatParameters

ROWS, PADDING = 8, 0.15      # of a batch: at most so many texts, and so much more to read than they have


class Probe:
    """The texts on which a surface is measured: the same at every point, or differences would be those of the texts.

    tasks       their names; count {task: tokens that count}
    batches     [(tokens, targets, task of each row)], short texts with short ones, whichever their task
    """

    def __init__(self, documents):
        """documents: {task: [Text, or a list of ids of which the tag is given]}. ValueError if nothing of a task counts."""
        self.tasks = list(documents)
        texts = [(text if isinstance(text, Text) else Text(text), k) for k, task in enumerate(self.tasks)
                 for text in documents[task]]
        texts.sort(key=lambda text: len(text[0].ids))
        self.batches = []
        for some in group_by_length(texts):
            tokens, targets = pad([text.ids for text, _ in some], [text.given for text, _ in some])
            self.batches.append((tokens, targets, np.array([k for _, k in some])))
        self.count = {task: sum(int((targets[of == k] != IGNORE).sum()) for _, targets, of in self.batches)
                      for k, task in enumerate(self.tasks)}
        for task, n in self.count.items():
            if not n:
                raise ValueError(f"the texts of {task} are too short to measure a loss on")

    def losses(self, model):
        """{task: mean of -log p(target)}, in nats a token; nan or infinite where the model is ruined."""
        total = np.zeros(len(self.tasks))
        with np.errstate(over="ignore", invalid="ignore"):
            for tokens, targets, of in self.batches:
                surprise = np.where(targets == IGNORE, 0, -log_p_at(model.logits(tokens), targets)).sum(axis=1)
                total += np.bincount(of, surprise, len(total))
        return {task: float(sum_ / self.count[task]) for task, sum_ in zip(self.tasks, total)}

    def only(self, task):
        """[(tokens, targets)] of one task, for a gradient (sharpness.py, curve.py)."""
        k = self.tasks.index(task)
        return [(tokens[of == k], targets[of == k]) for tokens, targets, of in self.batches if (of == k).any()]


def group_by_length(texts):
    """Cut [(Text, ...)], the short before the long, into groups that padding makes only little larger: it is wasted work."""
    groups, size = [[]], 0
    for text in texts:
        length = len(text[0].ids)
        if len(groups[-1]) == ROWS or (len(groups[-1]) + 1) * length > (1 + PADDING) * (size + length):
            groups.append([])
            size = 0
        groups[-1].append(text)
        size += length
    return groups


class Space:
    """All weights of one model as a vector: the space in which every method's weights are points.

    The model is the *adapted* one, with weights (theta, phi): the body and what was inserted. Full fine-tuning is then
    (theta', phi_0), an adapter (theta, phi'), and since phi_0 does nothing, every point in between is a working model. What can
    be merged into the body (LoRA) is a point of theta (runs.py).

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
        """The starting weights with some arrays {name: array} in their place. ValueError for one that has no place there."""
        theta = self.start.copy()
        views = self.flat.views(theta)
        for name, array in arrays.items():
            if name not in views or views[name].shape != np.shape(array):
                here = f"shape {views[name].shape}" if name in views else "no such weights"
                raise ValueError(f"models of different shapes have no plane in common: one has {name} of shape "
                                 f"{np.shape(array)}, another {here}")
            views[name][...] = array
        return theta

    def arrays(self, theta):
        """{name: view} of a vector."""
        return self.flat.views(theta)

    def put(self, theta):
        """The model, with these weights. No copy if theta was written into flat.data. ValueError if it is another's by now."""
        self.flat.check()
        if theta is not self.flat.data:
            self.flat.data[...] = theta
        return self.model

    def losses(self, theta, probe):
        """{task: loss} of the model with these weights, which it then has."""
        return probe.losses(self.put(theta))
