"""Parameters laid end to end in one vector, the theta of the formulas."""

import numpy as np

from ..ground.processes import shared_zeros


class FlatParameters:
    """One vector for the values of parameters and one for their gradients; each parameter becomes a view of both.

    So an update of every number (AdamW), the norm for clipping, and the recording of a trajectory are each one operation on one
    array, instead of one for each of many small arrays.

    data, grad   the vectors theta and dLoss/dtheta, in memory shared with workers (ground/processes.py). With gradients=False
                 there is only data, and it is not shared: for code that moves weights without training
    scale        None, or a vector of learning-rate multipliers, one for each number, by which optimizers scale their steps
    matrices     the parameters that are matrices (nn/module.py, Parameter); they come first, in data[:n_matrices]
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
        self.data_views = dict(zip(self.parameters.values(), self.views(self.data).values()))
        for p, view in self.data_views.items():
            view[...] = p.data
            p.data = view
        self.scale = None
        self.grad = self.zeros() if gradients else None
        if gradients:
            self.use_gradient(self.views(self.grad))

    def check(self):
        """ValueError if a parameter is not a view of this vector any more: then writing to the vector would change no model."""
        if not all(p.data is view for p, view in self.data_views.items()):
            raise ValueError("these weights have been laid into another vector since then, perhaps by another Trainer of the "
                             "same model, so a step here would not change the model; use the newest Trainer, or make a new one")

    def views(self, vector):
        """A vector as long as theta, cut into arrays of the parameters' shapes: {name: view}. Nothing is copied.

        A shorter vector holds the first parameters only.
        """
        views, start = {}, 0
        for name, p in self.parameters.items():
            if start == vector.size:
                break
            views[name] = vector[start:start + p.size].reshape(p.shape)
            start += p.size
        return views

    def zeros(self):
        """A new vector as long as theta, which all workers share."""
        return shared_zeros(self.data.size, self.data.dtype)

    def set_scale(self, factors):
        """Write {parameter: factor} into `scale`, but only the factors that have changed."""
        for name, view in self.views(self.scale).items():
            factor = self.scale.dtype.type(factors[name])
            if view.flat[0] != factor:
                view[...] = factor

    def use_gradient(self, views):
        """Make the `grad` of each parameter one of these views of a vector; None if the parameter is frozen."""
        for p, view in zip(self.parameters.values(), views.values()):
            p.grad = view if p.trainable else None
