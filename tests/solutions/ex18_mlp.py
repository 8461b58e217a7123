import math

import numpy as np
from ex05_linear import linear
from ex07_linear_backward import linear_backward

A, B = math.sqrt(2 / math.pi), 0.044715


def gelu(x):
    return x * (1 + np.tanh(A * (x + B * x * x * x))) / 2


def gelu_backward(dout, x):
    t = np.tanh(A * (x + B * x * x * x))
    return dout * ((1 + t) / 2 + x / 2 * (1 - t * t) * A * (1 + 3 * B * x * x))


def mlp(x, W1, b1, W2, b2):
    a = linear(x, W1, b1)
    h = gelu(a)
    return linear(h, W2, b2), (x, W1, a, h, W2)


def mlp_backward(dout, cache):
    x, W1, a, h, W2 = cache
    dh, dW2, db2 = linear_backward(dout, h, W2)
    dx, dW1, db1 = linear_backward(gelu_backward(dh, a), x, W1)
    return dx, dW1, db1, dW2, db2


WRONG = [
    ("return x * (1 + np.tanh(A * (x + B * x * x * x))) / 2", "return x * (1 + np.tanh(A * (x + B * x * x * x)))", "the half"),
    ("math.sqrt(2 / math.pi)", "(2 / math.pi)", "the root is missing"),
    ("(1 + 3 * B * x * x)", "(1 + B * x * x)", "the 3 is missing"),
    ("math.sqrt(2 / math.pi)", "np.sqrt(2 / math.pi)", "float32 into float64"),
    ("gelu_backward(dh, a)", "dh", "gelu_backward is left out"),
    ("gelu_backward(dh, a)", "gelu_backward(dh, h)", "at its input a"),
    ("    h = gelu(a)", "    h = a", "gelu between the layers"),
    ("gelu_backward(dh, a)", "gelu_backward(a, dh)", "the upstream gradient first"),
    ("x / 2 * (1 - t * t)", "x * (1 - t * t)", "the half is missing in the second term"),
    ("return linear(h, W2, b2), (", "return gelu(linear(h, W2, b2)), (", "applied to the output as well"),
]
