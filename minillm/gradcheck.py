"""Gradient checks: hand-written gradients against the definition, which is to move one number a little and see the loss move."""

import numpy as np

from .nn import (
    ARCHITECTURES,
    GPT,
    Block,
    CausalSelfAttention,
    Config,
    CrossEntropy,
    Embedding,
    Linear,
    Rotary,
    SiLUGate,
    Softmax,
)
from .nn.block import ACTIVATIONS, MLPS, NORMS

TOLERANCE = 1e-7
STEP = 1.5e-3      # with the stencil below, for f of about 10: truncation ~ STEP^6 / 140 and rounding ~ 1e-14 / STEP, below 1e-11


def relative_error(a, n, largest=0.0):
    """The largest |a - n| / (|a| + |n|) over all entries of an analytic and a numerical gradient: 1e-7 is right, 1 is wrong.

    The denominator is at least a thousandth of the largest entry, or of `largest`: that of the whole gradient, where only some of
    its entries are compared. Some gradients are exactly zero (a bias on the keys adds the same to all scores of a row, which does
    not change their softmax), and a rounding error divided by zero would say nothing.
    """
    smallest = 1e-3 * max(largest, np.max(np.abs(a), initial=0.0), np.max(np.abs(n), initial=0.0)) + 1e-8
    return float(np.max(np.abs(a - n) / np.maximum(np.abs(a) + np.abs(n), smallest), initial=0.0))


def numerical_gradient(loss, x, entries, step=STEP):
    """dloss()/dx at the given entries of the array x, by central differences of sixth order:

        (45 (f(+h) - f(-h)) - 9 (f(+2h) - f(-2h)) + (f(+3h) - f(-3h))) / 60h

    The plain (f(+h) - f(-h)) / 2h has an error of about h^2 from truncation and 1e-15 / h from rounding: 1e-10 at best. For a
    gradient entry of 1e-3 that is a relative error of 1e-7, too much to tell a small mistake from rounding. With higher order,
    h may be larger, and rounding is less.
    """
    gradient = np.empty(len(entries))
    for i, entry in enumerate(entries):
        entry = np.unravel_index(entry, x.shape)
        value = x[entry]
        f = {}
        for k in (3, 2, 1, -1, -2, -3):
            x[entry] = value + k * step
            f[k] = loss()
        x[entry] = value
        gradient[i] = (45 * (f[1] - f[-1]) - 9 * (f[2] - f[-2]) + (f[3] - f[-3])) / (60 * step)
    return gradient


def gradcheck(forward, backward, arrays, rng, entries=40, step=STEP):
    """Compare the analytic gradients of a function with numerical ones.

    forward()           -> (out, cache), reading the current values of `arrays`
    backward(dout, cache) -> gradients, a dict with the keys of `arrays`
    arrays              dict of float64 arrays: inputs and parameters
    entries             how many random entries of each array are checked
    step                how far each is moved; smaller where the function has kinks (ReLU), which no step may cross

    The loss is sum(out * dout) with a *random* dout. A dout of ones makes dx of softmax zero, and that of LayerNorm while its
    gains are equal, so a wrong backward would pass.

    Returns {name: relative error}. TypeError for arrays that are not float64: finite differences would be noise.
    """
    for name, array in arrays.items():
        if array.dtype != np.float64:
            raise TypeError(f"{name} is {array.dtype}; a gradient check needs float64")
    out, cache = forward()
    dout = rng.normal(size=np.shape(out))
    analytic = backward(dout, cache)

    def loss():
        return float(np.sum(forward()[0] * dout))

    errors = {}
    for name, array in arrays.items():
        chosen = rng.permutation(array.size)[:entries]
        largest = max(np.abs(analytic[name]).max(initial=0.0), 1e-2 * np.linalg.norm(out))       # below: rounding
        errors[name] = relative_error(analytic[name].reshape(-1)[chosen], numerical_gradient(loss, array, chosen, step), largest)
    return errors


def check_layer(layer, x, rng, entries=40, step=STEP):
    """Gradient check of a layer with the contract of nn/module.py: {"x": error} and {name: error} of each parameter."""
    parameters = layer.parameters()

    def backward(dout, cache):
        layer.zero_grad()
        dx = layer.backward(dout, cache)
        return {"x": dx} | {name: p.grad for name, p in parameters.items()}

    arrays = {"x": x} | {name: p.data for name, p in parameters.items()}
    return gradcheck(lambda: layer.forward(x), backward, arrays, rng, entries, step)


def check_model(model, tokens, rng, entries=10, step=STEP):
    """Gradient check of a whole GPT, from the logits to the embeddings: {parameter name: error}."""
    parameters = model.parameters()

    def backward(dlogits, cache):
        model.zero_grad()
        model.backward(dlogits, cache)
        return {name: p.grad for name, p in parameters.items()}

    arrays = {name: p.data for name, p in parameters.items()}
    return gradcheck(lambda: model.forward(tokens), backward, arrays, rng, entries, step)


def perturb(module, rng, scale=0.3):
    """Change every parameter at random: with starting values, such as a LayerNorm gain of 1, a missing factor would not show."""
    for p in module.parameters().values():
        p.data += scale * rng.normal(size=p.shape)


def check_everything(rng):
    """Every layer and a whole GPT in float64, sizes all different: {"LayerNorm.x": relative error, ...}."""
    B, T, H, D, V = 2, 5, 3, 4, 11
    C = H * D
    double = {"rng": rng, "dtype": np.float64}
    layers = [Linear(C, 7, **double), Softmax(), *(norm(C, np.float64) for norm in NORMS.values()),
              *(activation() for activation in ACTIVATIONS.values()), SiLUGate(), Rotary(H, D, 100.0),
              CausalSelfAttention(C, H, **double), *(mlp(C, **double) for mlp in MLPS.values()), Block(C, H, **double)]
    errors = {}
    for layer in layers:
        perturb(layer, rng)
        x = rng.normal(size=(B, T, C))
        x += 0.1 * np.sign(x)                                               # away from the kink of ReLU
        errors |= {f"{type(layer).__name__}.{part}": error for part, error in check_layer(layer, x, rng).items()}
    table, index = Embedding(V, C, **double), rng.integers(0, V, (B, T))
    errors |= {f"Embedding.{part}": error for part, error in check_embedding(table, index, rng).items()}
    logits, targets = rng.normal(size=(B, T, V)), rng.integers(-1, V, (B, T))
    errors |= {f"CrossEntropy.{part}": error for part, error in check_loss(CrossEntropy(), logits, targets, rng).items()}
    for name, config in {"GPT": Config(V, T + 1, 2, H, C),
                         "Llama": Config(V, T + 1, 2, H, C, n_kv_head=1, tied=False, **ARCHITECTURES["llama"])}.items():
        model = GPT(config, rng, np.float64)
        perturb(model, rng)
        errors |= {f"{name}.{part}": error for part, error in check_model(model, index, rng).items()}
    return errors


def check_embedding(table, index, rng):
    """Gradient check of a table read at some indices, which have no gradient: {"weight": error}."""
    def backward(dout, cache):
        table.zero_grad()
        table.backward(dout, cache)
        return {"weight": table.weight.grad}

    return gradcheck(lambda: table.forward(index), backward, {"weight": table.weight.data}, rng)


def check_loss(loss, logits, targets, rng):
    """Gradient check of a loss: {"logits": error}."""
    def backward(dout, cache):
        return {"logits": loss.backward(dout, cache)}

    return gradcheck(lambda: loss.forward(logits, targets), backward, {"logits": logits}, rng)
