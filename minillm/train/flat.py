"""Parameters laid end to end in one vector: theta, as the maths writes it."""

import numpy as np

from ..processes import shared_zeros


class FlatParameters:
    """One vector for the values of some parameters and one for their gradients; each parameter becomes a view of both.

    What an optimizer does to every number (AdamW), what clipping sums over all of them, and what a trajectory records are
    then each one operation on one array, instead of one for each of many small ones.

    data, grad   the vectors theta and dLoss/dtheta, shared with workers (processes.py). With gradients=False, for who only
                 moves weights about: data alone, each process its own
    scale        None, or a vector of factors on the learning rate, one for each number, which optimizers heed
    matrices     the parameters that are matrices (nn/module.py, Parameter); they stand first, in data[:n_matrices]
    """

    def __init__(self, parameters, gradients=True):
        """parameters: {name: Parameter}, all of one dtype. ValueError if there are none."""
        if not parameters:
            raise ValueError("nothing to train: every parameter is frozen")
        self.matrices = {name: p for name, p in parameters.items() if p.matrices}
        self.n_matrices = sum(p.size for p in self.matrices.values())
        self.parameters = self.matrices | parameters                        # a union keeps the first order it saw
        size = sum(p.size for p in self.parameters.values())
        zeros = shared_zeros if gradients else np.zeros
        self.data = zeros(size, next(iter(parameters.values())).data.dtype)
        self.given = dict(zip(self.parameters.values(), self.views(self.data).values()))
        for p, view in self.given.items():
            view[...] = p.data
            p.data = view
        self.scale = None
        self.grad = self.zeros() if gradients else None
        if gradients:
            self.use_gradient(self.views(self.grad))

    def check(self):
        """ValueError if a parameter is no view of this vector any more: what is written into it would change no model."""
        if not all(p.data is view for p, view in self.given.items()):
            raise ValueError("these weights have been laid into another vector since, by another Trainer of the same model, say, "
                             "so no step here would change the model; go on with the newest, or make a new one")

    def views(self, vector):
        """A vector as long as theta, cut into arrays of the parameters' shapes: {name: view}. Nothing is copied.

        A shorter vector holds the first parameters only.
        """
        found, start = {}, 0
        for name, p in self.parameters.items():
            if start == vector.size:
                break
            found[name] = vector[start:start + p.size].reshape(p.shape)
            start += p.size
        return found

    def zeros(self):
        """A new vector as long as theta, which all workers share."""
        return shared_zeros(self.data.size, self.data.dtype)

    def set_scale(self, factors):
        """{parameter: factor} into `scale`, where it differs from what is there."""
        for name, view in self.views(self.scale).items():
            factor = self.scale.dtype.type(factors[name])
            if view.flat[0] != factor:
                view[...] = factor

    def use_gradient(self, views):
        """Let the `grad` of each parameter that trains be one of these views of a vector; one that is frozen has none."""
        for p, view in zip(self.parameters.values(), views.values()):
            p.grad = view if p.trainable else None
