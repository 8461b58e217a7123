"""Is the picture right? Each grid point is the model that it says, ways are where they belong, what is no number stays so."""

import json

import numpy as np
import pytest
from surfaces import Formulas, bowl, small_gpt, some_texts, symmetric

from minillm.nn import IGNORE, CrossEntropy
from minillm.runs.saved import load
from minillm.surface.data import Surface
from minillm.surface.directions import pca_plane
from minillm.surface.family import ORIGIN, read_family
from minillm.surface.measure import each_point, grid_axis, measure_grid, measure_surface
from minillm.surface.plane import Plane, plane_through
from minillm.surface.space import Probe, Space
from minillm.surface.views import probe_of
from minillm.text.batches import Text

ENDS = ["full", "adapter", "frozen"]


# ---- the grid

@pytest.mark.parametrize("points", [3, 4, 5, 25])
def test_the_axis_holds_both_ends_with_a_margin(points):
    axis = grid_axis([1.0, -2.0, 0.5], points, margin=0.25)
    assert len(axis) == points
    assert axis[0] == pytest.approx(-2.75) and axis[-1] == pytest.approx(1.75)
    np.testing.assert_allclose(np.diff(axis), 4.5 / (points - 1), rtol=1e-12)


@pytest.fixture
def skew(rng):
    """A plane whose directions are neither of length 1 nor at right angles, in 20 dimensions."""
    u, v = rng.normal(size=(2, 20))
    return Plane(rng.normal(size=20), 3 * u, 0.2 * v + u)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_value_lands_at_its_own_place(workers, skew):
    """S[j, i] belongs to b[j], a[i]: no row is shifted, no index dropped, no axis swapped."""
    space = Formulas(20, new=lambda theta: skew.project(theta)[0] @ np.array([1, 100]), old=lambda theta: -theta[3])
    a, b = np.linspace(-1, 2, 4), np.linspace(-3, 1, 7)
    losses = measure_grid(space, skew, a, b, space, workers, None)
    assert list(losses) == ["new", "old"] and losses["new"].shape == (7, 4)
    np.testing.assert_allclose(losses["new"], a[None, :] + 100 * b[:, None], rtol=0, atol=1e-9)
    np.testing.assert_allclose(losses["old"], [[-skew.at(x, y)[3] for x in a] for y in b], rtol=0, atol=1e-12)


def test_the_surface_of_a_bowl_is_its_formula(rng):
    """A quadratic loss on any plane is a quadratic of the coordinates: (a, b) (D' H D) (a, b)' / 2, to the sixth digit."""
    H, _ = symmetric(np.linspace(-1, 5, 20), rng)
    centre, D = rng.normal(size=20), rng.normal(size=(20, 2))
    plane, space = Plane(centre, *D.T), Formulas(20, new=bowl(H, centre))
    models = {"centre": centre, "other": rng.normal(size=20)}
    surface = measure_surface(space, plane, models, {}, space, 6, 1)
    a, b = np.meshgrid(surface.a, surface.b)
    ab = np.stack([a, b])
    np.testing.assert_allclose(surface.loss["new"], 0.5 + np.einsum("iba,ij,jba->ba", ab, D.T @ H @ D, ab) / 2, rtol=0, atol=1e-6)
    assert surface.points["other"] == pytest.approx(np.linalg.lstsq(D, models["other"] - centre, rcond=None)[0], abs=1e-9)
    assert surface.point_loss["other"]["new"] == pytest.approx(bowl(H, centre)(models["other"]), abs=1e-12)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_each_point_answers_in_order(workers):
    space = Formulas(1, new=lambda theta: theta[0])
    points = [lambda i=i: np.array([float(i)]) for i in range(23)]
    assert [losses["new"] for losses in each_point(space, points, space, workers)] == list(range(23))


# ---- models and ways on it

def bowl_with_ways(rng, **further):
    """A surface through three points of a bowl, with ways of gradient descent to the first of them."""
    H, _ = symmetric(np.linspace(0.1, 2, 12), rng)
    centre, start, other = rng.normal(size=(3, 12))
    loss = bowl(H, centre, 0.1)
    way = [start]
    for _ in range(6):
        way.append(way[-1] - 0.4 * H @ (way[-1] - centre))
    space = Formulas(12, new=loss, old=lambda theta: theta @ theta)
    models = {ORIGIN: start, "full": way[-1], "other": other}
    recorded = {"full": (list(range(7)), [{"theta": theta} for theta in way])} | further
    plane = plane_through(start, way[-1], other)
    return space, plane, models, recorded, measure_surface(space, plane, models, recorded, space, 5, 1)


def test_models_and_ways_are_in_the_units_of_the_grid_and_at_their_true_loss(rng):
    space, plane, models, ways, surface = bowl_with_ways(rng)
    path = surface.trajectories["full"]
    for ab, residual, arrays, loss in zip(path.ab, path.residual, ways["full"][1], path.loss["new"]):
        (a, b), rho = plane.project(arrays["theta"])
        assert ab == pytest.approx((a, b), abs=1e-12) and residual == pytest.approx(rho, abs=1e-12)
        assert loss == pytest.approx(space.formulas["new"](arrays["theta"]), abs=1e-12)
    for ab, shown in zip(path.ab, path.shown["old"]):
        assert shown == pytest.approx(space.formulas["old"](plane.at(*ab)), abs=1e-12)
    assert surface.points[ORIGIN] == (0.0, 0.0) and surface.info["origin"] == ORIGIN
    assert surface.points["full"] == pytest.approx((surface.distances["full"], 0), abs=1e-10)
    assert np.hypot(*surface.points["other"]) == pytest.approx(surface.distances["other"])
    assert surface.cosines == {"full,other": pytest.approx(surface.points["other"][0] / surface.distances["other"])}
    assert path.residual[0] == 0 and path.residual[-1] < 1e-9 and 0.01 < path.residual[2] < 1
    assert surface.max_residual == path.residual.max()


def test_what_lies_in_the_plane_has_its_own_loss_there(rng):
    """The three points, and every recorded one without a projection error, to 1e-6; and the caption says how well."""
    *_, surface = bowl_with_ways(rng)
    path = surface.trajectories["full"]
    inside = path.residual < 1e-6
    assert inside.sum() == 2 and surface.info["in_plane"] == [ORIGIN, "full", "other"]
    for task in surface.loss:
        np.testing.assert_allclose(path.shown[task][inside], path.loss[task][inside], rtol=0, atol=1e-6)
    assert 0 <= surface.info["gap"] < 1e-6
    assert abs(path.shown["new"] - path.loss["new"])[2] > 1e-3          # beside the plane, the loss is another


def test_a_way_in_its_own_plane_of_components_is_shown_whole(rng):
    """Steps of gradient descent in a bowl of two curvatures stay in one plane; there every recorded point must hold."""
    H = np.diag([2.0, 0.3] + [1.0] * 8)
    way = [np.r_[3.0, 2.0, np.zeros(8)]]
    for _ in range(5):
        way.append(way[-1] - 0.3 * H @ way[-1])
    space, steps = Formulas(10, new=bowl(H, np.zeros(10))), list(range(6))
    plane = pca_plane([way], [steps], "end")
    surface = measure_surface(space, plane, {"full": way[-1]}, {"full": (steps, [{"theta": theta} for theta in way])},
                              space, 4, 1)
    path = surface.trajectories["full"]
    assert path.residual.max() < 1e-6
    np.testing.assert_allclose(path.shown["new"], path.loss["new"], rtol=0, atol=1e-6)


def test_all_models_and_ways_lie_inside_the_grid(rng):
    *_, surface = bowl_with_ways(rng)
    for a, b in (*surface.points.values(), *surface.trajectories["full"].ab):
        assert surface.a[0] < a < surface.a[-1] and surface.b[0] < b < surface.b[-1]


def test_an_extent_is_kept_and_further_points_fit(rng):
    space, plane, models, ways, surface = bowl_with_ways(rng)
    given = measure_surface(space, plane, models, ways, space, 3, 1, extent=((-1, 2), (0, 5)))
    assert given.a.tolist() == [-1, 0.5, 2] and given.b.tolist() == [0, 2.5, 5]
    wider = measure_surface(space, plane, models, ways, space, 3, 1, within=[(50, -60)])
    assert wider.a[-1] > 50 and wider.b[0] < -60 and wider.a[0] < surface.a[0]


# ---- what diverged, what is no number

@pytest.mark.parametrize("far", [1e3, np.nan])
def test_a_way_that_diverged_does_not_stretch_the_map(far, rng):
    """Nor does its end: a thousand times as far away, it would leave all others in one corner. And it is told."""
    *_, before = bowl_with_ways(np.random.default_rng(1))
    away = [0, 1, 2], [{"theta": theta} for theta in np.outer([1, 10, far], rng.normal(size=12))]
    space, plane, models, ways, _ = bowl_with_ways(np.random.default_rng(1), lost=away)
    surface = measure_surface(space, plane, models | {"lost": away[1][-1]["theta"]}, ways, space, 5, 1)
    np.testing.assert_array_equal(surface.a, before.a)
    np.testing.assert_array_equal(surface.b, before.b)
    assert surface.info["away"] == ["lost"] and any("the trajectory of lost leaves the map" in line for line in surface.checks())


def test_of_a_model_that_diverged_the_plane_is_still_shown_if_it_spans_it(rng):
    space, plane, models, ways, _ = bowl_with_ways(rng)
    space.formulas["new"] = lambda theta: 1 + np.sum((theta - plane.origin) ** 2)
    surface = measure_surface(space, plane, models, ways, space, 5, 1)
    assert surface.info["away"] == ["full"] and surface.a[-1] > surface.points["full"][0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_counted_and_left_as_it_is(bad, skew):
    """A hole that is filled from its neighbours would be an invented loss."""
    def formula(theta):
        (a, b), _ = skew.project(theta)
        return bad if a > 0.3 and b > 0.3 else 1.0 + a

    space = Formulas(20, new=formula, old=lambda theta: 2.0)
    surface = measure_surface(space, skew, {"centre": skew.origin}, {}, space, 5, 1, extent=((-1, 1), (-1, 1)),
                              info={"seed": 0})
    hole = ~np.isfinite(surface.loss["new"])
    np.testing.assert_array_equal(hole, (surface.a[None, :] > 0.3) & (surface.b[:, None] > 0.3))
    np.testing.assert_allclose(surface.loss["new"][~hole], (1 + np.broadcast_to(surface.a, (5, 5)))[~hole], atol=1e-12)
    assert surface.info["not_numbers"] == hole.sum() == 4 and np.isfinite(surface.loss["old"]).all()
    assert "losses that are not numbers: 4 of 50, left blank in the picture" in surface.checks()
    again = Surface.of(surface.arrays(), json.loads(json.dumps(surface.meta())))
    np.testing.assert_array_equal(again.loss["new"], surface.loss["new"])


def test_a_ruined_model_has_a_loss_that_is_no_number(rng):
    model = small_gpt(np.float32)
    model.blocks[0].mlp.fc.weight.data[0, 0] = np.inf
    assert not np.isfinite(Probe({"new": some_texts(rng)}).losses(model)["new"])


# ---- the loss at a point

def test_the_loss_is_that_of_training_without_what_is_given():
    model, documents = small_gpt(), [[1, 2, 3, 4, 5], [5, 6, 7], [1, 9, 10, 3], [8, 8, 8, 8, 8, 8], [2, 4, 6, 8]]
    probe = Probe({"new": documents, "old": [Text([3, 2, 1, 0, 5, 6], given=3)], "plain": [Text([1, 2, 3], given=0)]})
    assert [tokens.shape for tokens, *_ in probe.batches] == [(2, 2), (2, 3), (3, 5)]      # alike in length, whatever the task
    assert probe.count == {"new": sum(len(ids) - 2 for ids in documents), "old": 2, "plain": 2}
    losses = probe.losses(model)
    for task, n in probe.count.items():
        total = sum(CrossEntropy().forward(model.logits(tokens), targets, n)[0] for tokens, targets in probe.batches_of(task))
        assert losses[task] == pytest.approx(total, rel=1e-12)
        assert sum(int((targets != IGNORE).sum()) for _, targets in probe.batches_of(task)) == n


def test_texts_too_short_to_measure_on_are_refused():
    with pytest.raises(ValueError, match="texts of old are too short"):
        Probe({"new": [[1, 2, 3]], "old": [[1, 2]]})


def test_a_space_holds_the_weights_of_a_copy(rng):
    model, probe = small_gpt(np.float32), Probe({"new": some_texts(rng)})
    space = Space(model)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    theta = space.vector({"ln_f.bias": np.full(12, 3.0)})
    assert theta.shape == space.start.shape and (theta != space.start).sum() == 12
    changed = space.losses(theta, probe)
    model.ln_f.bias.data[...] = 3
    assert changed == probe.losses(model)
    model.ln_f.bias.data[...] = before["ln_f.bias"]
    assert space.losses(space.start, probe) == probe.losses(model)
    assert all(np.array_equal(model.state_dict()[name], array) for name, array in before.items())


@pytest.mark.parametrize("arrays, message", [({"ln_g.bias": np.zeros(12)}, "no such weights"),
                                             ({"ln_f.bias": np.zeros(3)}, r"\(12,\)")])
def test_weights_that_have_no_place_in_a_space_are_named(arrays, message):
    with pytest.raises(ValueError, match=f"no plane in common: one has {next(iter(arrays))}.*{message}"):
        Space(small_gpt()).vector(arrays)


def test_every_grid_point_is_measured_on_the_same_tokens(rng, monkeypatch):
    model, seen = small_gpt(), []
    space, probe = Space(model), Probe({"new": some_texts(rng), "old": some_texts(rng)})
    logits = space.model.logits
    monkeypatch.setattr(space.model, "logits", lambda tokens: seen.append(tokens.tobytes()) or logits(tokens))
    plane = Plane(space.start, *rng.normal(size=(2, space.size)))
    measure_surface(space, plane, {"centre": space.start}, {}, probe, 3, 1)
    once = [tokens.tobytes() for tokens, *_ in probe.batches]
    assert seen == once * (len(seen) // len(once)) and len(seen) == len(once) * (9 + 2)


# ---- of real fine-tunings

@pytest.fixture(scope="module")
def real(story):
    """A family, its probe and the plane's surface through the base, full and adapter."""
    family = read_family(story, ENDS)
    models = {ORIGIN: family.start} | {name: family.end(name) for name in ENDS}
    plane, probe = plane_through(*list(models.values())[:3]), probe_of(family)
    trajectories = family.trajectories(ENDS)
    return family, probe, plane, measure_surface(family.space, plane, models, trajectories, probe, 5, info={"seed": 2})


@pytest.mark.parametrize("name", [ORIGIN, "full", "adapter"])
def test_the_plane_at_a_model_has_the_loss_of_that_model(name, story, real):
    """The model is read from its own file here, and knows nothing of planes."""
    family, probe, plane, surface = real
    apart = probe.losses(load(story / f"{name}.npz").model)
    assert surface.point_loss[name] == pytest.approx(apart, abs=1e-6)
    assert family.space.losses(plane.at(*surface.points[name]), probe) == pytest.approx(apart, abs=1e-6)
    j, i = 1, 3
    here = family.space.losses(plane.at(surface.a[i], surface.b[j]), probe)
    assert {task: S[j, i] for task, S in surface.loss.items()} == pytest.approx(here, abs=1e-6)


def test_the_surface_was_measured_where_it_says(story, real):
    _, probe, _, surface = real
    assert list(surface.loss) == ["novel", "general"]            # the new task first
    assert all(S.shape == (5, 5) and np.isfinite(S).all() and np.ptp(S) > 0.01 for S in surface.loss.values())
    assert list(surface.points) == [ORIGIN, *ENDS] and surface.points[ORIGIN] == (0.0, 0.0)
    assert surface.info["chance"] == pytest.approx(np.log(load(story / "pretrained.npz").model.config.vocab_size))
    assert surface.info["tokens"] == probe.count and surface.info["unit"] is True


def test_distances_and_cosines_are_those_of_the_weights(story, real):
    surface = real[-1]
    weights = {name: load(story / f"{name}.npz").model.state_dict() for name in (ORIGIN, *ENDS)}
    start = real[0].space.arrays(real[0].start)
    ways = {name: {key: np.float64(array) - start[key] for key, array in weights[name].items()} for name in ENDS}
    for name, way in ways.items():
        assert surface.distances[name] == pytest.approx(np.sqrt(sum((part ** 2).sum() for part in way.values())), rel=1e-6)
    for pair, value in surface.cosines.items():
        x, y = pair.split(",")
        dot = sum((ways[x][key] * ways[y][key]).sum() for key in ways[x].keys() & ways[y].keys())
        assert value == pytest.approx(dot / surface.distances[x] / surface.distances[y], abs=1e-6)
    assert all(np.array_equal(start[key], array) for key, array in weights[ORIGIN].items())
    assert surface.info["norm"] == pytest.approx(np.sqrt(sum((np.float64(array) ** 2).sum() for array in start.values())))


@pytest.mark.parametrize("name", ENDS)
def test_every_path_starts_at_the_origin_and_ends_at_its_model(name, real):
    surface = real[-1]
    path = surface.trajectories[name]
    assert path.steps.tolist() == list(range(13))
    assert path.ab[0].tolist() == [0, 0] and path.residual[0] == 0
    assert path.ab[-1] == pytest.approx(surface.points[name], abs=1e-9)
    for task in surface.loss:
        assert path.loss[task][0] == pytest.approx(surface.point_loss[ORIGIN][task], abs=1e-6)
        assert path.loss[task][-1] == pytest.approx(surface.point_loss[name][task], abs=1e-6)
        assert len(set(path.loss[task].tolist())) > 6            # the weights do move
    assert (path.residual >= 0).all() and (path.residual <= 1 + 1e-12).all()


def test_the_models_that_span_the_plane_lie_in_it_and_the_third_does_not(real):
    surface = real[-1]
    assert surface.info["in_plane"] == [ORIGIN, "full", "adapter"] and 0 <= surface.info["gap"] < 1e-6
    assert max(surface.residuals[name] for name in surface.info["in_plane"]) < 1e-6 and surface.residuals["frozen"] > 0.1
    assert surface.trajectories["full"].residual[-1] < 1e-6 and surface.trajectories["adapter"].residual[-1] < 1e-6


def test_the_surface_does_not_depend_on_the_workers(real):
    family, probe, plane, surface = real
    alone = measure_surface(family.space, plane, {ORIGIN: family.start}, {}, probe, 5, 1,
                            tuple((axis[0], axis[-1]) for axis in (surface.a, surface.b)))
    assert all(np.array_equal(alone.loss[task], surface.loss[task]) for task in surface.loss)
    assert alone.point_loss[ORIGIN] == surface.point_loss[ORIGIN]


def test_the_file_holds_the_whole_surface(real):
    surface = real[-1]
    surface.trajectories["full"].texts[:] = ["one", "two"]
    again = Surface.of({name: array.copy() for name, array in surface.arrays().items()}, json.loads(json.dumps(surface.meta())))
    assert json.loads(json.dumps(again.meta())) == json.loads(json.dumps(surface.meta()))
    assert again.arrays().keys() == surface.arrays().keys()
    assert all(np.array_equal(array, surface.arrays()[name]) for name, array in again.arrays().items())
    assert list(again.loss) == list(surface.loss) and list(again.trajectories) == list(surface.trajectories)
    assert list(again.points) == list(surface.points) and again.max_residual == surface.max_residual
    assert again.checks() == surface.checks() and again.trajectories["full"].texts == ["one", "two"]


def test_the_checks_tell_how_far_the_picture_can_be_believed(real):
    surface = real[-1]
    checks = "\n".join(surface.checks())
    assert f"{surface.info['gap']:.1e}" in checks and "not numbers: 0 of 50" in checks
    for name in ENDS:
        assert f"{surface.distances[name]:.2f}" in checks and f"{surface.trajectories[name].residual.max():.2f}" in checks
    assert all(f"{value:.3f}" in checks for value in surface.cosines.values())
