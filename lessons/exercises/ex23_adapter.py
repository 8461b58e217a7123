"""Exercise 23: an adapter.

A bottleneck of m numbers, inserted after a part of a model, reads the output vectors h of this part and adds a correction:

    z   = h D + b1                  (..., m)
    a   = gelu(z)                   (..., m)
    out = h + a U + b2              (..., C)

Write three functions.

adapter_start: the four arrays before the first step. The correction must be exactly 0, whatever h is, but the adapter must be
able to learn. D is drawn from `rng`, a np.random.Generator, with mean 0 and standard deviation 1 / sqrt(C), where C = n_embd;
lesson 11 says how the others start.

adapter: out, and a cache of your own choice with everything that the backward pass needs.

adapter_backward: given dout = dL/dout and that cache, the gradients

    dh (..., C),   dD (C, m),   db1 (m,),   dU (m, C),   db2 (C,)

h may have several leading axes; D, b1, U and b2 are the same for all positions. gelu is the function of exercise 18.

    >>> D, b1, U, b2 = adapter_start(6, 2, np.random.default_rng(1))
    >>> h = np.array([[1.0, -2.0, 0.5, 0.0, 3.0, -1.0]])
    >>> print([array.shape for array in (D, b1, U, b2)], adapter(h, D, b1, U, b2)[0].tolist())
    [(6, 2), (2,), (2, 6), (6,)] [[1.0, -2.0, 0.5, 0.0, 3.0, -1.0]]

    >>> h, D, b1 = np.array([[1.0, -2.0]]), np.array([[1.0], [0.0]]), np.array([0.0])
    >>> U, b2 = np.array([[1.0, 2.0]]), np.array([0.0, 1.0])
    >>> out, cache = adapter(h, D, b1, U, b2)
    >>> print(out.round(4).tolist())
    [[1.8412, 0.6824]]
    >>> print([gradient.round(4).tolist() for gradient in adapter_backward(np.array([[1.0, 0.0]]), cache)])
    [[[2.083, 0.0]], [[1.083], [-2.1659]], [1.083], [[0.8412, 0.0]], [1.0, 0.0]]
"""

import numpy as np
from ex05_linear import linear
from ex07_linear_backward import linear_backward
from ex18_mlp import gelu, gelu_backward


def adapter_start(n_embd, m, rng):
    """C = n_embd, m and a generator -> D (C, m), b1 (m,), U (m, C), b2 (C,)."""
    raise NotImplementedError


def adapter(h, D, b1, U, b2):
    """h (..., C), D (C, m), b1 (m,), U (m, C), b2 (C,) -> out (..., C), cache."""
    raise NotImplementedError


def adapter_backward(dout, cache):
    """dout (..., C), cache from adapter -> dh (..., C), dD (C, m), db1 (m,), dU (m, C), db2 (C,)."""
    raise NotImplementedError
