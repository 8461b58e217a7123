"""Optimizers: how a gradient becomes a step. Each is a rule with a state; `Trainer` gives it the parameters."""

import math

import numpy as np

from ..nn.pieces import pieces


class Optimizer:
    """The contract.

    start(flat)                  meet the parameters (a `FlatParameters`), make the state
    step(factor)                 update flat.data in place from flat.grad, at learning rate lr * factor; that is
        plan(factor)             the numbers that are the same for all weights of this step, worked out once
        update(plan, ...)        the arithmetic on every weight, which n workers can share: each does the part of its rank
    state()                      the arrays to save; written back into by `load_state`
    settings()                   the numbers it was made with, before `start`

    `clip`, a factor on the gradient, is applied on the way, while the numbers are in the cache anyway.
    """

    def __init__(self, lr):
        self.lr = lr
        self.flat = None

    def start(self, flat):
        self.flat = flat

    def step(self, factor=1.0):
        """ValueError if the parameters are another's by now."""
        self.flat.check()
        self.update(self.plan(factor))

    def settings(self):
        """{name: value}: which rule this is, and all numbers that it was made with."""
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, (int, float, tuple))}
        inner = {name: part.settings() for name, part in vars(self).items() if isinstance(part, Optimizer)}
        return {"rule": type(self).__name__} | numbers | inner

    def state(self):
        return {}

    def load_state(self, state):
        """ValueError, before anything is changed, unless names, shapes and types are those of this rule's own state."""
        own = self.state()
        odd = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != np.shape(state[name])
                                                    or own[name].dtype != np.asarray(state[name]).dtype]
        if odd:
            raise ValueError(f"this is no state of {type(self).__name__} for these parameters: {odd[0]!r} differs")
        for name, array in own.items():
            array[...] = state[name]


class SGD(Optimizer):
    """Gradient descent with momentum (Polyak 1964):   v <- mu v + g,   theta <- theta - lr v."""

    def __init__(self, lr=0.1, momentum=0.9):
        super().__init__(lr)
        self.momentum = momentum

    def start(self, flat):
        super().start(flat)
        self.v = flat.zeros()

    def plan(self, factor=1.0):
        return self.lr * factor

    def update(self, plan, clip=1.0, rank=0, n=1):
        lr = plan
        for part in pieces(self.v.size, rank, n):
            theta, g, v = self.flat.data[part], self.flat.grad[part], self.v[part]
            g *= clip
            v *= self.momentum
            v += g
            theta -= (lr if self.flat.scale is None else lr * self.flat.scale[part]) * v

    def state(self):
        return {"v": self.v}


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

        m <- b1 m + (1 - b1) g              first moment: where the gradient points
        v <- b2 v + (1 - b2) g^2            second moment: how large it usually is
        m^ = m / (1 - b1^t),  v^ = v / (1 - b2^t)       both started at 0 and are scaled up for it
        theta <- theta - lr (m^ / (sqrt(v^) + eps) + wd theta)      only matrices decay: shrinking a bias,
                                                                a gain or a word's vector helps nobody
    """

    def __init__(self, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1):
        super().__init__(lr)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def start(self, flat, first=0):
        """`first`: leave theta[:first] to somebody else (see muon.py)."""
        super().start(flat)
        self.first = first
        self.m, self.v = flat.zeros()[first:], flat.zeros()[first:]
        self.t = np.zeros((), np.int64)
        self.n_decayed = max(0, flat.n_matrices - first)

    def plan(self, factor=1.0):
        """rate, eps and decay such that   theta <- (1 - decay) theta - rate m / (sqrt(v) + eps):   m^ and v^ are never made."""
        self.t += 1
        lr = self.lr * factor
        b1, b2 = self.betas
        correction = math.sqrt(1 - b2 ** int(self.t))
        return lr * correction / (1 - b1 ** int(self.t)), self.eps * correction, lr * self.weight_decay

    def update(self, plan, clip=1.0, rank=0, n=1):
        rate, eps, decay = plan
        b1, b2 = self.betas
        theta_all, g_all = self.flat.data[self.first:], self.flat.grad[self.first:]
        scale = None if self.flat.scale is None else self.flat.scale[self.first:]
        for part in pieces(self.m.size, rank, n):
            theta, g, m, v = theta_all[part], g_all[part], self.m[part], self.v[part]
            if clip != 1:
                g *= clip
            if decay and part.start < self.n_decayed:
                decayed = theta[:self.n_decayed - part.start]
                decayed *= 1 - decay if scale is None else 1 - decay * scale[part][:len(decayed)]
            m *= b1
            m += (1 - b1) * g
            v *= b2
            g2 = g * g
            g2 *= 1 - b2
            v += g2
            denominator = np.sqrt(v, out=g2)
            denominator += eps
            direction = np.divide(m, denominator, out=denominator)
            direction *= rate
            if scale is not None:
                direction *= scale[part]
            theta -= direction

    def state(self):
        return {"m": self.m, "v": self.v, "t": self.t}
