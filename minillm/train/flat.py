"""Parameters laid end to end in one vector: theta, as the maths writes it."""

import numpy as np


class Flat:
    """One vector for the values of some parameters and one for their gradients; each parameter becomes a view of both.

    What an optimizer does to every number (AdamW), what clipping sums over all of them, and what a trajectory records are
    then each one operation on one array, instead of one for each of many small ones.

    data, grad   the vectors theta and dLoss/dtheta (grad only with gradients=True)
    matrices     the parameters that are matrices inside a block; they stand first, in data[:n_matrices]
    """

    def __init__(self, parameters, gradients=True):
        """parameters: {name: Parameter}, all of one dtype. ValueError if there are none."""
        if not parameters:
            raise ValueError("nothing to train: every parameter is frozen")
        self.matrices = {name: p for name, p in parameters.items() if is_block_matrix(name, p)}
        self.n_matrices = sum(p.size for p in self.matrices.values())
        self.parameters = self.matrices | parameters                        # a union keeps the first order it saw
        self.data = np.concatenate([p.data.reshape(-1) for p in self.parameters.values()])
        for p, view in zip(self.parameters.values(), self.views(self.data).values()):
            p.data = view
        self.grad = self.attach_gradients(self.parameters) if gradients else None

    def views(self, vector):
        """A vector as long as theta, cut into arrays of the parameters' shapes: {name: view}. Nothing is copied."""
        found, start = {}, 0
        for name, p in self.parameters.items():
            found[name] = vector[start:start + p.size].reshape(p.shape)
            start += p.size
        return found

    def attach_gradients(self, parameters):
        """A new vector of zeros, of which the `grad` of each of these parameters (a replica's, say) becomes a view."""
        vector = np.zeros_like(self.data)
        for name, view in self.views(vector).items():
            parameters[name].grad = view
        return vector


def is_block_matrix(name, p):
    """The matrices that mix features, as opposed to the tables of word and position vectors, biases and gains."""
    return p.data.ndim == 2 and name.startswith("blocks.")
