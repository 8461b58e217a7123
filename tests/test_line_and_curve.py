"""The straight line between two models, the barrier on it, and a trained curve around that."""

import json

import numpy as np
import pytest
from surfaces import Formulas, bowl, small_gpt, some_texts

from minillm.surface import curve
from minillm.surface.curve import bezier, train_curve
from minillm.surface.data import Profile
from minillm.surface.line import barrier, interpolation_points, profile, straight
from minillm.surface.space import Probe, Space
from minillm.text.batches import StreamBatches
from minillm.train.optimizers import SGD

# ---- the line

@pytest.mark.parametrize("points, beyond", [(3, 0.0), (11, 0.0), (21, 0.5), (11, 0.1), (5, 2.0)])
def test_both_ends_are_among_the_stations_exactly(points, beyond):
    t = interpolation_points(points, beyond)
    assert (t == 0).sum() == (t == 1).sum() == 1
    assert ((t >= 0) & (t <= 1)).sum() == points
    np.testing.assert_allclose(np.diff(t), 1 / (points - 1), rtol=1e-9)
    assert t[0] == pytest.approx(-beyond) and t[-1] == pytest.approx(1 + beyond)


def test_the_ends_of_the_line_are_the_models_bit_for_bit(rng):
    x, y = rng.normal(size=(2, 40)).astype(np.float32)
    line = straight(x, y)
    np.testing.assert_array_equal(line(0.0), x)
    np.testing.assert_array_equal(line(1.0), y)
    np.testing.assert_allclose(line(0.25), 0.75 * x + 0.25 * y, rtol=1e-6)


@pytest.mark.parametrize("height", [0.0, 0.3, -0.3, 2.0])
@pytest.mark.parametrize("start, end", [(1.0, 1.0), (0.5, 3.0)])
def test_the_barrier_is_the_height_above_the_line_between_the_end_losses(start, end, height):
    """Closed form: a parabola of that height on a slope. Below the slope there is no barrier, since both ends are on it."""
    t = interpolation_points(21, 0.5)
    loss = (1 - t) * start + t * end + 4 * height * t * (1 - t)
    assert barrier(t, loss) == pytest.approx(max(0, height), abs=1e-12)


def test_the_barrier_knows_nothing_of_what_lies_beyond_the_ends():
    t = interpolation_points(5, 1.0)
    assert barrier(t, np.where((t < 0) | (t > 1), 100.0, 1.0)) == 0


def test_a_loss_that_is_no_number_makes_no_small_barrier():
    t = interpolation_points(5)
    assert np.isnan(barrier(t, np.where(t == 0.5, np.nan, 1.0)))


def test_a_profile_of_a_bowl_is_its_formula(rng):
    """Over a convex loss no line has a barrier, and over a concave one that of the closed form |y - x|' H (y - x) / 8."""
    H = np.diag([1.0, 2.0, 3.0])
    x, y, centre = rng.normal(size=(3, 3))
    space = Formulas(3, new=bowl(H, centre), old=bowl(-H, centre))
    result = profile(space, ("x", "y"), {"straight line": straight(x, y)}, space, interpolation_points(11, 0.5), 1, {"seed": 1})
    for task, formula in space.formulas.items():
        np.testing.assert_allclose(result.loss["straight line"][task], [formula(straight(x, y)(t)) for t in result.t], atol=1e-6)
    assert result.loss["straight line"]["new"][result.t == 0] == pytest.approx(space.formulas["new"](x), abs=1e-12)
    assert result.barrier["straight line"]["new"] == 0
    assert result.barrier["straight line"]["old"] == pytest.approx((y - x) @ H @ (y - x) / 8, abs=1e-6)
    assert result.ends == ("x", "y") and result.info["seed"] == 1 and any("barrier on old" in line for line in result.checks())


def test_a_profile_survives_its_file(rng):
    space = Formulas(3, new=bowl(np.eye(3), np.ones(3)))
    curves = {"straight line": straight(np.zeros(3), np.ones(3)), "trained curve": bezier(np.zeros(3), np.eye(3)[0], np.ones(3))}
    result = profile(space, ("x", "y"), curves, space, interpolation_points(5), 1, {"seed": 1})
    again = Profile.of(result.arrays(), json.loads(json.dumps(result.meta())))
    assert again.meta() == result.meta() and again.ends == result.ends
    assert all(np.array_equal(again.arrays()[name], array) for name, array in result.arrays().items())


# ---- the curve

@pytest.fixture
def two(rng):
    """A space of GPTs, two models in it with a barrier between them, and texts."""
    space = Space(small_gpt(layers=1, width=8, context=5))
    return space, *(space.start + 0.3 * rng.normal(size=(2, space.size))), Texts(some_texts(rng, 6, 5))


class Texts:
    """Batches that are always the same, as `train_curve` takes them."""

    def __init__(self, documents):
        (self.tokens, self.targets, _), = Probe({"new": documents}).batches
        self.total = int((self.targets >= 0).sum())
        self.probe = Probe({"new": documents})

    def at(self, step):
        return self.tokens, self.targets


def test_a_bezier_curve_keeps_its_ends_and_lies_in_the_plane_of_its_three_points(rng):
    x, m, y = rng.normal(size=(3, 30))
    phi = bezier(x, m, y)
    np.testing.assert_array_equal(phi(0), x)
    np.testing.assert_array_equal(phi(1), y)
    np.testing.assert_allclose(phi(0.5), x / 4 + m / 2 + y / 4, atol=1e-12)
    for t in np.linspace(0, 1, 7):
        assert np.linalg.lstsq(np.stack([m - x, y - x], axis=1), phi(t) - x, rcond=None)[1] < 1e-20
    straight_on = bezier(x, (x + y) / 2, y)
    np.testing.assert_allclose(straight_on(0.3), straight(x, y)(0.3), atol=1e-12)


class Times:
    """In the place of a random generator: these t, in turn."""

    def __init__(self, ts):
        self.ts = iter(ts)

    def uniform(self):
        return next(self.ts)


def test_the_gradient_of_the_middle_is_that_of_the_mean_loss(two, monkeypatch):
    """One step of plain descent at each of several t is the gradient; finite differences of the mean loss say the same."""
    space, x, y, texts = two
    monkeypatch.setattr(curve, "AdamW", lambda lr, weight_decay: SGD(lr, momentum=0.0))
    ts, lr, middle = [0.1, 0.35, 0.5, 0.8], 1e-2, (x + y) / 2
    moved = [train_curve(space, x, y, texts, 1, Times([t]), lr, clip=np.inf, workers=1, title=None) for t in ts]
    gradient = np.mean([(middle - m) / lr for m in moved], axis=0)

    def mean_loss(m):
        return np.mean([space.losses(bezier(x, m, y)(t), texts.probe)["new"] for t in ts])

    rng, h = np.random.default_rng(3), 1e-5
    for direction in (*rng.normal(size=(5, space.size)), gradient / np.linalg.norm(gradient)):
        slope = (mean_loss(middle + h * direction) - mean_loss(middle - h * direction)) / (2 * h)
        assert gradient @ direction == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_a_long_gradient_is_clipped(two, monkeypatch):
    space, x, y, texts = two
    monkeypatch.setattr(curve, "AdamW", lambda lr, weight_decay: SGD(lr, momentum=0.0))
    m = train_curve(space, x, y, texts, 1, Times([0.5]), 1.0, clip=1e-3, workers=1, title=None)
    assert np.linalg.norm(m - (x + y) / 2) == pytest.approx(1e-3, rel=1e-6)


def test_training_lowers_the_mean_loss_and_leaves_the_ends(two):
    space, x, y, texts = two
    ends, start = (x.copy(), y.copy()), space.start.copy()
    m = train_curve(space, x, y, texts, 60, np.random.default_rng(1), lr=1e-2, workers=1, title=None)
    t = interpolation_points(11)
    result = profile(space, ("x", "y"), {"straight": straight(x, y), "bent": bezier(x, m, y)}, texts.probe, t, 1)
    bent, line = result.loss["bent"]["new"], result.loss["straight"]["new"]
    assert bent.mean() < line.mean() - 0.02
    assert [bent[0], bent[-1]] == pytest.approx([line[0], line[-1]], abs=1e-12)
    assert np.array_equal(x, ends[0]) and np.array_equal(y, ends[1]) and np.array_equal(space.start, start)


def test_the_same_curve_from_any_number_of_workers_and_the_same_random_numbers(two):
    space, x, y, texts = two
    once, again = (train_curve(space, x, y, texts, 5, np.random.default_rng(1), workers=n, title=None) for n in (1, 2))
    np.testing.assert_allclose(once, again, rtol=0, atol=1e-6)


def test_of_a_stream_of_text_the_steps_are_as_long_with_any_number_of_workers(two, monkeypatch):
    """Such batches have no constant total; each counts by itself."""
    space, x, y, _ = two
    monkeypatch.setattr(curve, "AdamW", lambda lr, weight_decay: SGD(lr, momentum=0.0))
    batches = StreamBatches(np.random.default_rng(0).integers(0, space.model.config.vocab_size, 100), 5, 5)
    assert batches.total is None
    ends = [train_curve(space, x, y, batches, 1, Times([0.5]), 1.0, clip=np.inf, workers=n, title=None) for n in (1, 2, 3)]
    steps = [end - (x + y) / 2 for end in ends]
    assert np.linalg.norm(steps[0]) > 0.01
    for step in steps[1:]:
        np.testing.assert_allclose(step, steps[0], rtol=0, atol=1e-5 * np.abs(steps[0]).max())


def test_a_curve_through_ruined_weights_ends_in_a_sentence(two):
    space, x, y, texts = two
    with pytest.raises(ValueError, match="NaN or infinite at step 1"):
        train_curve(space, x, y * np.nan, texts, 3, np.random.default_rng(1), workers=1, title=None)
