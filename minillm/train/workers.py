"""Workers: threads that each take a part of the batch. Shared weights, own gradients, summed at the end."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..nn import IGNORE, CrossEntropy
from ..runtime import cores

# NumPy lets other Python threads run while it computes, so threads are enough and weights need not be copied.


class Workers:
    """Computes the loss of a batch and its gradient with `n` threads; by default one for each core."""

    def __init__(self, model, flat, n=None):
        self.n = n or cores()
        self.flat = flat
        self.replicas = [model] + [model.replica() for _ in range(self.n - 1)]
        self.gradients = [flat.grad] + [flat.attach_gradients(replica.parameters()) for replica in self.replicas[1:]]
        self.loss = CrossEntropy()
        self.pool = ThreadPoolExecutor(self.n) if self.n > 1 else None

    def map(self, function, items):
        """Like the builtin, on all workers."""
        return self.pool.map(function, items) if self.pool else map(function, items)

    def forward_backward(self, tokens, targets, total):
        """The loss of the batch, a float; its gradient stands in flat.grad afterwards. tokens, targets (B, T).

        The loss is a sum over rows divided by `total`, so the gradient of the batch is the sum of those of its parts.
        """
        def work(worker):
            self.gradients[worker].fill(0)
            with np.errstate(over="ignore", invalid="ignore"):      # it shows in the loss, and the Trainer looks at that
                return sum(self.part(self.replicas[worker], tokens[rows, :T], targets[rows, :T], total)
                           for rows, T in parts[worker])

        parts = split_rows(targets, self.n)
        loss = sum(self.map(work, range(self.n)))
        for gradient in self.gradients[1:]:
            self.flat.grad += gradient
        return loss

    def part(self, model, tokens, targets, total):
        logits, cache = model.forward(tokens)
        loss, loss_cache = self.loss.forward(logits, targets, total)
        model.backward(self.loss.backward(1.0, loss_cache), cache)
        return loss


def split_rows(targets, n):
    """Deal the rows of a batch to n workers: for each a list of (rows, T), T the longest length that counts among them.

    Rows of equal length are cut into n parts. Documents differ in length, and what a batch pads to its longest is wasted work:
    sorted by length and cut into 2n parts, each padded only to its own longest, with the longest and the shortest part for the
    first worker, the second longest and second shortest for the next, they cost little more than their tokens.
    """
    B, T = targets.shape
    lengths = T - np.argmax(targets[:, ::-1] != IGNORE, axis=1)             # (B,), up to the last target that counts
    if np.all(lengths == T):
        return [[(rows, T)] if len(rows) else [] for rows in np.array_split(np.arange(B), n)]
    pieces = np.array_split(np.argsort(-lengths, kind="stable"), 2 * n)
    pieces = [[(rows, int(lengths[rows].max()))] if len(rows) else [] for rows in pieces]
    return [pieces[i] + pieces[-1 - i] for i in range(n)]
