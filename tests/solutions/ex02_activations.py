import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_backward(dout, p):
    return dout * p * (1 - p)


def tanh_backward(dout, t):
    return dout * (1 - t * t)


def relu(x):
    return np.maximum(x, 0)


def relu_backward(dout, x):
    return dout * (x > 0)


WRONG = [
    ("np.exp(-x)", "np.exp(x)", "the sign of the exponent"),
    ("1 / (1 + np.exp(-x))", "np.exp(x) / (1 + np.exp(x))", "infinity / infinity"),
    ("dout * p * (1 - p)", "dout * sigmoid(p) * (1 - sigmoid(p))", "p is the output already"),
    ("dout * p * (1 - p)", "p * (1 - p)", "the slope alone"),
    ("dout * (1 - t * t)", "dout * (1 - np.tanh(t) ** 2)", "t is the output already"),
    ("np.maximum(x, 0)", "np.maximum(x, 0, out=x)", "has changed its input x"),
    ("dout * (x > 0)", "dout * (x >= 0)", "at the corner"),
    ("dout * (x > 0)", "dout * relu(x)", "the output of ReLU"),
]
