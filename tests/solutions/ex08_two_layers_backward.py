from ex02_activations import tanh_backward
from ex06_two_layers import two_layers  # noqa: F401
from ex07_linear_backward import linear_backward


def two_layers_backward(dout, cache):
    x, W1, h, W2 = cache
    dh, dW2, db2 = linear_backward(dout, h, W2)
    da = tanh_backward(dh, h)
    dx, dW1, db1 = linear_backward(da, x, W1)
    return dx, dW1, db1, dW2, db2


WRONG = [
    ("da = tanh_backward(dh, h)", "da = dh", "the derivative of tanh is missing"),
    ("tanh_backward(dh, h)", "tanh_backward(dh, x @ W1)", "the input of tanh"),
    ("tanh_backward(dh, h)", "tanh_backward(dh, dh)", "its own upstream gradient"),
    ("tanh_backward(dh, h)", "dh * (1 - h)", "1 - h^2"),
    ("return dx, dW1, db1, dW2, db2", "return dx, dW2, db2, dW1, db1", "dx, dW1, db1, dW2, db2"),
    ("return dx, dW1, db1, dW2, db2", "return da, dW1, db1, dW2, db2", "the last step is missing"),
    ("linear_backward(dout, h, W2)", "linear_backward(dout, x, W2)", "input of the second layer"),
    ("from ex06_two_layers import two_layers  # noqa: F401", """import ex06_two_layers
kept = []
def two_layers(*args):
    out, kept[:] = ex06_two_layers.two_layers(*args)
    return out, kept
""", "each needs a cache of its own"),
]
