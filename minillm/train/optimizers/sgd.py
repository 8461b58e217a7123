"""Stochastic gradient descent with momentum."""

from ...ground.pieces import pieces
from .optimizer import Optimizer


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

    def update(self, plan, shrink=1.0, rank=0, n=1):
        lr = plan
        for part in pieces(self.v.size, rank, n):
            theta, g, v = self.flat.data[part], self.flat.grad[part], self.v[part]
            g *= shrink
            v *= self.momentum
            v += g
            theta -= (lr if self.flat.scale is None else lr * self.flat.scale[part]) * v

    def state_dict(self):
        return {"v": self.v}
