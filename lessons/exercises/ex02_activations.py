"""Exercise 2: three activations and their backward passes.

An activation bends each number by itself, so whatever the shape of x, its output has the same shape:

    sigmoid   p = 1 / (1 + exp(-x))
    tanh      t = np.tanh(x), which NumPy has already
    ReLU      y = x where x > 0, and 0 elsewhere

The backward pass of an activation is given dout = dL/dout, what the loss wants of each output, and returns dx = dL/dx, of
the shape of x. Lesson 2 has the derivatives. Those of sigmoid and tanh are to be expressed by the *output*, p and t, which is
why these two functions are given the output and not x. The derivative of ReLU at its corner, x = 0, shall be 0.

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
