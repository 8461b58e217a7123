"""How gradients become steps: the flat vector, three optimizers, and their schedules."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
from tables import DECAYING

from minillm.gradcheck import perturb
from minillm.ground.pieces import PIECE, pieces
from minillm.nn import GPT, Config, Linear, Module, Parameter
from minillm.train import optimizers
from minillm.train.flat import FlatParameters
from minillm.train.optimizers import AdamW
from minillm.train.optimizers.muon import QUINTIC, Muon, orthogonalise
from minillm.train.schedule import constant, warmup_cosine, warmup_linear

RATES = {"sgd": 0.1, "adamw": 0.01, "muon": 0.02}
OPTIMIZERS = {name: (lambda rule=rule, name=name: rule(lr=RATES.get(name, 0.01))) for name, rule in optimizers.OPTIMIZERS.items()}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def small_gpt(dtype=np.float64, n_embd=12, n_layer=2):
    """The same model on every call."""
    rng = np.random.default_rng(5)
    model = GPT(Config(11, 7, n_layer, 3, n_embd), rng, dtype)
    perturb(model, rng)
    return model


def flat_of(model):
    return FlatParameters(model.trainable_parameters())


def random_gradients(flat, n, seed=9):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=flat.grad.size).astype(flat.grad.dtype) for _ in range(n)]


def run(optimizer, flat, gradients, workers=1):
    """The shares of all workers, one after the other."""
    for i, gradient in enumerate(gradients):
        flat.grad[:] = gradient
        plan = optimizer.plan(1 / (i + 1))
        for rank in range(workers):
            optimizer.update(plan, rank=rank, n=workers)


# ---- the flat vector

def test_values_and_gradients_are_views_of_the_vector(rng):
    model = small_gpt()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    flat = flat_of(model)
    for name, p in model.parameters().items():
        assert np.array_equal(p.data, before[name])
        assert np.shares_memory(p.data, flat.data) and np.shares_memory(p.grad, flat.grad)
    flat.data[:] = 3
    flat.grad[:] = 4
    assert all((p.data == 3).all() and (p.grad == 4).all() for p in model.parameters().values())


def test_the_vector_holds_each_number_once():
    model = small_gpt()
    flat = flat_of(model)
    assert flat.data.size == flat.grad.size == sum(p.size for p in model.parameters().values())
    for i, p in enumerate(model.parameters().values()):
        p.data[...] = i
    counts = np.bincount(flat.data.astype(int))
    assert counts.tolist() == [p.size for p in model.parameters().values()]


def test_matrices_stand_first():
    model = small_gpt()
    flat = flat_of(model)
    expected = [f"blocks.{i}.{name}.weight" for i in (0, 1) for name in ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")]
    assert list(flat.matrices) == expected
    assert list(flat.parameters)[:8] == expected and flat.parameters.keys() == model.parameters().keys()
    assert flat.n_matrices == 2 * (12 * 36 + 12 * 12 + 12 * 48 + 48 * 12)
    assert all(np.shares_memory(p.data, flat.data[:flat.n_matrices]) == (name in expected)
               for name, p in model.parameters().items())


class Own(Module):
    """A module of a learner's own: its names say nothing of blocks."""

    def __init__(self, rng):
        self.first, self.fused = Linear(6, 4, rng, dtype=np.float64), Linear(4, {"x": 2, "y": 4}, rng, dtype=np.float64)
        self.words, self.gain = Parameter(rng.normal(size=(5, 6))), Parameter(rng.normal(size=4))


def test_what_is_a_matrix_is_said_by_its_owner_and_not_by_its_name(rng):
    flat = FlatParameters(Own(rng).parameters())
    assert list(flat.matrices) == ["first.weight", "fused.weight"] and flat.n_matrices == 48
    before = {name: p.data.copy() for name, p in flat.parameters.items()}
    optimizer = AdamW(lr=0.5, weight_decay=0.2)
    optimizer.start(flat)
    optimizer.step()
    for name, p in flat.parameters.items():
        np.testing.assert_allclose(p.data, before[name] * (0.9 if name in flat.matrices else 1), rtol=1e-12, err_msg=name)


def test_muon_makes_each_of_the_matrices_in_one_array_orthogonal(rng):
    flat = FlatParameters(Own(rng).parameters())
    optimizer = Muon(lr=1.0, weight_decay=0)
    optimizer.start(flat)
    before = {name: p.data.copy() for name, p in flat.matrices.items()}
    run(optimizer, flat, random_gradients(flat, 1))
    for name, cuts in (("first.weight", []), ("fused.weight", [2])):
        for step in np.split(flat.parameters[name].data - before[name], cuts, axis=1):
            sizes = np.linalg.svd(step, compute_uv=False)
            assert sizes.min() > 0.6 and sizes.max() < 1.3, name


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_what_is_a_matrix_survives_copies(twin, rng):
    own = Own(rng)
    assert [twin(p).matrices for p in own.parameters().values()] == [(4,), (), (2, 4), (), (), ()]
    assert list(FlatParameters(twin(own).parameters()).matrices) == ["first.weight", "fused.weight"]


@pytest.mark.parametrize("shape, matrices", [((6,), (6,)), ((2, 3, 4), (4,)), ((4, 7), (3, 3))])
def test_what_cannot_be_that_many_matrices_is_refused(shape, matrices):
    with pytest.raises(ValueError, match=re.escape(f"cannot be cut into matrices of {matrices} columns")):
        Parameter(np.zeros(shape), matrices)


def test_views_cut_another_vector_in_the_same_way():
    flat = flat_of(small_gpt())
    vector = np.arange(flat.data.size)
    views = flat.views(vector)
    assert [view.shape for view in views.values()] == [p.shape for p in flat.parameters.values()]
    assert np.array_equal(np.concatenate([view.reshape(-1) for view in views.values()]), vector)
    assert all(np.shares_memory(view, vector) for view in views.values())


def test_only_what_trains_is_in_the_vector():
    model = small_gpt()
    model.trainable = False
    model.ln_f.trainable = True
    flat = flat_of(model)
    assert list(flat.parameters) == ["ln_f.weight", "ln_f.bias"] and flat.n_matrices == 0


def test_nothing_to_train_is_an_error():
    with pytest.raises(ValueError, match="every parameter is frozen"):
        FlatParameters({})


def test_backward_fills_the_vector(rng):
    model = small_gpt()
    flat = flat_of(model)
    logits, cache = model.forward(rng.integers(0, 11, (2, 7)))
    model.zero_grad()
    model.backward(np.ones_like(logits) * rng.normal(size=logits.shape), cache)
    assert np.count_nonzero(flat.grad) > 0.9 * flat.grad.size - 2 * 12


# ---- every optimizer

@every_optimizer
def test_a_saved_state_continues_bit_for_bit(name):
    flat = flat_of(small_gpt())
    gradients = random_gradients(flat, 6)
    optimizer = OPTIMIZERS[name]()
    optimizer.start(flat)
    run(optimizer, flat, gradients[:3])
    saved = {key: array.copy() for key, array in optimizer.state_dict().items()}
    theta = flat.data.copy()
    run(optimizer, flat, gradients[3:])

    resumed_flat = flat_of(small_gpt())
    resumed = OPTIMIZERS[name]()
    resumed.start(resumed_flat)
    resumed_flat.data[:] = theta
    resumed.load_state_dict(saved)
    run(resumed, resumed_flat, gradients[3:])
    assert np.array_equal(resumed_flat.data, flat.data)


@every_optimizer
def test_without_its_state_an_optimizer_would_go_another_way(name):
    """So that the test above proves something."""
    flat = flat_of(small_gpt())
    gradients = random_gradients(flat, 6)
    optimizer = OPTIMIZERS[name]()
    optimizer.start(flat)
    run(optimizer, flat, gradients[:3])
    theta = flat.data.copy()
    run(optimizer, flat, gradients[3:])
    other_flat = flat_of(small_gpt())
    other = OPTIMIZERS[name]()
    other.start(other_flat)
    other_flat.data[:] = theta
    run(other, other_flat, gradients[3:])
    assert not np.allclose(other_flat.data, flat.data)


@every_optimizer
@pytest.mark.parametrize("workers", [2, 3, 7])
def test_shares_of_workers_make_one_step(name, workers, monkeypatch):
    monkeypatch.setattr("minillm.ground.pieces.PIECE", 1000)
    flats = [flat_of(small_gpt(np.float32)) for _ in range(2)]
    assert flats[0].data.size > 4000           # several pieces of work
    gradients = random_gradients(flats[0], 2)
    for flat, n in zip(flats, (1, workers)):
        optimizer = OPTIMIZERS[name]()
        optimizer.start(flat)
        run(optimizer, flat, gradients, n)
    assert np.array_equal(flats[0].data, flats[1].data)


@every_optimizer
def test_clipping_is_a_factor_on_the_gradient(name):
    flats = [flat_of(small_gpt()) for _ in range(2)]
    gradient = random_gradients(flats[0], 1)[0]
    for flat, clip in zip(flats, (1.0, 0.25)):
        flat.grad[:] = gradient * (0.25 / clip)
    optimizers = [OPTIMIZERS[name]() for _ in range(2)]
    for optimizer, flat, clip in zip(optimizers, flats, (1.0, 0.25)):
        optimizer.start(flat)
        optimizer.update(optimizer.plan(), clip)
    assert np.array_equal(flats[0].data, flats[1].data)
    assert np.array_equal(flats[0].grad, flats[1].grad)      # both clipped now


@every_optimizer
def test_float32_stays_float32(name):
    flat = flat_of(small_gpt(np.float32))
    optimizer = OPTIMIZERS[name]()
    optimizer.start(flat)
    run(optimizer, flat, random_gradients(flat, 2))
    arrays = [flat.data, *(array for key, array in optimizer.state_dict().items() if not key.endswith("t"))]
    assert {array.dtype for array in arrays} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", DECAYING)
def test_weight_decay_touches_only_the_matrices_of_blocks(name):
    flat = flat_of(small_gpt())
    before = flat.data.copy()
    optimizer = DECAYING[name](lr=0.02, weight_decay=0.3)
    optimizer.start(flat)
    optimizer.step()      # the gradient is zero, so decay is all that happens
    n = flat.n_matrices
    np.testing.assert_allclose(flat.data[:n], (1 - 0.02 * 0.3) * before[:n], rtol=1e-12)
    assert np.array_equal(flat.data[n:], before[n:])


@every_optimizer
def test_a_factor_of_zero_moves_nothing(name):
    flat = flat_of(small_gpt())
    before = flat.data.copy()
    flat.grad[:] = random_gradients(flat, 1)[0]
    optimizer = OPTIMIZERS[name]()
    optimizer.start(flat)
    optimizer.step(0.0)
    assert np.array_equal(flat.data, before)


@every_optimizer
def test_minimises_a_bowl(name):
    """Loss |theta - goal|^2 / 2, whose gradient is theta - goal."""
    flat = flat_of(small_gpt())
    goal = random_gradients(flat, 1)[0]
    optimizer = OPTIMIZERS[name]()
    optimizer.start(flat)
    start = np.linalg.norm(flat.data - goal)
    for step in range(150):
        flat.grad[:] = flat.data - goal
        optimizer.step(3 * (1 - step / 150))
    assert np.linalg.norm(flat.data - goal) < 0.5 * start


@pytest.mark.parametrize("size", [1, PIECE, PIECE + 1, 3 * PIECE + 7])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_pieces_cover_everything_once(size, n):
    seen = np.zeros(size, int)
    for rank in range(n):
        for part in pieces(size, rank, n):
            seen[part] += 1
    assert (seen == 1).all()


# ---- AdamW

def test_first_step_of_adamw_is_the_learning_rate_whatever_the_gradient():
    """At t = 1, m^ / sqrt(v^) = g / |g|: a sign."""
    flat = flat_of(small_gpt())
    before, gradient = flat.data.copy(), random_gradients(flat, 1)[0]
    optimizer = AdamW(lr=0.01, eps=0.0, weight_decay=0.0)
    optimizer.start(flat)
    run(optimizer, flat, [gradient])
    np.testing.assert_allclose(before - flat.data, 0.01 * np.sign(gradient), rtol=1e-9, atol=1e-12)


# ---- Muon

def with_singular_values(s, m, n, rng):
    """U S V' with random orthogonal U (m, r), V (n, r): returns the product, U and V."""
    r = len(s)
    U = np.linalg.qr(rng.normal(size=(m, r)))[0]
    V = np.linalg.qr(rng.normal(size=(n, r)))[0]
    return U * s @ V.T, U, V


@pytest.mark.parametrize("m, n", [(8, 8), (5, 20), (20, 5), (1, 6)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_orthogonalise_keeps_directions_and_evens_out_their_sizes(m, n, scale, rng):
    r = min(m, n)
    G, U, V = with_singular_values(np.geomspace(1, 0.02, r) * scale, m, n, rng)
    inner = U.T @ orthogonalise(G) @ V      # diagonal, if singular vectors are kept
    sizes = np.diag(inner)
    assert np.abs(inner - np.diag(sizes)).max() < 1e-8
    assert sizes.min() > 0.6 and sizes.max() < 1.3


@pytest.mark.parametrize("m, n", [(8, 8), (5, 20), (20, 5)])
def test_a_stack_is_orthogonalised_matrix_by_matrix(m, n, rng):
    stack = rng.normal(size=(3, m, n)) * np.array([1e-3, 1, 1e3])[:, None, None]
    before = stack.copy()
    apart = np.stack([orthogonalise(G) for G in stack])
    np.testing.assert_allclose(orthogonalise(stack), apart, rtol=1e-9, atol=1e-12)
    assert apart.shape == stack.shape and np.array_equal(stack, before)


def test_zero_stays_zero():
    assert not orthogonalise(np.zeros((3, 4))).any()


def test_the_quintic_does_what_is_said_of_it():
    """Five times, on single numbers: on matrices it acts on each singular value so."""
    s = np.geomspace(1e-9, 1, 200_001)
    end = s.copy()
    for _ in range(5):
        end = QUINTIC[0] * end + QUINTIC[1] * end ** 3 + QUINTIC[2] * end ** 5
    assert end[s >= 0.0016].min() > 0.68 and end.max() < 1.21
    assert (end / s).max() <= 485 and end[s < 1e-4].max() < 0.05 and (end > s)[s < 0.6].all()


def test_q_k_and_v_are_orthogonalised_apart(rng):
    """Three gradients of very different size: together the largest would drown the others."""
    model = small_gpt()
    flat = flat_of(model)
    qkv = model.blocks[0].attn.qkv.weight
    before = qkv.data.copy()
    qkv.grad[...] = np.concatenate([with_singular_values(np.geomspace(1, 0.1, 12) * scale, 12, 12, rng)[0]
                                    for scale in (1e-3, 1.0, 1e3)], axis=1)
    optimizer = Muon(lr=0.5, weight_decay=0.0)
    optimizer.start(flat)
    optimizer.step()
    for step in np.split((before - qkv.data) / 0.5, 3, axis=1):
        sizes = np.linalg.svd(step, compute_uv=False)
        assert sizes.min() > 0.6 and sizes.max() < 1.3


def test_muon_is_its_formula():
    """Three steps against a plain loop over the matrices; the model is deep enough for more than one stack of a shape."""
    flat = flat_of(small_gpt(n_layer=6))
    gradients = random_gradients(flat, 3)
    optimizer = Muon(lr=0.05, momentum=0.9, weight_decay=0.1, adamw_lr=0.01)
    adamw_flat = flat_of(small_gpt(n_layer=6))
    adamw = AdamW(lr=0.01, weight_decay=0.0)
    W = {name: p.data.copy() for name, p in flat.matrices.items()}
    v = {name: np.zeros_like(array) for name, array in W.items()}
    for i, gradient in enumerate(gradients):
        factor = 1 / (i + 1)
        for name, g in flat.views(gradient).items():
            if name in W:
                v[name] = 0.9 * v[name] + g
                parts = np.split(g + 0.9 * v[name], 3 if "qkv" in name else 1, axis=1)
                steps = [orthogonalise(part) * math.sqrt(max(1, part.shape[1] / part.shape[0])) for part in parts]
                W[name] = (1 - 0.05 * factor * 0.1) * W[name] - 0.05 * factor * np.concatenate(steps, axis=1)
    optimizer.start(flat)
    adamw.start(adamw_flat)
    run(optimizer, flat, gradients)
    run(adamw, adamw_flat, gradients)
    for name, p in flat.matrices.items():
        np.testing.assert_allclose(p.data, W[name], rtol=1e-8, atol=1e-10, err_msg=name)
    np.testing.assert_allclose(flat.data[flat.n_matrices:], adamw_flat.data[flat.n_matrices:], rtol=1e-12)


# ---- schedules

@pytest.mark.parametrize("schedule", [warmup_cosine, warmup_linear])
@pytest.mark.parametrize("steps, warmup, final", [(100, 10, 0.1), (100, 0, 0.0), (20, 19, 0.5), (50, 5, 1.0)])
def test_rises_to_one_and_falls_to_its_end(schedule, steps, warmup, final):
    factor = schedule(steps, warmup, final)
    values = np.array([factor(step) for step in range(steps)])
    np.testing.assert_allclose(values[:warmup], np.arange(1, warmup + 1) / (warmup + 1))
    assert values[warmup] == pytest.approx(1)
    assert (np.diff(values[warmup:]) <= 1e-12).all()
    assert warmup == steps - 1 or values[-1] == pytest.approx(final)
    assert factor(10 * steps) == pytest.approx(final)      # after its end it stays there


def test_shapes_of_the_fall():
    halfway = 50
    assert warmup_cosine(101, 0, 0.0)(halfway) == pytest.approx(0.5)
    assert warmup_linear(101, 0, 0.0)(halfway) == pytest.approx(0.5)
    assert warmup_cosine(101, 0, 0.0)(25) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert warmup_linear(101, 0, 0.0)(25) == pytest.approx(0.75)


@pytest.mark.parametrize("schedule", [warmup_cosine, warmup_linear])
def test_warms_up_for_a_twentieth_by_default(schedule):
    factor = schedule(200)
    assert factor(9) < 1 and factor(10) == pytest.approx(1)


def test_constant_is_one():
    assert {constant(step) for step in (0, 1, 10**6)} == {1.0}
