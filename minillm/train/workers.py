"""Workers: processes that each take a part of the batch. They share the weights; each has its own gradient, summed at the end.

A step is three calls of `Team.run`: differentiate, reduce, apply. `Team.run` is a barrier: it returns when all ranks are done. So
no gradient is summed while it is still being written, and no weight changes while a process still computes with it. Within a
call, each rank writes only to its own gradient or to its own share of a shared vector. That is why no gradient can be corrupted,
although nothing is locked.
"""

import math
import weakref
from bisect import bisect_left

import numpy as np

from ..ground.processes import Team, default_workers, is_shared, shared_zeros
from ..nn import IGNORE, CrossEntropy


class Workers:
    """n processes (ground/processes.py) that do the training steps of a model together; by default one for each core.

    Each goes forward and backward over its rows of the batch. Then each sums one share of all gradients, and updates one share of
    the weights. The methods with a `rank` run in every process.
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
        self.team = Team(weakref.proxy(self), self.n)      # a proxy, so that the processes end as soon as this object is deleted

    def forward_backward(self, tokens, targets, total=None, frozen=()):
        """tokens, targets (B, T) -> the loss, a float, and the norm of the gradient, with that of a penalty. It is in flat.grad.

        The loss is a sum over rows divided by `total`, so the gradient of the batch is the sum of those of its parts. By default
        `total` is the count of targets in the *batch*: a part must not divide by its own count.
        frozen: names of parameters that do not train in this step, so their gradient is not computed.
        """
        total = total or max(1, np.count_nonzero(targets != IGNORE))
        parts = [[(tokens[rows, :T], targets[rows, :T]) for rows, T in part]
                 for part in split_rows(targets, self.n, self.accumulate)]
        loss = sum(self.team.run("differentiate", parts, total, frozen))
        self.flat.use_gradient(self.views[0])
        return loss, math.sqrt(sum(self.team.run("reduce")))

    def at_a_time(self, targets):
        """[(rows, T)]: the largest piece of each worker, for a batch with these targets. All may be in memory at a time."""
        parts = split_rows(targets, self.n, self.accumulate)
        return [max(((len(rows), T) for rows, T in part), key=math.prod) for part in parts if part]

    def must_share(self, state):
        """ValueError if an array in the state of an optimizer is not shared: each worker would fill its part of its own copy, and
        only that of this process would be saved. (A single number, such as a count of steps, is the same in all.)
        """
        for name, array in state.items():
            if self.n > 1 and array.size > 1 and not is_shared(array):
                raise ValueError(f"the array {name!r} in the state of the optimizer is not shared by the workers, so most of it "
                                 "would never be saved: make it with flat.zeros()")

    def update(self, plan, shrink):
        """One step of the optimizer with the numbers of `plan`, along `shrink` times the gradient."""
        self.team.run("apply", plan, shrink)

    def differentiate(self, rank, parts, total, frozen=()):
        """The loss of this rank's pieces of the batch; their gradient is in gradients[rank] afterwards."""
        for (name, p), view in zip(self.flat.parameters.items(), self.views[rank].values()):
            p.trainable = name not in frozen
            if p.trainable:
                p.grad = view
                p.zero_grad()
            else:
                view.fill(0)                                    # its part of the vector, to which no layer will add
        with np.errstate(over="ignore", invalid="ignore"):      # the loss shows it, and the Trainer checks the loss
            loss = sum(self.differentiate_part(tokens, targets, total) for tokens, targets in parts[rank])
        for p in self.flat.parameters.values():
            p.finish_grad()
        return loss

    def differentiate_part(self, tokens, targets, total):
        """Forward, loss, backward for one piece; adds to the gradients and returns the loss."""
        logits, cache = self.model.forward(tokens)
        loss, loss_cache = self.loss.forward(logits, targets, total)
        self.model.backward(self.loss.backward(1.0, loss_cache), cache)
        return loss

    def reduce(self, rank):
        """Sum this rank's share of all gradients into flat.grad; returns its share of the squared norm."""
        size = self.flat.grad.size
        share = slice(rank * size // self.n, (rank + 1) * size // self.n)
        g = self.flat.grad[share]
        for gradient in self.gradients[1:]:
            g += gradient[share]
        if self.penalty:
            self.penalty.add(share)
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.dot(g, g))

    def apply(self, rank, plan, shrink):
        """Update this rank's share of the weights."""
        self.optimizer.update(plan, shrink, rank, self.n)


def share(p):
    """Move the values of a parameter to memory that all workers share; frozen ones too, since they can be written to as well."""
    if not is_shared(p.data):
        shared = shared_zeros(p.size, p.data.dtype).reshape(p.shape)
        shared[...] = p.data
        p.data = shared


def split_rows(targets, n, accumulate=1):
    """Deal the rows of a batch to n workers: for each a list of pieces (rows, T), where T is the longest length in the piece.

    Rows of equal length are cut into n parts, and each part into `accumulate` pieces, which are computed one after the other.

    If lengths differ, padding all rows to the longest would be wasted work. So the rows are sorted by length and cut into 2n
    pieces (for accumulate > 2, times half of it, rounded up), each padded only to its own longest row, and all of about the same
    size with the padding. Each worker gets pieces of long and of short rows. On documents of the toy world, a worker's
    share then costs 17 % more than its tokens alone; with pieces of equally many rows it would be 28 %.
    """
    B, T = targets.shape
    lengths = T - np.argmax(targets[:, ::-1] != IGNORE, axis=1)             # (B,), up to the last target that counts
    if np.all(lengths == T):
        return [[(piece, T) for piece in np.array_split(rows, accumulate) if len(piece)]
                for rows in np.array_split(np.arange(B), n)]
    order = np.argsort(-lengths, kind="stable")
    sizes = lengths[order].tolist()
    m = 2 * n * max(1, (accumulate + 1) // 2)
    # The smallest limit on the size of a piece for which m pieces suffice: the larger the limit, the fewer pieces, so bisect.
    limit = bisect_left(range(B * T), True, lo=1, key=lambda limit: len(cut(sizes, limit)) <= m)
    pieces = [order[start:stop] for start, stop in cut(sizes, limit)]
    pieces = [[(rows, int(lengths[rows[0]]))] for rows in pieces] + [[]] * (m - len(pieces))
    return [[piece for j in range(i, m // 2, n) for piece in pieces[j] + pieces[-1 - j]] for i in range(n)]


def even_pieces(B, T, n, accumulate=1):
    """[(rows, T)] as from `Workers.at_a_time`, but without a batch: for B rows of equal length T and n workers."""
    shares = [B // n + (rank < B % n) for rank in range(n)]
    return [(math.ceil(share / accumulate), T) for share in shares if share]


def cut(lengths, limit):
    """Cut falling lengths into as few runs (start, stop) as possible, each of at most `limit` positions with its padding."""
    starts = [0]
    for i in range(1, len(lengths)):
        if (i + 1 - starts[-1]) * lengths[starts[-1]] > limit:
            starts.append(i)
    return list(zip(starts, [*starts[1:], len(lengths)]))
