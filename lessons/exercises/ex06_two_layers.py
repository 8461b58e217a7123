"""Exercise 6: a network of two layers.

    h   = tanh(x W1 + b1)            hidden layer: H neurons with an activation
    out = h W2 + b2                  output layer: O neurons without

Return the output, and with it a cache: one object (a tuple is fine) with all the arrays that the backward pass will need. You
choose what is in it, since your own `two_layers_backward`, exercise 8, will unpack it. Lesson 3 says what the backward pass of
each layer needs. You can still change the cache later.

Do not store anything elsewhere. The network may be called a second time before the backward pass of the first call, and the
first cache must not change.

    >>> W1, b1 = np.array([[0.5, -0.5]]), np.array([0.0, 1.0])
    >>> W2, b2 = np.array([[1.0], [1.0]]), np.array([2.0])
    >>> out, cache = two_layers(np.array([[0.0], [2.0]]), W1, b1, W2, b2)
    >>> print(out.round(4).tolist())
    [[2.7616], [2.7616]]
"""

import numpy as np
from ex05_linear import linear


def two_layers(x, W1, b1, W2, b2):
    """x (..., I), W1 (I, H), b1 (H,), W2 (H, O), b2 (O,) -> out (..., O), cache."""
    raise NotImplementedError
