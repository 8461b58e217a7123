"""Exercise 8: the backward pass of two layers.

The network of exercise 6:

    a = x W1 + b1            (..., H)
    h = tanh(a)              (..., H)
    out = h W2 + b2          (..., O)

Given dout = dL/dout and the cache that your `two_layers` returned, write the gradients of the input and of all four
parameters, in this order:

    dx (..., I),   dW1 (I, H),   db1 (H,),   dW2 (H, O),   db2 (O,)

You need no new derivative: call the functions that you have, in the reverse order of the forward pass. Find out what the cache
must hold. If yours lacks something, add it in ex06_two_layers.py; if it holds something that you do not need, remove it there.
It must hold everything that this function needs: keep nothing in global variables, since there may be a second forward pass
before the backward pass of the first.

    >>> x, W1, b1 = np.array([[1.0], [2.0]]), np.array([[1.0, -1.0]]), np.array([-1.0, 1.0])
    >>> W2, b2 = np.array([[2.0], [3.0]]), np.array([0.0])
    >>> out, cache = two_layers(x, W1, b1, W2, b2)
    >>> dx, dW1, db1, dW2, db2 = two_layers_backward(np.array([[1.0], [0.0]]), cache)
    >>> print(dx.tolist(), dW1.tolist(), db1.tolist(), dW2.tolist(), db2.tolist())
    [[-1.0], [0.0]] [[2.0, 3.0]] [2.0, 3.0] [[0.0], [0.0]] [1.0]
"""

from ex02_activations import tanh_backward
from ex06_two_layers import two_layers
from ex07_linear_backward import linear_backward


def two_layers_backward(dout, cache):
    """dout (..., O), cache from two_layers -> dx (..., I), dW1 (I, H), db1 (H,), dW2 (H, O), db2 (O,)."""
    raise NotImplementedError
