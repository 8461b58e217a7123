"""Workers: processes that each take a part of the batch. Shared weights, own gradients, summed at the end."""

import math
import weakref
from bisect import bisect_left

import numpy as np

from ..nn import IGNORE, CrossEntropy
from ..processes import Team, default_workers, is_shared, shared_zeros


class Workers:
    """n processes (processes.py) that make one training step of a model together; by default one for each core.

    Each goes forward and backward over its rows of the batch; then each sums, clips and applies its share of the gradient.
    Methods with a `rank` are what one of them does.
    """

    def __init__(self, model, flat, optimizer, n=None, accumulate=1, penalty=None):
        self.model, self.flat, self.optimizer = model, flat, optimizer
        self.n, self.accumulate, self.penalty = n or default_workers(), accumulate, penalty
        self.gradients = [flat.grad] + [flat.zeros() for _ in range(self.n - 1)]
        self.views = [flat.views(gradient) for gradient in self.gradients]
        self.loss = CrossEntropy()
        if self.n > 1:
            for p in model.parameters().values():
                share(p)
        self.team = Team(weakref.proxy(self), self.n)      # not a cycle: the processes end as soon as nobody needs the workers

    def forward_backward(self, tokens, targets, total=None, frozen=()):
        """tokens, targets (B, T) -> the loss, a float, and the norm of its gradient, which stands in flat.grad afterwards.

        The loss is a sum over rows divided by `total`, so the gradient of the batch is the sum of those of its parts. By default
        that is the count of targets in the *batch*; a part must not divide by its own.
        frozen: names of parameters that do not train in this step, and whose gradient is therefore not computed.
        """
        total = total or max(1, np.count_nonzero(targets != IGNORE))
        parts = [[(tokens[rows, :T], targets[rows, :T]) for rows, T in part]
                 for part in split_rows(targets, self.n, self.accumulate)]
        loss = sum(self.team.run("differentiate", parts, total, frozen))
        self.flat.use_gradient(self.views[0])
        return loss, math.sqrt(sum(self.team.run("reduce")))

    def at_a_time(self, targets):
        """[(rows, T)] of a batch with these targets: the largest piece of each worker, which may all be in memory together."""
        parts = split_rows(targets, self.n, self.accumulate)
        return [max(((len(rows), T) for rows, T in part), key=math.prod) for part in parts if part]

    def update(self, plan, clip):
        """One step of the optimizer, as planned, along `clip` times the gradient."""
        self.team.run("apply", plan, clip)

    def differentiate(self, rank, parts, total, frozen=()):
        """The loss of the rank's parts of the batch; their gradient stands in gradients[rank]."""
        for (name, p), view in zip(self.flat.parameters.items(), self.views[rank].values()):
            p.trainable = name not in frozen
            if p.trainable:
                p.grad = view
                p.zero_grad()
            else:
                view.fill(0)                                    # its place in the vector, to which no layer will add
        with np.errstate(over="ignore", invalid="ignore"):      # it shows in the loss, and the Trainer looks at that
            loss = sum(self.differentiate_part(tokens, targets, total) for tokens, targets in parts[rank])
        for p in self.flat.parameters.values():
            p.finish_grad()
        return loss

    def differentiate_part(self, tokens, targets, total):
        logits, cache = self.model.forward(tokens)
        loss, loss_cache = self.loss.forward(logits, targets, total)
        self.model.backward(self.loss.backward(1.0, loss_cache), cache)
        return loss

    def reduce(self, rank):
        """Sum the rank's share of all gradients into flat.grad; returns its share of the squared norm."""
        size = self.flat.grad.size
        share = slice(rank * size // self.n, (rank + 1) * size // self.n)
        g = self.flat.grad[share]
        for gradient in self.gradients[1:]:
            g += gradient[share]
        if self.penalty:
            self.penalty.add(share)
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.dot(g, g))

    def apply(self, rank, plan, clip):
        """Update the rank's share of the weights."""
        self.optimizer.update(plan, clip, rank, self.n)


def share(p):
    """Move the values of a parameter to where all workers see them: a frozen one, too, may be written into some time."""
    if not is_shared(p.data):
        shared = shared_zeros(p.size, p.data.dtype).reshape(p.shape)
        shared[...] = p.data
        p.data = shared


def split_rows(targets, n, accumulate=1):
    """Deal the rows of a batch to n workers: for each a list of (rows, T), T the longest length that counts among them.

    Rows of equal length are cut into n parts, and each of these into `accumulate`, to be worked on one after the other.
    Documents differ in length, and what a batch pads to its longest is wasted work.
    So they are sorted by length and cut into 2n pieces (or 2n times half of `accumulate`), each padded only to its own longest
    and all of about the same size with the padding; each worker gets pieces of long ones and of short ones. On documents of the
    toy world a worker's share then costs 17 % more than its tokens; with pieces of equally many rows it would be 28 %.
    """
    B, T = targets.shape
    lengths = T - np.argmax(targets[:, ::-1] != IGNORE, axis=1)             # (B,), up to the last target that counts
    if np.all(lengths == T):
        return [[(piece, T) for piece in np.array_split(rows, accumulate) if len(piece)]
                for rows in np.array_split(np.arange(B), n)]
    order = np.argsort(-lengths, kind="stable")
    sizes = lengths[order].tolist()
    m = 2 * n * max(1, (accumulate + 1) // 2)
    limit = bisect_left(range(B * T), True, lo=1, key=lambda limit: len(cut(sizes, limit)) <= m)
    pieces = [order[start:stop] for start, stop in cut(sizes, limit)]
    pieces = [[(rows, int(lengths[rows[0]]))] for rows in pieces] + [[]] * (m - len(pieces))
    return [[piece for j in range(i, m // 2, n) for piece in pieces[j] + pieces[-1 - j]] for i in range(n)]


def even_pieces(B, T, n, accumulate=1):
    """[(rows, T)] that n workers have in memory at a time, of B rows of equal length; as `Workers.at_a_time`, without a batch."""
    shares = [B // n + (rank < B % n) for rank in range(n)]
    return [(math.ceil(share / accumulate), T) for share in shares if share]


def cut(lengths, limit):
    """Falling lengths into runs (start, stop), as few as possible, none of which has more than `limit` places when padded."""
    starts = [0]
    for i in range(1, len(lengths)):
        if (i + 1 - starts[-1]) * lengths[starts[-1]] > limit:
            starts.append(i)
    return list(zip(starts, [*starts[1:], len(lengths)]))
