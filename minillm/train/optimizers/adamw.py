"""AdamW: each number has its own step size, from how large its gradient usually is."""

import math

import numpy as np

from ...ground.pieces import pieces
from .optimizer import Optimizer


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).

        m <- b1 m + (1 - b1) g              first moment: where the gradient points
        v <- b2 v + (1 - b2) g^2            second moment: how large it usually is
        m_hat = m / (1 - b1^t),  v_hat = v / (1 - b2^t)         both started at 0, which these factors correct for
        theta <- theta - lr (m_hat / (sqrt(v_hat) + eps) + wd theta)

    The decay wd theta is for matrices only: there is no use in shrinking biases, gains and word vectors.
    """

    def __init__(self, lr=1e-3, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1):
        super().__init__(lr)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def start(self, flat, first=0):
        """first: update only theta[first:], where another optimizer updates the rest (see muon.py)."""
        super().start(flat)
        self.first = first
        self.m, self.v = flat.zeros()[first:], flat.zeros()[first:]
        self.t = np.zeros((), np.int64)
        self.n_decayed = max(0, flat.n_matrices - first)

    def plan(self, factor=1.0):
        """rate, eps_t and decay such that   theta <- (1 - decay) theta - rate m / (sqrt(v) + eps_t),   without m_hat and v_hat.

        With c = sqrt(1 - b2^t), so that sqrt(v_hat) = sqrt(v) / c:    m_hat / (sqrt(v_hat) + eps) = c m_hat / (sqrt(v) + c eps).
        """
        self.t += 1
        lr = self.lr * factor
        b1, b2 = self.betas
        c = math.sqrt(1 - b2 ** int(self.t))
        return lr * c / (1 - b1 ** int(self.t)), c * self.eps, lr * self.weight_decay

    def update(self, plan, shrink=1.0, rank=0, n=1):
        rate, eps_t, decay = plan
        b1, b2 = self.betas
        theta_all, g_all = self.flat.data[self.first:], self.flat.grad[self.first:]
        scale = None if self.flat.scale is None else self.flat.scale[self.first:]
        for part in pieces(self.m.size, rank, n):
            theta, g, m, v = theta_all[part], g_all[part], self.m[part], self.v[part]
            if shrink != 1:
                g *= shrink
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
            denominator += eps_t
            direction = np.divide(m, denominator, out=denominator)
            direction *= rate
            if scale is not None:
                direction *= scale[part]
            theta -= direction

    def state_dict(self):
        return {"m": self.m, "v": self.v, "t": self.t}
