import numpy as np
from ex05_linear import linear


def two_layers(x, W1, b1, W2, b2):
    h = np.tanh(linear(x, W1, b1))
    return linear(h, W2, b2), (x, W1, h, W2)
