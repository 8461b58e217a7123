"""Parameters, the modules that hold them, and the chain rule for modules in a row.

The contract of the layers in this folder:

    out, cache = layer.forward(x, needs_dx)
    dx         = layer.backward(dout, cache)       # and p.grad += ... for each of its trainable parameters

Where a chain of layers begins or ends, only a part of it holds: `Embedding` and `GPT` read indices, which have no gradient, so
they take no needs_dx and return no dx; `CrossEntropy` has targets beside x, and always makes dx.

`dout` is dLoss/dout, `dx` is dLoss/dx, each with the shape of its array. What the backward pass needs travels in `cache`, never
on `self`, so that a layer can be used twice before its backward is called.

Outputs and dx must be *fresh*, because Block adds into them: `out` shares no memory with x or the cache, nor `dx` with dout or
the cache; and x and dout are only read. An activation that returned x itself would silently break a model.

`needs_dx` says whether anything *before* this layer trains. If not, dx is wanted by nobody: the cache keeps nothing for it and
`backward` returns None. This is how a backward pass ends just below the lowest trainable parameter. A model that is only read,
not trained, says NO_BACKWARD instead: then nothing is kept at all.
"""

import numpy as np

NO_BACKWARD = None      # in the place of needs_dx: no backward pass will come, and nothing at all is kept for one


class Parameter:
    """An array that can be learned.

    data       the values; shape and dtype never change, so optimizers write into it
    grad       dLoss/ddata of the same shape, or None while there is none (always, for a frozen parameter)
    trainable  False means: no gradient is computed *for* it; gradients still pass *through* it
    matrices   how many matrices that mix features stand in it side by side: 1 of a linear map, 3 of the fused q, k, v; 0 of a
               vector, and of a table of vectors (words, positions, prompts), whose rows have nothing to do with each other.
               Whoever makes a parameter knows, and no one else: only matrices decay (train/optimizers/), each is made
               orthogonal by itself (train/optimizers/muon.py), and their columns are filters (surface/directions.py)
    """

    __slots__ = ("data", "matrices", "_grad", "_is_zero", "_trainable")

    def __init__(self, data, matrices=0):
        if matrices and (data.ndim != 2 or data.shape[1] % matrices):
            raise ValueError(f"an array of shape {data.shape} cannot be cut into {matrices} matrices of equally many columns")
        self.data = data
        self.matrices = matrices
        self.grad = None
        self._trainable = True

    @property
    def grad(self):
        self.finish_grad()
        return self._grad

    @grad.setter
    def grad(self, array):
        self._grad = array
        self._is_zero = False

    def zero_grad(self):
        """Start from zero. The zeros are written only when they are needed: most gradients are overwritten before."""
        if self._grad is None:
            self._grad = np.empty(self.data.shape, self.data.dtype)
        self._is_zero = True

    def finish_grad(self):
        """Write the zeros after all, for whoever reads the memory of `grad` in another way."""
        if self._is_zero:
            self._grad.fill(0)
            self._is_zero = False

    def add_product(self, x, y):
        """grad += x y, without making zeros to add to nor a product to be added: 5 % of a step."""
        if self._is_zero:
            np.matmul(x, y, out=self._grad)
            self._is_zero = False
        else:
            self._grad += x @ y

    @property
    def trainable(self):
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        self._trainable = bool(value)
        if not value:
            self.grad = None

    @property
    def size(self):
        return self.data.size

    @property
    def shape(self):
        return self.data.shape


class Module:
    """Something with parameters, its own or those of the modules inside it."""

    def children(self):
        """Yield (name, Parameter or Module), in the order in which they were set."""
        for name, value in vars(self).items():
            if isinstance(value, (Parameter, Module)):
                yield name, value
            elif isinstance(value, list):
                for i, item in enumerate(value):
                    yield f"{name}.{i}", item

    def parameters(self):
        """All parameters by dotted name, such as `blocks.2.attn.qkv.weight`."""
        found = {}
        for name, child in self.children():
            if isinstance(child, Parameter):
                found[name] = child
            else:
                found |= {f"{name}.{rest}": p for rest, p in child.parameters().items()}
        return found

    @property
    def trainable(self):
        """Does anything in here train? Settable: freezes, or thaws, everything."""
        return any(child.trainable for _, child in self.children())

    @trainable.setter
    def trainable(self, value):
        for _, child in self.children():
            child.trainable = value

    def trainable_parameters(self):
        return {name: p for name, p in self.parameters().items() if p.trainable}

    def zero_grad(self):
        """Give each trainable parameter a gradient of zeros, for the backward pass to add to."""
        for p in self.trainable_parameters().values():
            p.zero_grad()

    def extend(self, x, memory):
        """The output for the next positions x (B, n, C) of a text of which `memory` holds what came before (see memory.py).

        A layer that looks at each position alone, as most do, needs no memory; the others override this and pass it on.
        """
        return self.forward(x, NO_BACKWARD)[0]

    def state(self):
        """The weights by name. The arrays themselves, not copies."""
        return {name: p.data for name, p in self.parameters().items()}

    def load_state(self, state):
        """Write the arrays of `state` into the parameters of the same names. ValueError if names or shapes differ."""
        parameters = self.parameters()
        if parameters.keys() != state.keys():
            odd = sorted(parameters.keys() ^ state.keys())
            raise ValueError(f"the weights do not belong to this model: {odd[0]!r} is only in one of the two "
                             f"({len(odd)} such names)")
        for name, p in parameters.items():
            if p.shape != state[name].shape:
                raise ValueError(f"the weights do not belong to this model: {name!r} has shape {p.shape} here "
                                 f"and {state[name].shape} there")
            p.data[...] = state[name]


def forward_chain(layers, x, needs_dx=True):
    """x -> f1 -> f2 -> ... -> out. Returns out and the caches, first layer first."""
    caches = []
    for layer in layers:
        x, cache = layer.forward(x, needs_dx)
        caches.append(cache)
        needs_dx = needs_dx_after(layer, needs_dx)
    return x, caches


def needs_dx_after(layer, needs_dx):
    """`needs_dx` for whatever comes after a layer: does it train, or anything before it?"""
    return needs_dx if needs_dx is NO_BACKWARD else needs_dx or layer.trainable


def backward_chain(layers, dout, caches):
    """The chain rule: dx = J1' J2' ... dout, from the last layer to the first.

    Ends early, with None, at the layer below which nothing trains.
    """
    for layer, cache in zip(reversed(layers), reversed(caches)):
        if dout is None:
            return None
        dout = layer.backward(dout, cache)
    return dout
