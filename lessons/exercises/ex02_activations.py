"""Exercise 2: three activations and their backward passes.

An activation bends each number separately, so its output has the same shape as x:

    sigmoid   p = 1 / (1 + exp(-x))
    tanh      t = np.tanh(x), which is part of NumPy
    ReLU      y = x where x > 0, and 0 elsewhere

The backward pass of an activation takes dout = dL/dout, the gradient of the loss with respect to the output, and returns
dx = dL/dx, which has the shape of x. Lesson 2 has the derivatives. Express those of sigmoid and tanh by the *output*, p or t:
these two functions get the output, not x. Take 0 for the derivative of ReLU at its corner, x = 0.

`sigmoid` must work for any x, 1000 and -1000 included: the result there is a number, 1 or 0 up to rounding.

    >>> print(sigmoid(np.array([-1.0, 0.0, 2.0])).round(4).tolist())
    [0.2689, 0.5, 0.8808]
    >>> print(sigmoid_backward(np.array([2.0, 2.0]), np.array([0.5, 0.9])).round(4).tolist())
    [0.5, 0.18]
    >>> print(tanh_backward(np.array([2.0, 2.0]), np.array([0.0, 0.5])).round(4).tolist())
    [2.0, 1.5]
    >>> print(relu(np.array([-3.0, 0.0, 4.0])).tolist())
    [0.0, 0.0, 4.0]
    >>> print(relu_backward(np.array([5.0, 6.0, 7.0]), np.array([-3.0, 0.0, 4.0])).tolist())
    [0.0, 0.0, 7.0]
"""

import numpy as np


def sigmoid(x):
    """x of any shape -> p of the same shape, each number between 0 and 1."""
    raise NotImplementedError


def sigmoid_backward(dout, p):
    """dout and the output p of sigmoid, of one shape -> dx of that shape."""
    raise NotImplementedError


def tanh_backward(dout, t):
    """dout and the output t of tanh, of one shape -> dx of that shape."""
    raise NotImplementedError


def relu(x):
    """x of any shape -> y of the same shape, a new array."""
    raise NotImplementedError


def relu_backward(dout, x):
    """dout and the input x of ReLU, of one shape -> dx of that shape."""
    raise NotImplementedError
