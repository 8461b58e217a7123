"""Exercise 18: GELU, and the MLP of a block."""

import math

import numpy as np

from ...nn import MLP

A, B = math.sqrt(2 / math.pi), 0.044715

HINTS = (
    "Write u and t first, as the stub has them, in gelu and again in gelu_backward. x * x * x is far quicker than x ** 3. The "
    "MLP is exercise 6 with gelu for tanh; mlp_backward is exercise 8 with gelu_backward for tanh_backward.",
    "In mlp, keep a, the input of gelu: its slope is a function of a, and cannot be had from h alone. The cache needs x, W1, "
    "a, h and W2; no bias is needed in the backward pass.",
    """Backward, last layer first:

    dh, dW2, db2 = linear_backward of the second layer, whose input was h
    da = gelu_backward(dh, a)
    dx, dW1, db1 = linear_backward of the first, whose input was x""",
)

EXPLANATION = """
Two thirds of the weights of a block are in its MLP, and a good part of its elementwise work in this tanh.
`minillm/nn/gelu.py` makes the slope in the forward pass already, while tanh is at hand: the backward pass is then one
product. It is the same derivative, kept instead of made anew: memory for time.

With h = (1 + t) / 2 it reads dy/dx = h + 2 y (1 - h) du/dx; can you see that this is yours?
"""


def check(attempt):
    for trial, (N, M, C) in enumerate(attempt.trials("N M C", 5)):
        leading = (N,) if trial < 2 else (N, M)
        check_gelu(attempt, 2 * attempt.rng.normal(size=(*leading, C)), attempt.rng.normal(size=(*leading, C)))
        check_mlp(attempt, leading, C, "" if trial < 2 else "with two leading axes")
    wide = np.array([-30.0, -3.0, 0.0, 3.0, 30.0])
    attempt.check("gelu", (wide,), {"y": wide * (1 + np.tanh(A * (wide + B * wide ** 3))) / 2}, note="far from 0")


def check_gelu(attempt, x, dout):
    t = np.tanh(A * (x + B * x ** 3))
    attempt.check("gelu", (x,), {"y": x * (1 + t) / 2}, {
        "the half is missing": {"y": x * (1 + t)},
        "the root is missing: A is sqrt(2 / pi)": {"y": x * (1 + np.tanh(A * A * (x + B * x ** 3))) / 2},
        "x^3 is not multiplied by A as well: u = A (x + B x^3)": {"y": x * (1 + np.tanh(A * x + B * x ** 3)) / 2},
        "the factor x in front is missing": {"y": (1 + t) / 2}})
    du = A * (1 + 3 * B * x * x)
    right = (1 + t) / 2 + x / 2 * (1 - t * t) * du
    attempt.check("gelu_backward", (dout, x), {"dx": dout * right}, {
        "dout is left out": {"dx": right},
        "the second term of the product rule is missing": {"dx": dout * (1 + t) / 2},
        "the first term of the product rule is missing": {"dx": dout * x / 2 * (1 - t * t) * du},
        "du/dx is missing behind 1 - t^2": {"dx": dout * ((1 + t) / 2 + x / 2 * (1 - t * t))},
        "the derivative of x^3 is 3 x^2: the 3 is missing": {
            "dx": dout * ((1 + t) / 2 + x / 2 * (1 - t * t) * A * (1 + B * x * x))},
        "the derivative of tanh is 1 - t^2, not 1 - t": {"dx": dout * ((1 + t) / 2 + x / 2 * (1 - t) * du)}})


def check_mlp(attempt, leading, C, note):
    layer = MLP(C, attempt.rng, 0.5, 0.5, np.float64)
    for p in (layer.fc.bias, layer.proj.bias):
        p.data += attempt.rng.normal(size=p.shape)
    x, dout = attempt.rng.normal(size=(*leading, C)), attempt.rng.normal(size=(*leading, C))
    W1, b1, W2, b2 = (p.data for p in layer.parameters().values())
    right, kept = layer.forward(x)
    layer.zero_grad()
    dx = layer.backward(dout, kept)
    out, cache = attempt.call("mlp", x, W1, b1, W2, b2, returns="out cache")
    attempt.compare("mlp", (x, W1, b1, W2, b2), out, {"out": right}, {
        "gelu between the layers is missing": {"out": (x @ W1 + b1) @ W2 + b2}}, note)
    dW1, db1, dW2, db2 = (p.grad for p in layer.parameters().values())
    h = kept[2].x.reshape(*leading, 4 * C)
    dh = dout @ W2.T
    attempt.check("mlp_backward", (dout, cache), {"dx": dx, "dW1": dW1, "db1": db1, "dW2": dW2, "db2": db2}, {
        "gelu_backward is left out between the layers": {"dx": dh @ W1.T},
        "gelu's slope is taken at its output h; it must be at its input a": {"dx": (dh * slope(h)) @ W1.T},
        "this is made of a; the input of the second layer is h": {
            "dW2": (x @ W1 + b1).reshape(-1, 4 * C).T @ dout.reshape(-1, C)}}, note)


def slope(x):
    t = np.tanh(A * (x + B * x ** 3))
    return (1 + t) / 2 + x / 2 * (1 - t * t) * A * (1 + 3 * B * x * x)
