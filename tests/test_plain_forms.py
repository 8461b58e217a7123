"""The fast forms beside the plain ones: work cut into pieces and tiles, sums as products, zeros that are never written.

The plain form of each is a few lines from the textbook; here it is the oracle.
"""

import math

import numpy as np
import pytest

from minillm.nn import GELU, Block, CausalSelfAttention, Embedding, LayerNorm, Linear, attention, pieces
from minillm.gradcheck import check_layer, perturb
from minillm.nn.module import NO_BACKWARD, Parameter

double = {"dtype": np.float64}


def close(ours, plain, tolerance=1e-12):
    assert ours.shape == plain.shape
    assert np.abs(ours - plain).max() <= tolerance * max(1.0, np.abs(plain).max())


def run(layer, x, rng):
    """out, dx and the gradients by name, for a random dout, which is returned as well."""
    layer.zero_grad()
    out, cache = layer.forward(x)
    dout = rng.normal(size=out.shape)
    dx = layer.backward(dout, cache)
    return out, dout, dx, {name: p.grad for name, p in layer.parameters().items()}


@pytest.fixture(params=["as it is", "tiny"])
def sizes(request, monkeypatch):
    """The sizes of pieces and tiles, and such that even small arrays are cut into many, some of them not full."""
    if request.param == "tiny":
        monkeypatch.setattr(pieces, "PIECE", 7)
        monkeypatch.setattr(attention, "BLOCK", 3)
        monkeypatch.setattr(attention, "TILE", 40)


def test_gelu(sizes, rng):
    x = rng.normal(size=(3, 5, 9)) * 2
    out, dout, dx, _ = run(GELU(), x, rng)
    A, B = math.sqrt(2 / math.pi), 0.044715
    t = np.tanh(A * (x + B * x ** 3))
    close(out, x * (1 + t) / 2)
    close(dx, dout * ((1 + t) / 2 + x / 2 * (1 - t * t) * A * (1 + 3 * B * x * x)))


def test_layernorm(sizes, rng):
    layer = LayerNorm(6, **double)
    perturb(layer, rng)
    x = rng.normal(size=(3, 5, 6)) * 2 + 1
    out, dout, dx, gradients = run(layer, x, rng)
    g, b = layer.weight.data, layer.bias.data
    rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    x_hat = (x - x.mean(axis=-1, keepdims=True)) * rstd
    h = dout * g
    close(out, g * x_hat + b)
    close(gradients["weight"], (dout * x_hat).sum(axis=(0, 1)))
    close(gradients["bias"], dout.sum(axis=(0, 1)))
    close(dx, rstd * (h - h.mean(axis=-1, keepdims=True) - x_hat * (h * x_hat).mean(axis=-1, keepdims=True)))


def plain_attention(layer, x, dout):
    """One sequence and one head at a time, every score computed; the gradient in the same way."""
    B, T, C = x.shape
    H = layer.n_head
    D = C // H
    W, b, W_o, b_o = (p.data for p in layer.parameters().values())
    qkv, o = x @ W + b, np.zeros((B, T, C))
    dqkv, do = np.zeros_like(qkv), dout @ W_o.T
    for i in range(B):
        for h in range(H):
            columns = [slice(part * C + h * D, part * C + (h + 1) * D) for part in range(3)]
            q, k, v = (qkv[i][:, part] for part in columns)
            S = np.where(np.tril(np.ones((T, T))) > 0, q @ k.T / math.sqrt(D), -np.inf)
            P = np.exp(S - S.max(axis=1, keepdims=True))
            P /= P.sum(axis=1, keepdims=True)
            o[i][:, columns[0]] = P @ v
            do_h = do[i][:, columns[0]]
            dP = do_h @ v.T
            dS = P * (dP - (dP * P).sum(axis=1, keepdims=True)) / math.sqrt(D)
            for part, gradient in zip(columns, (dS @ k, dS.T @ q, P.T @ do_h)):
                dqkv[i][:, part] = gradient
    gradients = [each for x, dy in ((x, dqkv), (o, dout)) for each in (np.einsum("btc,btd->cd", x, dy), dy.sum(axis=(0, 1)))]
    return o @ W_o + b_o, dqkv @ W.T, gradients


@pytest.mark.parametrize("B, T", [(1, 1), (2, 5), (3, 8), (5, 12), (2, 131)])
def test_attention(sizes, B, T, rng):
    layer = CausalSelfAttention(6, 2, rng, **double)
    perturb(layer, rng, 1.0)
    x = rng.normal(size=(B, T, 6))
    out, dout, dx, gradients = run(layer, x, rng)
    plain_out, plain_dx, plain_gradients = plain_attention(layer, x, dout)
    close(out, plain_out)
    close(dx, plain_dx)
    for ours, plain in zip(gradients.values(), plain_gradients):
        close(ours, plain)


def test_gradients_of_attention_over_many_tiles(sizes, rng):
    layer = CausalSelfAttention(12, 3, rng, **double)
    perturb(layer, rng)
    assert max(check_layer(layer, rng.normal(size=(4, 8, 12)), rng).values()) < 1e-7


@pytest.mark.parametrize("B, H, T", [(1, 1, 1), (6, 4, 64), (8, 4, 128), (4, 6, 256), (2, 4, 65), (3, 2, 200), (7, 1, 63)])
def test_tiles_hold_every_query_once_and_the_last_of_a_sequence_first(B, H, T):
    seen, begun = np.zeros((B, T), int), np.zeros(B, bool)
    for b, t in attention.tiles(B, H, T):
        assert begun[b].all() or t.stop == T
        begun[b] = True
        seen[b, t] += 1
    assert (seen == 1).all()


def test_embedding(rng):
    table, index = Embedding(7, 4, rng, **double), rng.integers(0, 6, (5, 9))      # row 6 is never read
    table.zero_grad()
    out, cache = table.forward(index)
    dout = rng.normal(size=out.shape)
    table.backward(dout, cache)
    plain = np.zeros((7, 4))
    np.add.at(plain, index, dout)
    close(table.weight.grad, plain)


def test_linear_adds_to_what_is_there(rng):
    layer = Linear(4, 3, rng, **double)
    x = rng.normal(size=(5, 4))
    _, dout, _, gradients = run(layer, x, rng)
    close(gradients["weight"], x.T @ dout)
    close(gradients["bias"], dout.sum(axis=0))
    _, cache = layer.forward(x)
    layer.backward(dout, cache)
    close(layer.weight.grad, 2 * x.T @ dout)


def arrays_in(cache):
    if isinstance(cache, np.ndarray):
        yield cache
    elif isinstance(cache, (tuple, list)):
        for part in cache:
            yield from arrays_in(part)


@pytest.mark.parametrize("trains", [True, False])
def test_without_a_backward_pass_nothing_is_kept_and_the_output_is_the_same(trains, rng):
    block = Block(12, 3, rng, **double)
    perturb(block, rng)
    block.trainable = trains
    x = rng.normal(size=(2, 70, 12))
    out, cache = block.forward(x)
    assert list(arrays_in(cache))
    plain, nothing = block.forward(x, NO_BACKWARD)
    assert np.array_equal(out, plain) and not list(arrays_in(nothing))


def test_a_zero_gradient_is_zero_to_whoever_looks(rng):
    x, y = rng.normal(size=(2, 3)), rng.normal(size=(3, 4))
    looks = {"read": lambda p: p.grad, "add": lambda p: setattr(p, "grad", p.grad + 1) or p.grad - 1,
             "add in place": lambda p: np.add(p.grad, 0.0, out=p.grad), "finish": lambda p: p.finish_grad() or p.grad}
    for name, look in looks.items():
        p = Parameter(np.zeros((2, 4)))
        p.grad = np.full((2, 4), 7.0)      # of an earlier step
        p.zero_grad()
        assert (look(p) == 0).all(), name
        p.zero_grad()
        p.add_product(x, y)
        close(p.grad, x @ y)
        p.add_product(x, y)
        close(p.grad, 2 * x @ y)
    p.trainable = False
    assert p.grad is None
