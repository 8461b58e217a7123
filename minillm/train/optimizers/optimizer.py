"""The contract of an optimizer: how a gradient becomes a step. `Trainer` gives it the parameters."""

import numpy as np


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
