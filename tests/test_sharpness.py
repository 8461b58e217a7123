"""Curvature: eigenvalues against known matrices, and against the exact Hessian of a GPT so small that it can be written down."""

import numpy as np
import pytest
from surfaces import Formulas, bowl, small_gpt, some_texts, symmetric

from minillm.finetune.methods import BottleneckAdapter, Frozen, Full, LoRA
from minillm.gradcheck import perturb
from minillm.nn import CrossEntropy
from minillm.surface.sharpness import Curvature, extremes
from minillm.surface.space import Probe

SPECTRUM = np.concatenate([[50.0, 20.0, -30.0], np.linspace(-1, 1, 60)])


# ---- eigenvalues of a known matrix

@pytest.mark.parametrize("top, bottom", [(1, 1), (2, 1), (3, 2), (1, 3)])
def test_the_extremes_of_a_known_matrix(top, bottom, rng):
    H, _ = symmetric(SPECTRUM, rng)
    exact = np.sort(SPECTRUM)
    largest, smallest = extremes(lambda v: H @ v, len(H), rng, top, bottom, tolerance=1e-9)
    assert [pair.value for pair in largest] == pytest.approx(exact[::-1][:top], abs=1e-6)
    assert [pair.value for pair in smallest] == pytest.approx(exact[:bottom], abs=1e-6)
    for pair in (*largest, *smallest):
        assert np.linalg.norm(pair.vector) == pytest.approx(1, abs=1e-9)
        assert np.linalg.norm(H @ pair.vector - pair.value * pair.vector) <= pair.error + 1e-9


def test_the_error_that_is_reported_is_kept(rng):
    """Some exact eigenvalue is no farther away; and that with few products."""
    H, _ = symmetric(np.linspace(-1, 1, 300) ** 3, rng)
    for most in (3, 10, 30):
        for kind in extremes(lambda v: H @ v, 300, rng, tolerance=0, most=most):
            for pair in kind:
                assert abs(np.linspace(-1, 1, 300) ** 3 - pair.value).min() <= pair.error + 1e-12
                assert np.linalg.norm(H @ pair.vector - pair.value * pair.vector) == pytest.approx(pair.error, abs=1e-9)


def power_iteration(H, rng, steps=4000):
    """Of the largest |eigenvalue|; then, H shifted by it, of the one at the other end."""
    def largest(A):
        v = rng.normal(size=len(A))
        for _ in range(steps):
            v = A @ v
            v /= np.linalg.norm(v)
        return v @ A @ v

    first = largest(H)
    return sorted([first, first + largest(H - first * np.eye(len(H)))])


@pytest.mark.parametrize("spectrum", [SPECTRUM, -SPECTRUM, np.linspace(1, 9, 30), np.array([3.0, 1, 1, 1, -7])])
def test_power_iteration_finds_the_same_with_more_products(spectrum, rng):
    H, _ = symmetric(spectrum, rng)
    products = []
    (top,), (bottom,) = extremes(lambda v: H @ v, len(H), rng, tolerance=1e-10, progress=lambda m, value: products.append(m))
    assert [bottom.value, top.value] == pytest.approx(power_iteration(H, rng), abs=1e-6)
    assert products == list(range(1, len(products) + 1)) and len(products) <= len(H)


def test_one_dimension_and_equal_eigenvalues(rng):
    (top,), (bottom,) = extremes(lambda v: 3 * v, 1, rng)
    assert top.value == bottom.value == pytest.approx(3)
    largest, _ = extremes(lambda v: 3 * v, 5, rng, top=2)      # all directions alike: there is but one to be found
    assert [pair.value for pair in largest] == pytest.approx([3])


def test_flat_ground_has_no_curvature(rng):
    (top,), (bottom,) = extremes(lambda v: 0 * v, 10, rng)
    assert top.value == bottom.value == 0


def test_a_product_that_is_no_number_is_refused(rng):
    with pytest.raises(ValueError, match="not a number"):
        extremes(lambda v: v * np.nan, 10, rng)


def test_of_a_bowl_the_curvature_is_its_matrix(rng):
    """What is measured along an eigenvector rises as half the eigenvalue times the distance squared."""
    H, _ = symmetric(np.array([9.0, 4, 1, 0.5, -0.25]), rng)
    centre = rng.normal(size=5)
    space = Formulas(5, new=bowl(H, centre))
    (top,), (bottom,) = extremes(lambda v: H @ v, 5, rng, tolerance=1e-9)
    for pair in (top, bottom):
        risen = space.losses(centre + 2 * pair.vector, space)["new"] - space.losses(centre, space)["new"]
        assert risen == pytest.approx(2 * pair.value, abs=1e-6)


# ---- the Hessian of a GPT

RECIPES = {"full": Full(), "frozen": Frozen(), "adapter": BottleneckAdapter(2), "lora": LoRA(1)}


class Exact:
    """The Hessian of a very small GPT, column by column, by plain forward and backward passes and central differences."""

    def __init__(self, recipe, rng, step=1e-5):
        self.model = small_gpt(layers=1, width=4, context=5)
        recipe.apply(self.model, rng)
        perturb(self.model, rng)                              # or the factors of LoRA would begin as zero, and hide errors
        self.batches = Probe({"new": some_texts(rng, 4, 5)}).batches_of("new")
        self.total = sum((targets >= 0).sum() for _, targets in self.batches)
        self.parameters = self.model.trainable_parameters()
        columns = []
        for p in self.parameters.values():
            for i in range(p.size):
                kept = p.data.flat[i]
                p.data.flat[i] = kept + step
                above = self.gradient()
                p.data.flat[i] = kept - step
                columns.append((above - self.gradient()) / (2 * step))
                p.data.flat[i] = kept
        self.H = np.array(columns)

    def loss(self, backward=False):
        total = 0.0
        for tokens, targets in self.batches:
            logits, cache = self.model.forward(tokens)
            loss, loss_cache = CrossEntropy().forward(logits, targets, self.total)
            total += loss
            if backward:
                self.model.backward(CrossEntropy().backward(1.0, loss_cache), cache)
        return total

    def gradient(self):
        self.model.zero_grad()
        self.loss(backward=True)
        return np.concatenate([p.grad.ravel() for p in self.parameters.values()])

    def ordered(self, vector, names):
        """A vector of a Curvature, whose parameters stand in another order, as one of this Hessian."""
        parts, start = {}, 0
        for name in names:
            size = self.parameters[name].size
            parts[name] = vector[start:start + size]
            start += size
        return np.concatenate([parts[name] for name in self.parameters])

    def move(self, step):
        start = 0
        for p in self.parameters.values():
            p.data += step[start:start + p.size].reshape(p.shape)
            start += p.size


@pytest.fixture(scope="module", params=RECIPES)
def exact(request):
    return Exact(RECIPES[request.param], np.random.default_rng(11))


@pytest.fixture
def curvature(exact):
    return Curvature(exact.model, exact.batches, trainable=True, workers=1)


def test_the_exact_hessian_is_symmetric(exact):
    np.testing.assert_allclose(exact.H, exact.H.T, atol=1e-6 * abs(exact.H).max())


def test_a_curvature_is_of_all_that_trains_and_of_nothing_else(exact, curvature):
    assert set(curvature.names) == exact.parameters.keys() and curvature.n == len(exact.H)
    everything = Curvature(exact.model, exact.batches, workers=1)
    assert set(everything.names) == exact.model.parameters().keys()


def test_products_are_those_of_the_exact_hessian(exact, curvature, rng):
    for length in (1e-3, 1.0, 100.0):
        v = length * rng.normal(size=curvature.n)
        product, wanted = exact.ordered(curvature.product(v), curvature.names), exact.H @ exact.ordered(v, curvature.names)
        assert np.linalg.norm(product - wanted) < 1e-6 * np.linalg.norm(wanted)


@pytest.fixture
def eigen(curvature, rng):
    (top,), (bottom,) = extremes(curvature.product, curvature.n, rng)
    return top, bottom


def test_eigenvalues_are_those_of_the_exact_hessian(exact, curvature, eigen):
    top, bottom = eigen
    values = np.linalg.eigvalsh(exact.H)
    assert top.value == pytest.approx(values[-1], rel=0.01)
    assert bottom.value == pytest.approx(values[0], abs=0.01 * abs(values).max())
    assert top.error <= 0.003 * abs(values).max()


def test_losses_alone_say_the_same(exact, curvature, eigen):
    """A second witness that knows no gradient: v'Hv = (L(+h) - 2 L(0) + L(-h)) / h^2 along the eigenvector v."""
    top, h = eigen[0], 1e-3
    step, here, around = h * exact.ordered(top.vector, curvature.names), exact.loss(), 0.0
    for sign in (1, -1):
        exact.move(sign * step)
        around += exact.loss()
        exact.move(-sign * step)
    assert (around - 2 * here) / h ** 2 == pytest.approx(top.value, rel=0.01)


def test_measuring_leaves_the_model_as_it_was_and_needs_no_float64(exact, rng):
    model = small_gpt(np.float32)
    model.blocks[0].trainable = False
    before = {name: array.copy() for name, array in model.state_dict().items()}
    curvature = Curvature(model, Probe({"new": some_texts(rng)}).batches_of("new"), workers=1)
    v = rng.normal(size=curvature.n)
    assert curvature.product(v).dtype == np.float64
    assert all(np.array_equal(array, before[name]) and array.dtype == np.float32 for name, array in model.state_dict().items())
    assert not model.blocks[0].trainable and model.ln_f.trainable


def test_two_processes_say_the_same_as_one(exact, rng):
    v = rng.normal(size=len(exact.H))
    alone, together = (Curvature(exact.model, exact.batches, True, workers).product(v) for workers in (1, 2))
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-6 * abs(alone).max())
