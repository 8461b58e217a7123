"""Optimizers: how a gradient becomes a step. Each is a rule with a state; `Trainer` gives it the parameters."""

import math

import numpy as np

CHUNK = 1 << 15      # numbers worked on at a time: a handful of such float32 arrays fit into a core's L2 cache


def for_each_chunk(update, size, parallel=map):
    """Run update(slice) over 0..size in pieces small enough that a chain of elementwise operations stays in the cache."""
    for _ in parallel(update, [slice(i, i + CHUNK) for i in range(0, size, CHUNK)]):
        pass


class Optimizer:
    """The contract.

    start(flat)             meet the parameters (a `Flat`), make the state
    step(factor, parallel)  update flat.data in place from flat.grad, at learning rate lr * factor
    state()                 the arrays to save; written back into by `load_state`
    """

    def __init__(self, lr):
        self.lr = lr
        self.flat = None

    def start(self, flat):
        self.flat = flat

    def state(self):
        return {}

    def load_state(self, state):
        for name, array in self.state().items():
            array[...] = state[name]


class SGD(Optimizer):
    """Gradient descent with momentum (Polyak 1964):   v <- mu v + g,   theta <- theta - lr v."""

    def __init__(self, lr=0.1, momentum=0.9):
        super().__init__(lr)
        self.momentum = momentum

    def start(self, flat):
        super().start(flat)
        self.v = np.zeros_like(flat.data)

    def step(self, factor=1.0, parallel=map):
        self.v *= self.momentum
        self.v += self.flat.grad
        self.flat.data -= self.lr * factor * self.v

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
        self.theta, self.grad = flat.data[first:], flat.grad[first:]
        self.m = np.zeros_like(self.theta)
        self.v = np.zeros_like(self.theta)
        self.t = np.zeros((), np.int64)
        self.decayed = flat.data[first:flat.n_matrices]

    def step(self, factor=1.0, parallel=map):
        lr = self.lr * factor
        b1, b2 = self.betas
        self.t += 1
        # m^ / (sqrt(v^) + eps) = m * scale / (sqrt(v) + eps_t), which saves two passes over memory.
        correction = math.sqrt(1 - b2 ** int(self.t))
        scale = lr * correction / (1 - b1 ** int(self.t))
        eps = self.eps * correction
        if self.weight_decay:
            self.decayed *= 1 - lr * self.weight_decay

        def update(part):
            g, m, v = self.grad[part], self.m[part], self.v[part]
            m *= b1
            m += (1 - b1) * g
            v *= b2
            g2 = g * g
            g2 *= 1 - b2
            v += g2
            denominator = np.sqrt(v, out=g2)
            denominator += eps
            direction = np.divide(m, denominator, out=denominator)
            direction *= scale
            self.theta[part] -= direction

        for_each_chunk(update, self.theta.size, parallel)

    def state(self):
        return {"m": self.m, "v": self.v, "t": self.t}

