"""What turns with its position: distances are all that scores see, and nothing is lost on the way."""

import numpy as np
import pytest

from minillm.inference.kv_cache import LayerKVCache
from minillm.nn import AttentionHeads, CausalSelfAttention, Rotary

H, K, D, BASE = 3, 2, 6, 40.0      # so 5 heads are turned, and 2 of values are not
TURNED = (H + K) * D
LENGTHS = [1, 2, 3, 63, 64, 65, 1000]      # the table of turns is as long as the next power of two

both_precisions = pytest.mark.parametrize("dtype, tolerance", [(np.float32, 5e-7), (np.float64, 1e-13)])


def some(rng, B=2, T=9, dtype=np.float64):
    return rng.normal(size=(B, T, (H + 2 * K) * D)).astype(dtype)


def rotary(base=BASE):
    return Rotary(H + K, D, base)


def kv_cache(length):
    return LayerKVCache(None, None, length, {})


def plain(x, base=BASE, start=0):
    """Each pair of each head at each position by itself, as a matrix turns a vector; in float64."""
    y = x.astype(np.float64)
    for t in range(x.shape[1]):
        for j in range(D // 2):
            angle = (start + t) / base ** (2 * j / D)
            matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            for head in range(H + K):
                pair = slice(head * D + 2 * j, head * D + 2 * j + 2)
                y[:, t, pair] = x[:, t, pair] @ matrix.T
    return y


@both_precisions
@pytest.mark.parametrize("T", LENGTHS)
def test_each_pair_is_turned_by_its_angle_in_a_text_of_any_length(T, dtype, tolerance, rng):
    """Far into a text as exactly as at its start: the angles are float64 in any model."""
    x = some(rng, 1, T, dtype)
    before = x.copy()
    y, _ = rotary().forward(x)
    assert y.dtype == dtype and np.abs(y - plain(x)).max() < tolerance * np.abs(x).max()
    assert np.array_equal(x, before) and not np.shares_memory(x, y)


@pytest.mark.parametrize("base", [1e-3, 1.0, 2.0, 1e4, 1e12])
def test_so_it_is_with_any_base(base, rng):
    x = some(rng, T=5)
    assert np.abs(rotary(base).forward(x)[0] - plain(x, base)).max() < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_the_dtype_stays(dtype, rng):
    x = some(rng, dtype=dtype)
    y, cache = rotary().forward(x)
    assert y.dtype == rotary().backward(y, cache).dtype == rotary().forward_cached(x, kv_cache(3)).dtype == dtype
    assert np.abs(y - plain(x)).max() < 1e-6


def test_the_first_position_and_the_values_keep_every_bit(rng):
    x = some(rng)
    y, cache = rotary().forward(x)
    assert np.array_equal(y[:, 0], x[:, 0]) and np.array_equal(y[..., TURNED:], x[..., TURNED:])
    assert (y[:, 1:, :TURNED] != x[:, 1:, :TURNED]).all()
    assert np.array_equal(rotary().backward(x, cache)[..., TURNED:], x[..., TURNED:])


def test_every_pair_keeps_its_length(rng):
    x = some(rng, T=200)
    y, _ = rotary().forward(x)
    lengths = [np.linalg.norm(array.reshape(2, 200, -1, 2), axis=-1) for array in (x, y)]
    np.testing.assert_allclose(lengths[1], lengths[0], rtol=1e-14)


@both_precisions
def test_back_is_the_way_back(dtype, tolerance, rng):
    x = some(rng, T=70, dtype=dtype)
    y, cache = rotary().forward(x)
    assert np.abs(rotary().backward(y, cache) - x).max() < 2 * tolerance * np.abs(x).max()


def test_no_gradient_is_made_that_nobody_wants(rng):
    x = some(rng)
    y, cache = rotary().forward(x, False)
    assert rotary().backward(y, cache) is None


@pytest.mark.parametrize("T", [2, 40])
def test_scores_depend_on_the_distance_alone(T, rng):
    """The same word everywhere: then what query t makes of key s is the same all along a diagonal."""
    x = np.repeat(some(rng, 1, 1), T, axis=1)
    q, k, _ = AttentionHeads(H, H).split(np.concatenate([rotary().forward(x)[0][..., :H * D]] * 3, axis=-1))
    S = q @ k.swapaxes(-1, -2)
    for distance in range(1 - T, T):
        diagonal = np.diagonal(S, distance, axis1=-2, axis2=-1)
        assert np.ptp(diagonal, axis=-1).max() < 1e-12
    assert np.ptp(S[0, 0, 0]) > 0.01                       # but of different distances it is not the same


@pytest.mark.parametrize("start", [1, 7, 300])
def test_attention_finds_the_same_wherever_a_text_begins(start, rng):
    x, heads = some(rng), AttentionHeads(H, 1)
    x = x[..., :(H + 2) * D]
    here, there = (Rotary(H + 1, D, BASE).forward_cached(x, kv_cache(begin)) for begin in (0, start))
    assert np.abs(here - there).max() > 0.01
    np.testing.assert_allclose(heads.forward(here)[0], heads.forward(there)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_kv_head", [1, 3])
def test_a_sublayer_of_attention_turns_its_queries_and_its_keys(n_kv_head, rng):
    """Both, or the same text further on would be another one; and what is between q, k, v and the output is this alone."""
    attn = CausalSelfAttention(18, 3, rng, 0.5, 0.5, np.float64, n_kv_head, True, BASE)
    x = rng.normal(size=(2, 9, 18))
    qkv = attn.qkv.forward(x)[0]
    for start in (0, 50):
        turned_on = attn.rotary.forward_cached(qkv, kv_cache(start))
        expected = attn.proj.forward(attn.heads.forward(turned_on)[0])[0]
        np.testing.assert_allclose(attn.forward(x)[0], expected, rtol=0, atol=1e-12)
    straight = attn.proj.forward(attn.heads.forward(qkv)[0])[0]
    assert np.abs(straight - expected).max() > 0.01


@pytest.mark.parametrize("sizes", [(9,), (1, 8), (3, 1, 5), (1,) * 9])
@pytest.mark.parametrize("T", [9, 66])
def test_to_read_on_is_to_go_on_turning(sizes, T, rng):
    """Bit for bit, whichever table the turns come from."""
    x, read = some(rng, T=T), T - 9
    expected, parts = rotary().forward(x)[0], [rotary().forward_cached(x[:, :read], kv_cache(0))] if read else []
    for n in sizes:
        parts.append(rotary().forward_cached(x[:, read:read + n], kv_cache(read)))
        read += n
    assert np.array_equal(np.concatenate(parts, axis=1), expected)


def test_it_reads_from_any_layout(rng):
    """As the gradient of a slice of something larger, or of its transpose, may come."""
    x = some(rng)
    for other in (np.asfortranarray(x), np.stack([x, x], axis=-1)[..., 0], x.swapaxes(0, 1).copy().swapaxes(0, 1)):
        assert np.array_equal(rotary().forward(other)[0], rotary().forward(x)[0])


def test_a_text_does_not_change_the_turns_of_another(rng):
    x, y = some(rng), some(rng, 1, 5)
    first = rotary().forward(x)[0]
    first *= 0
    rotary().forward(y)
    rotary().backward(x, True)
    assert np.abs(rotary().forward(x)[0] - plain(x)).max() < 1e-13
