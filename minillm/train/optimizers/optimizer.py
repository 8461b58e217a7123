"""The contract of an optimizer: how a gradient becomes an update of the weights."""

import numpy as np


class Optimizer:
    """The contract.

    start(flat)                  take the parameters (a `FlatParameters`, from the Trainer) and make the state, of flat.zeros()
    plan(factor)                 once for each step: the numbers that are the same for all weights, at the rate lr * factor
    update(plan, ...)            update flat.data in place from flat.grad; n workers share this, each doing that of its rank
    step(factor)                 both, one after the other: update(plan(factor))
    state_dict()                 the arrays to save, which `load_state_dict` writes into
    settings()                   the constructor's numbers, before `start`

    `update` also multiplies the gradient by `shrink`, the factor of clipping, since it reads every number anyway.
    """

    def __init__(self, lr):
        self.lr = lr
        self.flat = None

    def start(self, flat):
        self.flat = flat

    def step(self, factor=1.0):
        """One step. ValueError if another Trainer has taken over the parameters."""
        self.flat.check()
        self.update(self.plan(factor))

    def settings(self):
        """{name: value}: the class of the optimizer ("rule"), and all numbers that it was made with."""
        numbers = {name: value for name, value in vars(self).items() if isinstance(value, (int, float, tuple, str))}
        inner = {name: part.settings() for name, part in vars(self).items() if isinstance(part, Optimizer)}
        return {"rule": type(self).__name__} | numbers | inner

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        """Write saved arrays into the state. ValueError, before anything is changed, if names, shapes or types differ."""
        own = self.state_dict()
        odd = sorted(own.keys() ^ state.keys()) or [name for name in own if own[name].shape != np.shape(state[name])
                                                    or own[name].dtype != np.asarray(state[name]).dtype]
        if odd:
            raise ValueError(f"this is not a state of {type(self).__name__} for these parameters: {odd[0]!r} differs")
        for name, array in own.items():
            array[...] = state[name]
