"""Exercise 18: GELU, and the MLP of a block."""

import math

import numpy as np

from ...nn import MLP
from ..layers import hold_layer, leading_axes, looking_at_earlier_ones, note_of

A, B = math.sqrt(2 / math.pi), 0.044715

LESSON = 8

HINTS = (
    "Compute u and t first, as in the stub, in gelu and again in gelu_backward. x * x * x is much faster than x ** 3. The MLP is "
    "exercise 6 with gelu for tanh; mlp_backward is exercise 8 with gelu_backward for tanh_backward.",
    "In mlp, keep a, the input of gelu: the slope is a function of a, and cannot be computed from h alone. The cache needs x, "
    "W1, a, h and W2; no bias is needed in the backward pass.",
    """Backward, last layer first:

    dh, dW2, db2 = linear_backward of the second layer, whose input was h
    da = gelu_backward(dh, a)
    dx, dW1, db1 = linear_backward of the first, whose input was x""",
)

EXPLANATION = """
Two thirds of the weights of a block are in its MLP, and much of its elementwise work is this tanh. `minillm/nn/gelu.py` computes
the slope in the forward pass already, where tanh is known: the backward pass is then one product. It is the same derivative,
stored instead of computed again, which trades memory for time.

With h = (1 + t) / 2 the slope is dy/dx = h + 2 y (1 - h) du/dx; can you see that this equals yours?
"""


def check(attempt):
    with looking_at_earlier_ones(attempt):
        for trial, (N, M, C) in enumerate(attempt.trials("N M C", 5)):
            leading = leading_axes(attempt, trial, 2, N, M)
            check_gelu(attempt, 2 * attempt.rng.normal(size=(*leading, C)), attempt.rng.normal(size=(*leading, C)))
            check_mlp(attempt, leading, C)
        wide = np.array([-30.0, -3.0, 0.0, 3.0, 30.0])
        attempt.check("gelu", (wide,), {"y": wide * (1 + tanh_u(wide)) / 2}, note="far from 0")


def tanh_u(x):
    return np.tanh(A * (x + B * x ** 3))


def slope(x):
    t = tanh_u(x)
    return (1 + t) / 2 + x / 2 * (1 - t * t) * A * (1 + 3 * B * x * x)


def check_gelu(attempt, x, dout):
    t = tanh_u(x)
    attempt.check("gelu", (x,), {"y": x * (1 + t) / 2}, {
        "the half is missing": {"y": x * (1 + t)},
        "the root is missing: A is sqrt(2 / pi)": {"y": x * (1 + np.tanh(A * A * (x + B * x ** 3))) / 2},
        "A is left out in u": {"y": x * (1 + np.tanh(x + B * x ** 3)) / 2},
        "x^3 is not multiplied by A as well: u = A (x + B x^3)": {"y": x * (1 + np.tanh(A * x + B * x ** 3)) / 2},
        "B is left out: u = A (x + B x^3)": {"y": x * (1 + np.tanh(A * (x + x ** 3))) / 2},
        "the cube of x is taken as its square": {"y": x * (1 + np.tanh(A * (x + B * x * x))) / 2},
        "B is 0.44715 here; it is 0.044715": {"y": x * (1 + np.tanh(A * (x + 10 * B * x ** 3))) / 2},
        "this is the other form of GELU, with erf; the exercise asks for the one with tanh": {
            "y": x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2},
        "the factor x in front is missing": {"y": (1 + t) / 2}})
    du, half = A * (1 + 3 * B * x * x), (1 + t) / 2
    attempt.check("gelu_backward", (dout, x), {"dx": dout * slope(x)}, {
        "dout is left out": {"dx": slope(x)},
        "the second term of the product rule is missing": {"dx": dout * half},
        "the first term of the product rule is missing": {"dx": dout * x / 2 * (1 - t * t) * du},
        "the half is missing in the second term": {"dx": dout * (half + x * (1 - t * t) * du)},
        "the half is missing in the first term": {"dx": dout * (1 + t + x / 2 * (1 - t * t) * du)},
        "the factor x is missing in the second term": {"dx": dout * (half + (1 - t * t) / 2 * du)},
        "the factor du/dx is missing after 1 - t^2": {"dx": dout * (half + x / 2 * (1 - t * t))},
        "A is missing in du/dx": {"dx": dout * (half + x / 2 * (1 - t * t) * du / A)},
        "the derivative of x^3 is 3 x^2: the 3 is missing": {"dx": dout * (half + x / 2 * (1 - t * t) * A * (1 + B * x * x))},
        "the derivative of x^3 is 3 x^2: the square is missing": {
            "dx": dout * (half + x / 2 * (1 - t * t) * A * (1 + 3 * B * x))},
        "the derivative of tanh is 1 - t^2, not 1 - t": {"dx": dout * (half + x / 2 * (1 - t) * du)}})


def check_mlp(attempt, leading, C):
    rng = attempt.rng
    dout = rng.normal(size=(*leading, C))
    passes = []
    for _ in range(2):
        layer = MLP(C, rng, 0.5, 0.5, np.float64)
        for p in (layer.fc.bias, layer.proj.bias):
            p.data += rng.normal(size=p.shape)
        x = rng.normal(size=(*leading, C))
        args = (x, *(p.data for p in layer.parameters().values()))
        passes.append((args, *answers(layer, x, dout)))
    hold_layer(attempt, "mlp", "mlp_backward", dout, passes, note_of(leading))


def answers(layer, x, dout):
    """The right results, and those of known mistakes."""
    out, cache = layer.forward(x)
    layer.zero_grad()
    dx = layer.backward(dout, cache)
    W1, b1, W2, b2 = (p.data for p in layer.parameters().values())
    right = {"out": out, "dx": dx} | dict(zip(("dW1", "db1", "dW2", "db2"), (p.grad for p in layer.parameters().values())))
    a, dh = x @ W1 + b1, dout @ W2.T
    h = a * (1 + tanh_u(a)) / 2
    return right, {
        "gelu between the layers is missing": {"out": a @ W2 + b2},
        "the activation between the layers is tanh; it must be gelu": {"out": np.tanh(a) @ W2 + b2},
        "gelu is applied to the output as well; it belongs only between the layers": {"out": out * (1 + tanh_u(out)) / 2},
        "gelu_backward is left out between the layers": {"dx": dh @ W1.T},
        "gelu's slope is taken at its output h; it must be at its input a": {"dx": (dh * slope(h)) @ W1.T},
        "gelu_backward takes the upstream gradient first, and then the input a": {"dx": (a * slope(dh)) @ W1.T},
        "the slope is that of tanh; the activation is gelu": {"dx": (dh * (1 - h * h)) @ W1.T},
        "the last step is missing: this is da, and dx = da W1'": {"dx": dh * slope(a)},
        "this is dh, the gradient of h; gelu and the first layer are still to come": {"dx": dh},
        "this is computed from a; the input of the second layer is h": {
            "dW2": a.reshape(-1, len(W2)).T @ dout.reshape(-1, dout.shape[-1])},
    }
