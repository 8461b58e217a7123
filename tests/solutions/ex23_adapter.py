import math

import numpy as np
from ex05_linear import linear
from ex07_linear_backward import linear_backward
from ex18_mlp import gelu, gelu_backward


def adapter_start(n_embd, m, rng):
    D = rng.normal(size=(n_embd, m)) / math.sqrt(n_embd)
    return D, np.zeros(m), np.zeros((m, n_embd)), np.zeros(n_embd)


def adapter(h, D, b1, U, b2):
    z = linear(h, D, b1)
    a = gelu(z)
    return h + linear(a, U, b2), (h, D, z, a, U)


def adapter_backward(dout, cache):
    h, D, z, a, U = cache
    da, dU, db2 = linear_backward(dout, a, U)
    dz = gelu_backward(da, z)
    dh, dD, db1 = linear_backward(dz, h, D)
    return dout + dh, dD, db1, dU, db2


WRONG = [
    ("np.zeros((m, n_embd))", "rng.normal(size=(m, n_embd))", "bit for bit as the base"),
    ("rng.normal(size=(n_embd, m)) / math.sqrt(n_embd)", "np.zeros((n_embd, m))", "only b2 would ever change"),
    ("rng.normal(size=(n_embd, m)) / math.sqrt(n_embd)", "rng.normal(size=(n_embd, m))", "1 / sqrt(C) is missing"),
    ("rng.normal(size=(n_embd, m)) / math.sqrt(n_embd)", "rng.normal(size=(n_embd, m)) / math.sqrt(m)", "1 / sqrt(m)"),
    ("rng.normal(size=(n_embd, m))", "np.random.default_rng(0).normal(size=(n_embd, m))", "must be drawn from rng"),
    ("return h + linear(a, U, b2)", "return linear(a, U, b2)", "must be added to h"),
    ("a = gelu(z)", "a = z", "gelu is missing"),
    ("return dout + dh", "return dh", "the residual part"),
    ("return dout + dh", "return dout", "the part of dh through the adapter"),
    ("dz = gelu_backward(da, z)", "dz = da", "derivative of gelu is missing"),
    ("gelu_backward(da, z)", "gelu_backward(da, a)", "given a"),
    ("linear_backward(dout, a, U)", "linear_backward(dout, z, U)", "a = gelu(z)"),
    ("return dout + dh, dD, db1, dU, db2", "return dout + dh, dU, db2, dD, db1", "another order"),
]
