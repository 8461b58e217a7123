"""Exercise 18: GELU, and the MLP of a block.

    gelu(x) = x (1 + t) / 2           t = tanh(u)           u = A (x + B x^3)           A = sqrt(2 / pi), B = 0.044715

Its slope, by the product rule and then the chain rule:

    dy/dx = (1 + t) / 2 + (x / 2) (1 - t^2) A (1 + 3 B x^2)

The MLP widens, bends, and narrows again:

    a = x W1 + b1   (..., 4 C)            h = gelu(a)            out = h W2 + b2   (..., C)

It is the network of exercises 6 and 8 with GELU instead of tanh, but the slope of GELU is a function of its input, not of its
output. So what does the cache need? (Take constants from `math`, not from NumPy: np.sqrt(2) is a float64, and turns float32
into float64.)

    >>> print(gelu(np.array([-1.0, 0.0, 2.0])).round(4).tolist())
    [-0.1588, 0.0, 1.9546]
    >>> print(gelu_backward(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 2.0])).round(4).tolist())
    [-0.083, 0.5, 2.1722]
"""

import math

import numpy as np
from ex05_linear import linear
from ex07_linear_backward import linear_backward


def gelu(x):
    """x -> y of the same shape."""
    raise NotImplementedError


def gelu_backward(dout, x):
    """dout and the input x, of one shape -> dx."""
    raise NotImplementedError


def mlp(x, W1, b1, W2, b2):
    """x (..., C), W1 (C, 4 C), b1 (4 C,), W2 (4 C, C), b2 (C,) -> out (..., C), cache."""
    raise NotImplementedError


def mlp_backward(dout, cache):
    """dout (..., C) -> dx (..., C), dW1, db1, dW2, db2."""
    raise NotImplementedError
