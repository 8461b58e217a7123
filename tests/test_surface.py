"""Is the picture right? The plane holds its three models, every grid point is the model it says, paths are projected honestly."""

import hashlib
import json

import numpy as np
import pytest

from minillm.finetune.methods import BottleneckAdapter, Full, Partial
from minillm.finetune.store import load
from minillm.nn import GPT, IGNORE, Config, CrossEntropy
from minillm.nn.gradcheck import shake
from minillm.phases import finetune, pretrain, read_trajectory, surface
from minillm.surface import measure
from minillm.surface.data import Surface
from minillm.surface.measure import Space, count, each_point, fixed_batches, grid_axis, mean_loss, measure_surface
from minillm.surface.plane import Plane, cosine
from minillm.surface.recorder import Recorder
from minillm.train.checkpoint import CheckpointError, read_arrays, write_arrays
from minillm.train.muon import Muon
from minillm.train.optimizers import SGD, AdamW
from minillm.train.tasks import CONTEXT, SpecialTask, TextTask, WorldTask
from minillm.train.trainer import Trainer

STEPS, GRID = 12, 5
CONFIG = {"context": CONTEXT, "n_layer": 2, "n_head": 2, "n_embd": 12}
ENDS = ("full", "adapter", "frozen")


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A folder with a tiny pretrained model, three specialists and their surface; {name of a file: hash before the surface}."""
    folder = tmp_path_factory.mktemp("story")
    novels = SpecialTask("novel", 2, 8)
    base = pretrain(WorldTask(2), CONFIG, folder / "pretrained.npz", optimizer=Muon(), steps=15, batch=4, seed=2)
    for recipe, lr in ((Full(), 3e-3), (Partial(), 5e-3), (BottleneckAdapter(4), 1e-2)):
        finetune(base, folder / "pretrained.npz", novels, recipe, folder / f"{recipe.method}.npz", optimizer=AdamW(lr),
                 steps=STEPS, batch=4, seed=2)
    before = {path.name: digest(path) for path in folder.iterdir()}
    return folder, surface(folder, GRID), before


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tasks_of_story():
    return {"novel": fixed_batches(SpecialTask("novel", 2, 8).probe()), "general": fixed_batches(WorldTask(2).probe())}


def small_gpt(dtype=np.float32):
    rng = np.random.default_rng(5)
    model = GPT(Config(11, 7, 2, 2, 12), rng, dtype)
    shake(model, rng)
    return model


# ---- the plane

@pytest.fixture
def three(rng):
    """Three points of a space of 300 dimensions, far from its origin."""
    return 10 * rng.normal(size=300) + rng.normal(size=(3, 300))


def test_the_axes_are_of_length_one_and_at_right_angles(three):
    plane = Plane(*three)
    assert [plane.u @ plane.u, plane.v @ plane.v, plane.u @ plane.v] == pytest.approx([1, 1, 0], abs=1e-12)


def test_the_three_points_lie_in_the_plane(three):
    plane = Plane(*three)
    for point in three:
        (a, b), residual = plane.project(point)
        assert residual < 1e-12
        np.testing.assert_allclose(plane.at(a, b), point, rtol=0, atol=1e-12)
    assert plane.project(three[0]) == ((0.0, 0.0), 0.0)
    (a, b), _ = plane.project(three[1])
    assert a == pytest.approx(np.linalg.norm(three[1] - three[0])) and b == pytest.approx(0, abs=1e-12)
    (a, b), _ = plane.project(three[2])
    assert b > 0 and np.hypot(a, b) == pytest.approx(np.linalg.norm(three[2] - three[0]))


def test_coordinates_survive_the_round_trip(three):
    plane = Plane(*three)
    for ab in [(0.3, -2.0), (-5.0, 0.0), (1e-3, 4.0)]:
        found, residual = plane.project(plane.at(*ab))
        assert found == pytest.approx(ab, abs=1e-12) and residual < 1e-10


def test_coordinates_are_distances_between_weights(three):
    plane = Plane(*three)
    assert np.linalg.norm(plane.at(3, 4) - plane.at(0, 0)) == pytest.approx(5)
    assert np.linalg.norm(plane.at(1, 2) - plane.at(4, -2)) == pytest.approx(5)


@pytest.mark.parametrize("beside", [0.0, 0.5, 3.0, 100.0])
def test_the_residual_is_the_part_that_the_plane_does_not_show(beside, three, rng):
    plane = Plane(*three)
    off = rng.normal(size=300)
    off -= plane.u * (off @ plane.u) + plane.v * (off @ plane.v)
    off /= np.linalg.norm(off)
    ab, residual = plane.project(plane.at(1.5, -2.0) + beside * off)
    assert ab == pytest.approx((1.5, -2.0), abs=1e-10)
    assert residual == pytest.approx(beside / np.hypot(2.5, beside), abs=1e-10)


def test_the_residual_is_a_share_whatever_the_length_of_the_way(three, rng):
    plane, off = Plane(*three), rng.normal(size=300)
    residuals = [plane.project(three[0] + length * (plane.u + off))[1] for length in (1e-3, 1.0, 1e3)]
    assert residuals == pytest.approx([residuals[1]] * 3, rel=1e-6) and 0.5 < residuals[1] < 1


def test_a_point_straight_above_the_origin_is_not_shown_at_all(three, rng):
    plane = Plane(*three)
    off = rng.normal(size=300)
    off -= plane.u * (off @ plane.u) + plane.v * (off @ plane.v)
    ab, residual = plane.project(three[0] + off)
    assert ab == pytest.approx((0, 0), abs=1e-10) and residual == pytest.approx(1)


def test_models_in_float32_are_as_good(three):
    plane = Plane(*three.astype(np.float32))
    assert abs(plane.u @ plane.v) < 1e-12 and plane.u.dtype == plane.v.dtype == np.float64
    assert plane.project(three[2].astype(np.float32))[1] < 1e-7


@pytest.mark.parametrize("first, second, told", [
    (0, 2, "the same"), (1, 0, "the same|one line"), (1, 1, "one line"), ("half", 1, "one line"), ("back", 1, "one line")])
def test_three_models_on_one_line_are_refused(first, second, told, three):
    points = {0: three[0], 1: three[1], 2: three[2], "half": (three[0] + three[1]) / 2, "back": 2 * three[0] - three[1]}
    with pytest.raises(ValueError, match=told):
        Plane(three[0], points[first], points[second])


def test_cosine(rng):
    x = rng.normal(size=20)
    assert cosine(x, 3 * x) == pytest.approx(1) and cosine(x, -x) == pytest.approx(-1)
    assert cosine(np.array([1.0, 0]), np.array([1.0, 1])) == pytest.approx(2 ** -0.5)
    assert np.isnan(cosine(x, 0 * x))


# ---- the grid

@pytest.mark.parametrize("points", [3, 4, 5, 25])
def test_the_axis_holds_both_ends_with_a_margin(points):
    axis = grid_axis([1.0, -2.0, 0.5], points, margin=0.25)
    assert len(axis) == points
    assert axis[0] == pytest.approx(-2.75) and axis[-1] == pytest.approx(1.75)
    np.testing.assert_allclose(np.diff(axis), 4.5 / (points - 1), rtol=1e-12)


class Plain(Space):
    """A space whose losses are formulas of the coordinates (set as `formulas`), so every grid point is known by its value."""

    formulas = {}

    def losses(self, theta, tasks):
        return {task: self.formulas[task](theta.astype(np.float64)) for task in tasks}


def synthetic(monkeypatch, rng, points=4, workers=2, ways=None):
    """measure_surface of a small GPT with two ends, and losses that are linear in the plane's own coordinates."""
    model = small_gpt(np.float64)
    ends = {"full": {"ln_f.weight": model.ln_f.weight.data + rng.normal(size=12)},
            "adapter": {"wpe.weight": model.wpe.weight.data + rng.normal(size=(7, 12)),
                        "ln_f.weight": model.ln_f.weight.data + rng.normal(size=12)}}
    space = Space(model)
    plane = Plane(space.start, *(space.vector(arrays) for arrays in ends.values()))
    coordinates = lambda theta: plane.project(theta)[0]
    Plain.formulas = {"new": lambda theta: coordinates(theta)[0] + 100 * coordinates(theta)[1],
                      "old": lambda theta: 7 - coordinates(theta)[1]}
    monkeypatch.setattr(measure, "Space", Plain)
    tasks = {task: fixed_batches([[1, 2, 3, 4]]) for task in ("new", "old")}
    return measure_surface(model, ends, ways or {}, tasks, points, workers), plane, space, ends


@pytest.mark.parametrize("points", [3, 4, 7])
@pytest.mark.parametrize("workers", [1, 3])
def test_every_value_lands_at_its_own_place(points, workers, monkeypatch, rng):
    """S[j, i] belongs to b[j], a[i]: no row is shifted, no index dropped, no axis swapped."""
    found, *_ = synthetic(monkeypatch, rng, points, workers)
    assert found.a.shape == found.b.shape == (points,)
    a, b = np.meshgrid(found.a, found.b)
    assert a[1, 2] == found.a[2] and b[1, 2] == found.b[1]
    np.testing.assert_allclose(found.loss["new"], a + 100 * b, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.loss["old"], 7 - b, rtol=0, atol=1e-9)


def test_all_models_lie_inside_the_grid(monkeypatch, rng):
    found, *_ = synthetic(monkeypatch, rng)
    for a, b in found.points.values():
        assert found.a[0] < a < found.a[-1] and found.b[0] < b < found.b[-1]


def test_points_and_paths_are_in_the_units_of_the_grid(monkeypatch, rng):
    model = small_gpt(np.float64)
    start, goal = model.ln_f.weight.data.copy(), model.ln_f.weight.data + np.arange(12.0)
    way = [0, 3, 9], [{"ln_f.weight": start + t * (goal - start)} for t in (0, 0.5, 2.0)]
    found, plane, space, ends = synthetic(monkeypatch, rng, ways={"full": way})
    path = found.paths["full"]
    assert path.steps.tolist() == [0, 3, 9] and path.ab.shape == (3, 2) and path.residual.shape == (3,)
    for ab, residual, arrays in zip(path.ab, path.residual, way[1]):
        (a, b), rho = plane.project(space.vector(arrays))
        assert ab == pytest.approx((a, b), abs=1e-12) and residual == pytest.approx(rho, abs=1e-12)
    np.testing.assert_allclose(path.ab[2], 4 * path.ab[1], atol=1e-10)
    np.testing.assert_allclose(path.loss["new"], path.ab[:, 0] + 100 * path.ab[:, 1], atol=1e-9)
    assert found.points["full"] == pytest.approx((found.distances["full"], 0), abs=1e-10)
    assert np.hypot(*found.points["adapter"]) == pytest.approx(found.distances["adapter"])
    assert found.cosines["full,adapter"] == pytest.approx(found.points["adapter"][0] / found.distances["adapter"])


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_each_point_answers_in_order(workers, monkeypatch):
    Plain.formulas = {"new": lambda theta: theta[0]}
    points = [lambda i=i: np.array([float(i)]) for i in range(23)]
    monkeypatch.setattr(measure, "Space", Plain)
    assert [found["new"] for found in each_point(Plain(small_gpt()), points, {"new": None}, workers)] == list(range(23))


# ---- the loss at a point

def test_the_loss_is_that_of_training_without_the_tag():
    model, documents = small_gpt(np.float64), [[1, 2, 3, 4, 5], [5, 6, 7], [1, 9, 10, 3], [8, 8, 8, 8, 8, 8], [2, 4, 6, 8]]
    batches = fixed_batches(documents, rows=2)
    assert [len(tokens) for tokens, _ in batches] == [2, 2, 1]
    n = sum(len(ids) - 2 for ids in documents)                   # neither the first token nor the tag
    assert count(batches) == n
    total = sum(CrossEntropy().forward(model.logits(tokens), targets, n)[0] for tokens, targets in batches)
    assert mean_loss(model, batches) == pytest.approx(total, rel=1e-12)
    assert all((targets[:, 0] == IGNORE).all() for _, targets in batches)


def test_a_space_holds_the_weights_of_a_copy():
    model = small_gpt()
    space = Space(model)
    before = {name: array.copy() for name, array in model.state().items()}
    theta = space.vector({"ln_f.bias": np.full(12, 3.0)})
    assert theta.shape == space.start.shape and (theta != space.start).sum() == 12
    batches = fixed_batches([[1, 2, 3, 4]])
    changed = space.losses(theta, {"new": batches})["new"]
    model.ln_f.bias.data[...] = 3
    assert changed == mean_loss(model, batches)
    model.ln_f.bias.data[...] = before["ln_f.bias"]
    assert space.losses(space.start, {"new": batches})["new"] == mean_loss(model, batches)
    assert all(np.array_equal(model.state()[name], array) for name, array in before.items())
    with pytest.raises(KeyError):
        space.vector({"ln_g.bias": np.zeros(12)})


# ---- a real surface

@pytest.mark.parametrize("task", ["novel", "general"])
@pytest.mark.parametrize("name", ["pretrained", "full", "adapter"])
def test_the_plane_at_a_model_has_the_loss_of_that_model(name, task, story):
    """Rebuilt here from the files alone: the body moves along one axis, the adapters along the other."""
    folder, found, _ = story
    base, full, adapter = (load(folder / f"{kind}.npz").model for kind in ("pretrained", "full", "adapter"))
    batches = tasks_of_story()[task]
    apart = mean_loss({"pretrained": base, "full": full, "adapter": adapter}[name], batches)
    assert found.point_loss[name][task] == pytest.approx(apart, abs=1e-6)

    start = {key: array[0] for key, array in read_arrays(folder / "adapter.trajectory.npz")[0].items()}
    origin = load(folder / "adapter.npz").model
    for key, p in origin.parameters().items():
        p.data[...] = base.state()[key] if key in base.state() else start[key]
    space = Space(origin)
    plane = Plane(space.start, space.vector(full.state()), space.vector(adapter.state()))
    assert space.losses(plane.at(*found.points[name]), {task: batches})[task] == pytest.approx(apart, abs=1e-6)
    j, i = 1, 3
    here = space.losses(plane.at(found.a[i], found.b[j]), {task: batches})[task]
    assert found.loss[task][j, i] == pytest.approx(here, abs=1e-6)


def test_the_surface_was_measured_where_it_says(story):
    _, found, _ = story
    assert list(found.loss) == ["novel", "general"]              # the new task first
    assert all(S.shape == (GRID, GRID) and np.isfinite(S).all() and np.ptp(S) > 0.01 for S in found.loss.values())
    assert list(found.points) == ["pretrained", "full", "adapter", "frozen"] and found.points["pretrained"] == (0.0, 0.0)
    assert found.facts["chance"] == pytest.approx(np.log(load(story[0] / "pretrained.npz").model.config.vocab_size))
    assert found.facts["tokens"] == {task: count(batches) for task, batches in tasks_of_story().items()}
    assert found.facts["seed"] == 2


def test_distances_and_cosines_are_those_of_the_weights(story):
    folder, found, _ = story
    weights = {name: load(folder / f"{name}.npz").model.state() for name in ("pretrained", *ENDS)}
    start = {key: array[0] for key, array in read_arrays(folder / "adapter.trajectory.npz")[0].items()}
    ways = {}
    for name in ENDS:
        moved = [np.float64(array) - weights["pretrained"].get(key, start.get(key)) for key, array in weights[name].items()]
        ways[name] = dict(zip(weights[name], moved))
        assert found.distances[name] == pytest.approx(np.sqrt(sum((way ** 2).sum() for way in moved)), rel=1e-6)
    for pair, value in found.cosines.items():
        x, y = pair.split(",")
        dot = sum((ways[x][key] * ways[y][key]).sum() for key in ways[x].keys() & ways[y].keys())
        assert value == pytest.approx(dot / found.distances[x] / found.distances[y], abs=1e-6)
    norm = np.sqrt(sum((np.float64(array) ** 2).sum() for array in [
        *weights["pretrained"].values(), *(array for key, array in start.items() if ".adapter." in key)]))
    assert found.facts["norm"] == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("name", ENDS)
def test_every_path_starts_at_the_origin_and_ends_at_its_model(name, story):
    _, found, _ = story
    path = found.paths[name]
    assert path.steps[0] == 0 and path.steps[-1] == STEPS
    assert path.ab[0].tolist() == [0, 0] and path.residual[0] == 0
    assert path.ab[-1] == pytest.approx(found.points[name], abs=1e-9)
    for task in found.loss:
        assert path.loss[task][0] == pytest.approx(found.point_loss["pretrained"][task], abs=1e-6)
        assert path.loss[task][-1] == pytest.approx(found.point_loss[name][task], abs=1e-6)
        assert len(set(path.loss[task].tolist())) > STEPS // 2   # the weights do move


def test_the_ends_of_the_two_models_that_span_the_plane_lie_in_it(story):
    _, found, _ = story
    assert found.paths["full"].residual[-1] < 1e-6 and found.paths["adapter"].residual[-1] < 1e-6
    assert found.paths["frozen"].residual[-1] > 0.1              # and the third does not, and says so
    assert found.max_residual == max(path.residual.max() for path in found.paths.values())
    assert all((path.residual >= 0).all() and (path.residual <= 1 + 1e-12).all() for path in found.paths.values())


def test_every_grid_point_is_measured_on_the_same_tokens(story, monkeypatch):
    seen = []
    real = measure.mean_loss

    def noted(model, batches):
        seen.append(hashlib.sha256(b"".join(array.tobytes() for batch in batches for array in batch)).hexdigest())
        return real(model, batches)

    monkeypatch.setattr(measure, "mean_loss", noted)
    folder = story[0]
    again = surface(folder, 3, workers=1)                        # in this process, where calls can be noted
    wanted = [hashlib.sha256(b"".join(array.tobytes() for batch in batches for array in batch)).hexdigest()
              for batches in tasks_of_story().values()]
    assert set(seen) == set(wanted) and len(set(wanted)) == 2
    assert seen.count(wanted[0]) == seen.count(wanted[1]) >= 9 + 4 + 3 * (STEPS + 1)
    np.testing.assert_allclose(again.loss["novel"][::2, ::2], story[1].loss["novel"][::4, ::4], atol=1e-6)      # the corners
    surface(folder, GRID)                                        # leave the file as the fixture made it


def test_measuring_leaves_every_model_as_it_was(story):
    folder, _, before = story
    assert {path.name: digest(path) for path in folder.iterdir() if path.name != "surface.npz"} == before


def test_the_surface_does_not_depend_on_the_workers(story):
    folder, found, _ = story
    alone = surface(folder, GRID, workers=1)
    assert all(np.array_equal(alone.loss[task], found.loss[task]) for task in found.loss)
    assert alone.point_loss == found.point_loss


def test_the_file_holds_the_whole_surface(story):
    folder, found, _ = story
    arrays, meta = read_arrays(folder / "surface.npz")
    assert meta.pop("kind") == "surface"
    again = Surface.of(arrays, {key: meta[key] for key in found.meta()})
    assert json.loads(json.dumps(again.meta())) == json.loads(json.dumps(found.meta()))
    assert again.arrays().keys() == found.arrays().keys()
    assert all(np.array_equal(array, found.arrays()[name]) for name, array in again.arrays().items())
    assert list(again.loss) == list(found.loss) and list(again.paths) == list(found.paths)
    assert list(again.points) == list(found.points) and again.max_residual == found.max_residual
    again.a[0] = 99
    assert found.a[0] != 99


def test_the_checks_tell_how_far_the_picture_can_be_believed(story):
    _, found, _ = story
    assert 0 <= found.facts["gap"] < 1e-6
    told = "\n".join(found.checks())
    assert f"{found.facts['gap']:.1e}" in told
    for name in ENDS:
        assert f"{found.distances[name]:.2f}" in told and f"{found.paths[name].residual.max():.2f}" in told
    assert all(f"{value:.3f}" in told for value in found.cosines.values())


def test_every_method_is_recorded_step_by_step(story):
    folder, _, _ = story
    for name in ENDS:
        steps, snapshots = read_trajectory(folder / f"{name}.trajectory.npz")
        assert steps == list(range(STEPS + 1)) and len(snapshots) == STEPS + 1
        end, start = load(folder / f"{name}.npz").model.state(), load(folder / "pretrained.npz").model.state()
        for key, array in snapshots[-1].items():
            assert np.array_equal(array, end[key]), key
        assert all(np.array_equal(array, start[key]) for key, array in snapshots[0].items() if key in start)


def test_a_recorder_keeps_copies_each_few_steps_the_start_included(rng):
    model = small_gpt()
    model.trainable = False
    model.ln_f.trainable = True
    recorder = Recorder(3)
    trainer = Trainer(model, SGD(0.1), workers=1, on_step=recorder)
    recorder(trainer)
    kept = [model.ln_f.bias.data.copy()]
    for step in range(1, 9):
        trainer.step(rng.integers(0, 11, (2, 5)), rng.integers(0, 11, (2, 5)))
        if step % 3 == 0:
            kept.append(model.ln_f.bias.data.copy())
    arrays = recorder.arrays()
    assert arrays.keys() == {"steps", "ln_f.weight", "ln_f.bias"} and arrays["steps"].tolist() == [0, 3, 6]
    assert np.array_equal(arrays["ln_f.bias"], kept) and len({array.tobytes() for array in arrays["ln_f.bias"]}) == 3


@pytest.mark.parametrize("steps", [7, 25, 47])
def test_the_last_step_is_recorded_whatever_the_number_of_steps(steps, tmp_path):
    """Or the path would end short of its model."""
    text = tmp_path / "text.txt"
    text.write_text("abcdefghij \n" * 20)
    base = pretrain(TextTask(text, workers=1), CONFIG | {"context": 8}, tmp_path / "pretrained.npz", optimizer=AdamW(), steps=2,
                    batch=2, workers=1)
    finetune(base, tmp_path / "pretrained.npz", TextTask(text, base.tokenizer, 1), Partial(), tmp_path / "frozen.npz",
             optimizer=AdamW(), steps=steps, batch=2, workers=1)
    found, snapshots = read_trajectory(tmp_path / "frozen.trajectory.npz")
    end = load(tmp_path / "frozen.npz").model.state()
    assert found[0] == 0 and found[-1] == steps
    assert all(np.array_equal(array, end[key]) for key, array in snapshots[-1].items())
    assert len(found) <= 50


# ---- texts of one's own

@pytest.mark.parametrize("context", [16, 64])
def test_a_surface_of_models_of_a_text(context, tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "runs"
    for name, letters in (("one", "abcdefgh "), ("two", "hgfedcab ")):
        (tmp_path / f"{name}.txt").write_text("".join(rng.choice(list(letters), 2000)))
    task = TextTask(tmp_path / "one.txt")
    base = pretrain(task, CONFIG | {"context": context}, folder / "pretrained.npz", optimizer=AdamW(1e-2), steps=3, batch=2)
    for recipe in (Full(), BottleneckAdapter(2)):
        finetune(base, folder / "pretrained.npz", TextTask(tmp_path / "two.txt", base.tokenizer), recipe,
                 folder / f"{recipe.method}.npz", optimizer=AdamW(1e-2), steps=3, batch=2)
    found = surface(folder, 3)
    assert list(found.loss) == ["two", "one"] and found.point_loss["full"]["two"] > 0


# ---- what is missing or does not belong together

def copied(story, tmp_path):
    for path in story[0].iterdir():
        if path.name != "surface.npz":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", ["pretrained.npz", "full.npz", "adapter.npz", "full.trajectory.npz"])
def test_a_missing_file_is_named(name, story, tmp_path):
    folder = copied(story, tmp_path)
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        surface(folder, 3)
    assert not (folder / "surface.npz").exists()


def test_without_a_frozen_model_there_is_a_surface_all_the_same(story, tmp_path):
    folder = copied(story, tmp_path)
    (folder / "frozen.npz").unlink()
    found = surface(folder, 3)
    assert list(found.points) == ["pretrained", "full", "adapter"] and list(found.paths) == ["full", "adapter"]


def test_a_trajectory_that_is_something_else_is_refused(story, tmp_path):
    folder = copied(story, tmp_path)
    write_arrays(folder / "full.trajectory.npz", {"steps": np.arange(3)}, {"kind": "surface"})
    with pytest.raises(CheckpointError, match="holds a surface, not a recorded trajectory"):
        surface(folder, 3)


def test_specialists_of_another_base_are_refused(story, tmp_path):
    """A full model that came from elsewhere would span a plane that means nothing."""
    folder = copied(story, tmp_path)
    arrays, meta = read_arrays(folder / "full.npz")
    write_arrays(folder / "full.npz", arrays, meta | {"base": meta["base"] | {"fingerprint": "0" * 16}})
    with pytest.raises(CheckpointError, match="another base|fingerprint"):
        surface(folder, 3)
