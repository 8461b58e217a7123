"""Parameters, the modules that hold them, and the chain rule for modules in a row.

The contract of the layers in this folder:

    out, cache = layer.forward(x, needs_dx)
    dx         = layer.backward(dout, cache)       # and p.grad += ... for each of its trainable parameters

`dout` is dLoss/dout, `dx` is dLoss/dx, each with the shape of its array. What the backward pass needs travels in `cache`, never
on `self`, so that a layer can be used twice before its backward is called.

Outputs and dx are *fresh*, because Block adds into them: `out` shares no memory with x or the cache (but AttentionHeads keeps its
own there), nor `dx` with dout or the cache; and x and dout are only read. Returning x itself would silently break a model.

Everything has the dtype of the weights; layers name none. So constants are Python floats (a NumPy scalar would lift float32).

`needs_dx` says whether anything *before* this layer trains. If not, nobody wants dx: the cache keeps nothing for it, `backward`
returns None, and the backward pass ends just below the lowest trainable parameter. A model that is only read, not trained, says
NO_BACKWARD instead: then the cache keeps no input for dW, either.

Where a chain begins or ends, only a part of this holds: `Embedding` and `GPT` read indices, which have no gradient, so they take
no needs_dx and return no dx; `CrossEntropy` has targets beside x, returns a float, and always makes dx.
"""

import numpy as np


class NoBackward:
    """In the place of needs_dx. It counts as False, since no dx is wanted; but no dW is wanted either."""

    def __bool__(self):
        return False


NO_BACKWARD = NoBackward()


class Parameter:
    """An array that can be learned.

    data       the values; shape and dtype never change, so optimizers write into it
    grad       dLoss/ddata of the same shape, or None while there is none (always, for a frozen parameter)
    trainable  False means: no gradient is computed *for* it; gradients still pass *through* it
    matrices   the widths of the matrices that mix features and stand in it side by side: (out,) for a linear map, (C, C, C) for
               the fused q, k, v; none for a vector, and for a table of vectors (words, positions, prompts), whose rows have
               nothing to do with each other. Only matrices decay (AdamW), each is made orthogonal by itself (Muon), and their
               columns are filters
    """

    __slots__ = ("data", "matrices", "_grad", "_is_zero", "_trainable")

    def __init__(self, data, matrices=()):
        if matrices and (data.ndim != 2 or data.shape[1] != sum(matrices)):
            raise ValueError(f"an array of shape {data.shape} cannot be cut into matrices of {matrices} columns")
        self.data, self.matrices, self._trainable = data, matrices, True
        self.grad = None

    @property
    def grad(self):
        self.finish_grad()
        return self._grad

    @grad.setter
    def grad(self, array):
        self._grad = array
        self._is_zero = False

    def zero_grad(self):
        """Start from zero. The zeros are written only if they are needed: most gradients are overwritten first."""
        if self._grad is None:
            self._grad = np.empty(self.data.shape, self.data.dtype)
        self._is_zero = True

    def finish_grad(self):
        """Write the zeros after all, for code that reads their memory directly."""
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
    def has_grad(self):
        return self._grad is not None

    @property
    def size(self):
        return self.data.size

    @property
    def shape(self):
        return self.data.shape


class Module:
    """Something with parameters, its own or those of the modules inside it."""

    kind = None      # what part of a model it is ("attention"), for pictures and for choosing what trains

    def children(self):
        """Yield (name, Parameter or Module), in the order in which they were set."""
        for name, value in vars(self).items():
            if isinstance(value, (Parameter, Module)):
                yield name, value
            elif isinstance(value, (list, tuple)):
                for i, item in enumerate(value):
                    if isinstance(item, (Parameter, Module)):
                        yield f"{name}.{i}", item

    def modules(self, path=""):
        """Yield (dotted path, module) for this one and all inside it, the outer before the inner."""
        yield path, self
        for name, child in self.children():
            if isinstance(child, Module):
                yield from child.modules(f"{path}.{name}" if path else name)

    def parameters(self):
        """All parameters by dotted name, such as `blocks.2.attn.qkv.weight`."""
        parameters = {}
        for name, child in self.children():
            if isinstance(child, Parameter):
                parameters[name] = child
            else:
                parameters |= {f"{name}.{rest}": p for rest, p in child.parameters().items()}
        return parameters

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

    def forward_cached(self, x, kv_cache):
        """The output for the next positions x (B, n, C) of a text, if each is seen alone; others look into the cache."""
        if self.kind == "attention":
            raise NotImplementedError(f"{type(self).__name__} does not say how it reads on with a KV cache: add forward_cached")
        return self.forward(x, NO_BACKWARD)[0]

    def state_dict(self):
        """The weights by name. The arrays themselves, not copies."""
        return {name: p.data for name, p in self.parameters().items()}

    def load_state_dict(self, state):
        """Write the arrays of `state_dict` into the parameters of the same names. ValueError if names or shapes differ."""
        parameters = self.parameters()
        if odd := sorted(parameters.keys() ^ state.keys()):
            raise ValueError(f"these are not this model's weights: {odd[0]!r} is only in one of the two ({len(odd)} such names)")
        for name, p in parameters.items():
            if p.shape != state[name].shape:
                raise ValueError(f"these are not this model's weights: {name!r} is {p.shape} here and {state[name].shape} there")
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
    """The chain rule: dx = J_1' J_2' ... dout, from the last layer to the first; None below the lowest layer that trains."""
    for layer, cache in zip(reversed(layers), reversed(caches)):
        if dout is None:
            return None
        dout = layer.backward(dout, cache)
    return dout
