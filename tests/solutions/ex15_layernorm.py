import numpy as np


def layernorm(x, g, b):
    r = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    x_hat = (x - x.mean(axis=-1, keepdims=True)) * r
    return g * x_hat + b, (x_hat, r, g)


def layernorm_backward(dout, cache):
    x_hat, r, g = cache
    h = dout * g
    dx = r * (h - h.mean(axis=-1, keepdims=True) - x_hat * (h * x_hat).mean(axis=-1, keepdims=True))
    C = len(g)
    return dx, (dout * x_hat).reshape(-1, C).sum(axis=0), dout.reshape(-1, C).sum(axis=0)


WRONG = [
    ("x.var(axis=-1, keepdims=True)", "x.var(axis=-1, keepdims=True, ddof=1)", "it must be by C"),
    ("+ 1e-5", "", "eps is missing"),
    ("h = dout * g", "h = dout", "the gain is missing"),
    (" - x_hat * (h * x_hat).mean(axis=-1, keepdims=True)", "", "r depends on x, too"),
    ("h - h.mean(axis=-1, keepdims=True) - ", "h - ", "mu depends on x, too"),
    ("(dout * x_hat).reshape(-1, C).sum(axis=0)", "dout * x_hat", "the sum over the rows is missing"),
    ("dout.reshape(-1, C).sum(axis=0)\n", "dout.sum(axis=0)\n", "all leading axes"),
    ("- x_hat * (h * x_hat)", "+ x_hat * (h * x_hat)", "the sign of the third term"),
    ("(dout * x_hat).reshape", "(h * x_hat).reshape", "contains the gain already"),
    ("return g * x_hat + b, (x_hat", "return (g * x_hat + b) * np.float64(1), (x_hat", "layernorm turns float32 into float64"),
    ("(x_hat, r, g)", "vars(layernorm).update(x=x_hat, r=r, g=g) or vars(layernorm).values()", "each needs a cache of its own"),
]
