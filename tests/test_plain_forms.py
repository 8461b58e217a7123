"""The fast forms beside the plain ones: work cut into pieces and tiles, sums as products, zeros that are never written.

The plain form of each is a few lines from the textbook; here it is the oracle. Those that lessons/whole_story.py has are its own.
"""

import numpy as np
import pytest
from plain import plain, zeros_like

from minillm.gradcheck import check_layer, perturb
from minillm.ground import pieces
from minillm.nn import (
    GELU,
    AttentionHeads,
    Block,
    CausalSelfAttention,
    Embedding,
    LayerNorm,
    Linear,
    RMSNorm,
    SiLUGate,
    Softmax,
    SwiGLU,
)
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


def same(plain_form, layer, x, rng):
    """Output, dx and every gradient of a layer are those of its plain form."""
    w = {f"layer.{name}": array for name, array in layer.state_dict().items()}
    out, dout, dx, gradients = run(layer, x, rng)
    plain_out, backward = plain_form(x, w, "layer")
    dw = zeros_like(w)
    close(out, plain_out)
    close(dx, backward(dout, dw))
    assert len(dw) == len(gradients)
    for name, gradient in gradients.items():
        close(gradient, dw[f"layer.{name}"])


@pytest.fixture(params=["as it is", "tiny"])
def sizes(request, monkeypatch):
    """The sizes of pieces and tiles, and such that even small arrays are cut into many, some of them not full."""
    if request.param == "tiny":
        monkeypatch.setattr(pieces, "PIECE", 7)
        monkeypatch.setattr(pieces, "QUERIES", 3)
        monkeypatch.setattr(pieces, "SCORES", 40)


def test_gelu(sizes, rng):
    x = rng.normal(size=(3, 5, 9)) * 2
    out, dout, dx, _ = run(GELU(), x, rng)
    plain_out, gelu_back = plain.gelu(x)
    close(out, plain_out)
    close(dx, gelu_back(dout))


def test_layernorm(sizes, rng):
    layer = LayerNorm(6, **double)
    perturb(layer, rng)
    x = rng.normal(size=(3, 5, 6)) * 2 + 1
    same(plain.layernorm, layer, x, rng)


@pytest.mark.parametrize("B, T", [(1, 1), (2, 5), (3, 8), (5, 12), (2, 131)])
def test_attention(sizes, B, T, rng, monkeypatch):
    monkeypatch.setattr(plain, "H", 2)
    layer = CausalSelfAttention(6, 2, rng, **double)
    perturb(layer, rng, 1.0)
    same(plain.attention, layer, rng.normal(size=(B, T, 6)), rng)


def test_gradients_of_attention_over_many_tiles(sizes, rng):
    layer = CausalSelfAttention(12, 3, rng, **double)
    perturb(layer, rng)
    assert max(check_layer(layer, rng.normal(size=(4, 8, 12)), rng).values()) < 1e-7


def with_heads_of_their_own(array, H, K, D):
    """(..., (H + 2K) D) -> (..., 3 H D), in which the heads of keys and values stand once for each head of queries."""
    q, k, v = (part.reshape(*array.shape[:-1], -1, D) for part in np.split(array, [H * D, (H + K) * D], axis=-1))
    parts = [q] + [np.concatenate([part[..., h * K // H, None, :] for h in range(H)], axis=-2) for part in (k, v)]
    return np.concatenate(parts, axis=-2).reshape(*array.shape[:-1], 3 * H * D)


@pytest.mark.parametrize("K", [1, 2, 3, 6])
@pytest.mark.parametrize("B, T", [(1, 1), (3, 8), (2, 131)])
def test_grouped_queries_are_those_whose_keys_and_values_are_copied(sizes, B, T, K, rng):
    """The gradient of what is shared is the sum of those of its copies."""
    H, D = 6, 4
    x, dlog_z = 2 * rng.normal(size=(B, T, (H + 2 * K) * D)), rng.normal(size=(B, H, T, 1))
    shared, own = AttentionHeads(H, K), AttentionHeads(H)
    (out, cache), (expected, own_cache) = shared.forward(x), own.forward(with_heads_of_their_own(x, H, K, D))
    close(out, expected)
    dout = rng.normal(size=out.shape)
    for more in (None, dlog_z):
        dx, d_own = shared.backward(dout, cache, more), own.backward(dout, own_cache, more)
        dq, dk, dv = (part.reshape(B, T, H, D) for part in np.split(d_own, 3, axis=-1))
        dk, dv = (np.stack([part[:, :, g * H // K:(g + 1) * H // K].sum(axis=2) for g in range(K)], axis=2) for part in (dk, dv))
        close(dx, np.concatenate([dq, dk, dv], axis=2).reshape(dx.shape))


def test_as_many_heads_of_keys_as_of_queries_is_what_there_was_before(rng):
    x, D = rng.normal(size=(2, 9, 3 * 12)), 4
    (out, cache), (expected, other) = AttentionHeads(3, 3).forward(x), AttentionHeads(3).forward(x)
    assert np.array_equal(out, expected)
    dout = rng.normal(size=out.shape)
    assert np.array_equal(AttentionHeads(3, 3).backward(dout, cache), AttentionHeads(3).backward(dout, other))
    q, k, v = AttentionHeads(3, 3).split(x)
    assert all(np.array_equal(part, x.reshape(2, 9, 9, D)[:, :, i:i + 3].swapaxes(1, 2)) for i, part in zip((0, 3, 6), (q, k, v)))


def test_swiglu(sizes, rng):
    ab = 3 * rng.normal(size=(3, 5, 14))
    a, b = np.split(ab, 2, axis=-1)
    out, dout, dx, _ = run(SiLUGate(), ab, rng)
    s = 1 / (1 + np.exp(-a))
    close(out, a * s * b)
    close(dx, np.concatenate([dout * b * (s + a * s * (1 - s)), dout * a * s], axis=-1))


@pytest.mark.parametrize("b", [1.0, -1.0, 1e-3, 0.0, 1e4])
@pytest.mark.parametrize("size", [30.0, 1e4, 1e30])
@pytest.mark.filterwarnings("error")
def test_the_gate_is_wide_open_or_shut_where_numbers_are_large(size, b):
    """silu(a) -> a and its slope -> 1 for large a; both -> 0 for a far below zero. In float32, and without a warning."""
    ab = np.array([[size, b], [-size, b]], np.float32)
    b = ab[0, 1]
    h, cache = SiLUGate().forward(ab)
    dab = SiLUGate().backward(np.ones_like(h), cache)
    assert np.array_equal(h, [[ab[0, 0] * b], [0]]) and np.array_equal(dab, [[b, ab[0, 0]], [0, 0]])


@pytest.mark.filterwarnings("error")
def test_so_it_is_in_the_whole_mlp(rng):
    layer = SwiGLU(6, rng, 0.5, 0.5)
    for scale in (1e4, 1e15):      # whose square, which the product of both halves is, float32 can hold
        out, cache = layer.forward((scale * rng.normal(size=(2, 3, 6))).astype(np.float32))
        layer.zero_grad()
        dx = layer.backward(rng.normal(size=out.shape).astype(np.float32), cache)
        assert all(np.isfinite(array).all() for array in (out, dx, *(p.grad for p in layer.parameters().values())))


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_rmsnorm(sizes, eps, rng):
    layer = RMSNorm(6, np.float64, eps)
    perturb(layer, rng)
    x = rng.normal(size=(3, 5, 6)) * 2 + 1
    out, dout, dx, gradients = run(layer, x, rng)
    length = np.sqrt((x ** 2).sum(axis=-1, keepdims=True) / 6 + eps)
    close(out, layer.weight.data * x / length)
    close(gradients["weight"], (dout * x / length).sum(axis=(0, 1)))
    h = dout * layer.weight.data
    close(dx, h / length - x * (h * x).sum(axis=-1, keepdims=True) / (6 * length ** 3))


@pytest.mark.parametrize("B, H, T", [(1, 1, 1), (6, 4, 64), (8, 4, 128), (4, 6, 256), (2, 4, 65), (3, 2, 200), (7, 1, 63)])
def test_tiles_hold_every_query_once_and_the_last_of_a_sequence_first(B, H, T):
    seen, begun = np.zeros((B, T), int), np.zeros(B, bool)
    for b, t in pieces.tiles(B, H, T):
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
    expected = np.zeros((7, 4))
    np.add.at(expected, index, dout)
    close(table.weight.grad, expected)


def test_linear(rng):
    layer = Linear(4, 3, rng, **double)
    perturb(layer, rng)
    same(plain.linear, layer, rng.normal(size=(2, 5, 4)), rng)


def test_softmax(rng):
    x = 30 * rng.normal(size=(2, 3, 5, 7))      # large enough for the largest of a row to be subtracted
    out, dout, dx, _ = run(Softmax(), x, rng)
    plain_out, backward = plain.softmax(x)
    close(out, plain_out)
    close(dx, backward(dout))


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
@pytest.mark.parametrize("parts", [{}, {"norm": "rmsnorm", "mlp": "swiglu", "biases": "none", "n_kv_head": 1, "rope_base": 9.0}],
                         ids=["gpt2", "llama"])
def test_without_a_backward_pass_nothing_is_kept_and_the_output_is_the_same(trains, parts, rng):
    block = Block(12, 3, rng, **double, **parts)
    perturb(block, rng)
    block.trainable = trains
    x = rng.normal(size=(2, 70, 12))
    out, cache = block.forward(x)
    assert list(arrays_in(cache))
    again, nothing = block.forward(x, NO_BACKWARD)
    assert np.array_equal(out, again) and not list(arrays_in(nothing))


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
