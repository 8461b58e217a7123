"""Muon: each matrix moves by an orthogonal matrix, or almost one (Jordan et al. 2024)."""

import math

import numpy as np

from .adamw import AdamW
from .optimizer import Optimizer

# The quintic a s + b s^3 + c s^5, applied five times, takes singular values between 0.0016 and 1 to between 0.68 and 1.21.
# Smaller ones grow too, by a factor of at most a^5 = 485.
QUINTIC = (3.4445, -4.7750, 2.0315)
STACK = 4      # how many matrices of one shape are orthogonalised by the same NumPy calls


def orthogonalise(G, steps=5):
    """About the orthogonal matrix nearest to G: G = U S V' -> about U V'.   G (..., m, n)

    Newton-Schulz steps: an odd polynomial of a matrix acts on its singular values and leaves U and V as they are,
        B X = U (a S + b S^3 + c S^5) V'    with  A = X X',   B = a I + b A + c A^2
    so a polynomial that pushes (0, 1] towards 1 replaces an SVD by matrix products. (In five steps, singular values below about a
    thousandth of |G|, the Frobenius norm, do not reach 1. The gradient has hardly anything in these directions.) The plain form:

        X = G / |G|                             # so that every singular value is at most 1; transposed first if m > n
        for step in range(5):
            A = X @ X.T
            X = (a * I + b * A + c * A @ A) @ X

    The fast form below multiplies the small (m, m) matrices first. The next B needs only the next A, and since A and B commute,
        (B X) (B X)' = B A B
    so A <- B A B needs no X. Only the first A and the last product, Q X with Q = B5 B4 B3 B2 B1, involve the wide X: 2 products
    of that size instead of 10, which takes 60 % of the time for the matrices of an MLP. For a square X nothing would be saved, so
    it goes through the plain form.
    """
    a, b, c = QUINTIC
    m, n = G.shape[-2:]
    X = np.ascontiguousarray(G.swapaxes(-1, -2)) if m > n else G            # few rows, so that X X' is the small one
    X = X / (np.linalg.norm(X, axis=(-2, -1), keepdims=True) + 1e-7)        # now every singular value is <= 1
    A, Q = X @ X.swapaxes(-1, -2), None
    for step in range(steps):
        B = A @ A
        B *= c
        B += b * A
        np.einsum("...ii->...i", B)[...] += a                               # a view of the diagonal
        last = step == steps - 1
        if m == n:
            X = B @ X
            A = None if last else X @ X.swapaxes(-1, -2)
        else:
            Q = B if Q is None else B @ Q
            A = None if last else B @ A @ B
    X = X if m == n else Q @ X
    return X.swapaxes(-1, -2) if m > n else X


class Muon(Optimizer):
    """Orthogonalised Nesterov momentum for matrices (Parameter.matrices), and AdamW for embeddings, gains and biases.

        v <- mu v + g,    d = g + mu v,    W <- (1 - lr wd) W - lr sqrt(max(1, out / in)) orthogonalise(d)

    A gradient has a few large singular values, in directions that the model uses already. With all of them made equal, the rare
    directions are learned as fast, and facts that must be recalled exactly take a fraction of the steps. q, k and v are separate
    maps that only share an array, so each is orthogonalised separately.

    lr is for the matrices: every entry of an orthogonal m x n step is about 1 / sqrt(max(m, n)), whatever the gradient. adamw_lr
    is for the rest. A momentum of 0.9 suits runs of a few hundred steps; for longer ones, 0.95 is usual.
    """

    def __init__(self, lr=0.02, momentum=0.9, weight_decay=0.01, adamw_lr=5e-3):
        super().__init__(lr)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.adamw = AdamW(lr=adamw_lr, weight_decay=0.0)

    def start(self, flat):
        super().start(flat)
        self.v = flat.zeros()[:flat.n_matrices]
        self.adamw.start(flat, first=flat.n_matrices)

    def plan(self, factor=1.0):
        return self.lr * factor, self.adamw.plan(factor)

    def update(self, plan, shrink=1.0, rank=0, n=1):
        lr, adamw_plan = plan
        for stack in self.stacks()[rank::n]:
            directions = []
            for _, g, v, _ in stack:
                g *= shrink
                v *= self.momentum
                v += g
                directions.append(g + self.momentum * v)
            out_by_in = g.shape[1] / g.shape[0]
            scale = lr * math.sqrt(max(1.0, out_by_in))
            for (W, _, _, factor), O in zip(stack, orthogonalise(np.stack(directions))):
                W *= 1 - factor * lr * self.weight_decay
                W -= factor * scale * O
        self.adamw.update(adamw_plan, shrink, rank, n)

    def stacks(self):
        """Lists of up to STACK (weight, gradient, momentum, learning-rate multiplier) of one shape, the most work first."""
        by_shape = {}
        vectors = [self.flat.views(vector) for vector in (self.flat.data, self.flat.grad, self.v)]
        scale = None if self.flat.scale is None else self.flat.views(self.flat.scale)
        for name, p in self.flat.matrices.items():
            factor = 1.0 if scale is None else float(scale[name].flat[0])
            for triple in zip(*(np.split(views[name], np.cumsum(p.matrices)[:-1], axis=1) for views in vectors)):
                by_shape.setdefault(triple[0].shape, []).append((*triple, factor))
        stacks = [group[i:i + STACK] for group in by_shape.values() for i in range(0, len(group), STACK)]
        return sorted(stacks, key=lambda stack: -sum(g.size * min(g.shape) for _, g, _, _ in stack))

    def state_dict(self):
        return {"v": self.v} | {f"adamw.{name}": array for name, array in self.adamw.state_dict().items()}
