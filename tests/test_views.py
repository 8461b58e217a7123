"""From a folder to a surface: every view, what is kept and never measured twice, and what is refused in a sentence."""

import shutil

import numpy as np
import pytest

from minillm.finetune.methods import BottleneckAdapter, Full, PromptTuning
from minillm.ground.arrays import read_arrays, write_arrays
from minillm.ground.files import CheckpointError
from minillm.runs.finetuning import finetune
from minillm.runs.pretraining import pretrain
from minillm.runs.saved import load
from minillm.surface import cache, views
from minillm.surface.family import ORIGIN, read_family
from minillm.surface.plane import Plane
from minillm.surface.sharpness import Eigen
from minillm.surface.space import Space
from minillm.surface.views import line, surface
from minillm.tasks.special import SpecialTask
from minillm.tasks.text import TextTask
from minillm.train.optimizers import AdamW
from minillm.train.recorder import read_trajectory

ENDS = ["full", "adapter", "frozen"]


@pytest.fixture(scope="module")
def folder(story, tmp_path_factory):
    """The story in a folder of its own, whose surfaces may be counted."""
    return copied(story, tmp_path_factory.mktemp("views"))


@pytest.fixture
def spoilt(story, tmp_path):
    """A copy that may be damaged."""
    return copied(story, tmp_path / "copy")


def copied(story, folder):
    folder.mkdir(exist_ok=True)
    for path in story.glob("*.npz"):
        shutil.copy(path, folder)
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Curves of few steps and texts of few words."""
    monkeypatch.setattr(views, "CURVE_STEPS", 6)
    monkeypatch.setattr(views, "SAMPLE", 4)


def same(x, y):
    assert x.arrays().keys() == y.arrays().keys()
    assert all(np.array_equal(array, y.arrays()[name], equal_nan=True) for name, array in x.arrays().items())
    assert x.checks() == y.checks()


# ---- every view

def test_three_points(folder):
    landscape = surface(folder, "three", ENDS, 3)
    assert list(landscape.points) == [ORIGIN, *ENDS] and list(landscape.trajectories) == ENDS
    assert landscape.info["in_plane"] == [ORIGIN, "full", "adapter"] and landscape.info["gap"] < 1e-6
    assert landscape.info["labels"] == ["the body moves", "what was inserted moves"] and landscape.info["view"] == "three"
    assert all(len(path.texts) == len(path.steps) == 13 and any(path.texts) for path in landscape.trajectories.values())


def test_without_names_all_that_are_there(folder):
    assert list(surface(folder, points=3).trajectories) == ENDS


def test_principal_components(folder):
    alone, together = surface(folder, "pca", ["full"], 3), surface(folder, "pca", ["full", "frozen"], 3)
    assert alone.info["origin"] == "full" and together.info["origin"] == ORIGIN
    assert "PC1" in alone.info["labels"][0] and "random walks" in alone.checks()[0]
    assert alone.points["full"] == (0.0, 0.0) and alone.trajectories["full"].residual[:6].max() < 0.7


def test_a_run_gone_astray_does_not_choose_the_directions(spoilt):
    arrays, meta = read_arrays(spoilt / "frozen.trajectory.npz")
    write_arrays(spoilt / "frozen.trajectory.npz", arrays, meta | {"history": meta["history"] | {"loss": [4.0, 5.0]}})
    landscape, without = surface(spoilt, "pca", ENDS, 3), surface(spoilt, "pca", ["full", "adapter"], 3)
    assert landscape.info["labels"] == without.info["labels"]
    assert landscape.points["full"] == pytest.approx(without.points["full"])
    assert any(note.startswith("frozen ended worse") for note in landscape.info["notes"]) and "frozen" in landscape.trajectories


def test_random_directions(folder):
    for name in ("full", ORIGIN):
        landscape = surface(folder, "random", [name], 3)
        assert landscape.a.tolist() == landscape.b.tolist() == [-1, 0, 1] and not landscape.trajectories
        assert landscape.loss["novel"][1, 1] == pytest.approx(landscape.point_loss[name]["novel"], abs=1e-6)
        assert landscape.info["origin"] == name and landscape.info["unit"] is False
        assert any("this plane shows" in note for note in landscape.info["notes"])


@pytest.mark.parametrize("centre, others", [("full", [ORIGIN, "adapter"]), (ORIGIN, ["full", "adapter"])])
def test_what_a_random_plane_shows_is_said_of_the_pair_that_was_measured(centre, others, folder, rng):
    """By an orthonormal basis of the plane: the share of |difference|^2 that lies in it."""
    family = read_family(folder, ["full", "adapter"])
    names = [centre] + [name for name in others if name != ORIGIN]
    plane = views.plane_of_random_directions(family, names, None, rng, None).plane
    basis, _ = np.linalg.qr(np.stack([plane.u, plane.v], axis=1))
    notes = [note for note in plane.notes if "squared distance" in note]
    for other, note in zip(sorted(others), sorted(notes), strict=True):
        difference = family.end(other).astype(np.float64) - family.end(centre)
        said, share = float(note.split()[-1]), np.sum((basis.T @ difference) ** 2) / np.sum(difference ** 2)
        assert f"between {centre} and {other}, " in note and said == pytest.approx(share, rel=0.06)


def test_a_run_of_another_seed_is_said_to_have_begun_elsewhere(folder, spoilt):
    """Its inserted weights are other random numbers, at the start too: their difference is nothing that was learned."""
    base = load(spoilt / "pretrained.npz")
    finetune(base, spoilt / "pretrained.npz", SpecialTask("novel", 2, 8, workers=1), BottleneckAdapter(4), spoilt / "other.npz",
             optimizer=AdamW(1e-3), steps=3, batch=2, seed=5, workers=1)
    _, snapshots, _ = read_trajectory(spoilt / "other.trajectory.npz")
    _, first, _ = read_trajectory(spoilt / "adapter.trajectory.npz")
    away, moved = (np.sqrt(sum(np.sum((x[key] - y[key]).astype(np.float64) ** 2) for key in x))
                   for x, y in ((snapshots[0], first[0]), (snapshots[-1], snapshots[0])))
    note = (f"other began with other random numbers than adapter, {away:.2f} away from {ORIGIN}, and moved {moved:.2f} from "
            "there, so distances and angles show not only what was learned")
    assert away > 5 * moved > 0
    names = ["full", "adapter", "other"]
    assert surface(spoilt, "three", names, 3, 1).info["notes"] == [note]
    assert note in surface(spoilt, "pca", names[1:], 3, 1).checks() and note in line(spoilt, names[1:], points=3).checks()
    family = read_family(spoilt, names)
    tokens = np.arange(12).reshape(2, 6)
    began = family.space.vector(family.runs["other"].snapshots[0])
    np.testing.assert_array_equal(family.space.put(began).logits(tokens), base.model.logits(tokens))
    for alone in (["full", "adapter", "frozen"], ["other"], ["full", "other"]):
        assert read_family(spoilt, alone).notes() == []


def test_directions_of_curvature(folder):
    """At the edge the loss still rises half as high as parabolas of these eigenvalues, and those by a nat at most."""
    landscape = surface(folder, "hessian", ["full"], 3)
    top, second, bottom = landscape.info["eigenvalues"]
    assert top >= second >= bottom
    S = landscape.loss["novel"]
    for value, edge, ends in ((top, landscape.a[-1], S[1, [0, 2]]), (second, landscape.b[-1], S[[0, 2], 1])):
        parabola = value * edge ** 2 / 2
        assert 0 < parabola <= 1 + 1e-9 and ends.mean() - S[1, 1] >= 0.5 * parabola - 1e-9
    assert landscape.loss["novel"][1, 1] == pytest.approx(landscape.point_loss["full"]["novel"], abs=1e-6)
    assert list(landscape.trajectories) == ["full"] and list(surface(folder, "hessian", [ORIGIN], 3).trajectories) == []


@pytest.mark.parametrize("bend, length, reach", [(0.0, 50, 1.0), (0.4, 50, 1.0), (0.9, 50, 2 ** -0.5), (100.0, 50, 2 ** -4),
                                                 (0.0, 5, 0.5)])
def test_a_parabola_is_followed_as_far_as_it_holds(bend, length, reach):
    """Of x^2 - bend x^4, half of x^2 is left at x = (2 bend)^-1/2; looked for in steps of the root of two."""
    eigen = Eigen(2.0, np.array([0.0, 1.0]), 0.0)
    distance = views.reach_of_parabola(lambda theta: theta[1] ** 2 - bend * theta[1] ** 4, np.array([length, 0.0]), eigen)
    assert distance == pytest.approx(reach)


def test_where_nothing_curves_upwards_a_map_still_has_an_end():
    eigen = Eigen(-2.0, np.array([0.0, 1.0]), 0.0)
    assert views.reach_of_parabola(lambda theta: -theta[1] ** 2, np.array([50.0, 0.0]), eigen) == pytest.approx(5)


def test_the_plane_of_a_curve(folder):
    for names in (["full", "frozen"], [ORIGIN, "full"]):
        landscape = surface(folder, "curve", names, 3)
        assert landscape.info["in_plane"] == names and list(landscape.points) == names
        along, t = np.array(landscape.info["curve"]), np.array(landscape.info["t"])
        assert along[0] == pytest.approx([0, 0], abs=1e-9) and along[-1] == pytest.approx(landscape.points[names[1]], abs=1e-6)
        assert len(along) == len(t)
        assert (along > [landscape.a[0], landscape.b[0]]).all() and (along < [landscape.a[-1], landscape.b[-1]]).all()


def test_lines_and_curves(folder):
    family = read_family(folder, ["full", "frozen"])
    probe = views.probe_of(family)
    for names, ends in ((None, (ORIGIN, "full")), (["frozen"], (ORIGIN, "frozen")), (["full", "frozen"], ("full", "frozen"))):
        profile = line(folder, names, points=5)
        assert profile.ends == ends and list(profile.loss) == ["straight line"] and profile.t[0] < 0 and profile.t[-1] > 1
        for t, name in zip((0, 1), ends):
            assert profile.loss["straight line"]["novel"][profile.t == t] == pytest.approx(
                family.space.losses(family.end(name), probe)["novel"], abs=1e-12)
    bent = line(folder, ["full", "frozen"], True, 5)
    assert list(bent.loss) == ["straight line", "trained curve"] and bent.t.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert line(folder, None, True, 5).ends == tuple(surface(folder, "curve", points=3).points) == ("full", "adapter")
    assert min(height for tasks in bent.barrier.values() for height in tasks.values()) >= 0


def test_a_prompt_has_views_of_its_own(spoilt):
    """Where it began is no model without a prompt, so it is not called the base."""
    base = load(spoilt / "pretrained.npz")
    finetune(base, spoilt / "pretrained.npz", SpecialTask("novel", 2, 8, workers=1), PromptTuning(3), spoilt / "prompt.npz",
             optimizer=AdamW(0.3), steps=3, batch=2, workers=1)
    assert list(surface(spoilt, "pca", ["prompt"], 3, 1).points) == ["the start", "prompt"]
    assert line(spoilt, ["prompt"], points=3, workers=1).ends == ("the start", "prompt")
    assert line(spoilt, [ORIGIN, "prompt"], True, 3, 1).ends == ("the start", "prompt")
    assert surface(spoilt, "curve", [ORIGIN, "prompt"], 3, 1).info["in_plane"] == ["the start", "prompt"]
    with pytest.raises(ValueError, match="a surface of its own"):
        surface(spoilt, "three", ["full", "prompt"], 3)


@pytest.mark.parametrize("context", [16, 64])
def test_a_surface_of_models_of_a_text(context, tmp_path):
    rng = np.random.default_rng(0)
    runs = tmp_path / "runs"
    for name, letters in (("one", "abcdefgh "), ("two", "hgfedcab ")):
        (tmp_path / f"{name}.txt").write_text("".join(rng.choice(list(letters), 2000)))
    config = {"context": context, "n_layer": 2, "n_head": 2, "n_embd": 12}
    base = pretrain(TextTask(tmp_path / "one.txt", workers=1), config, runs / "pretrained.npz", optimizer=AdamW(1e-2), steps=3,
                    batch=2, workers=1)
    for recipe in (Full(), BottleneckAdapter(2)):
        finetune(base, runs / "pretrained.npz", TextTask(tmp_path / "two.txt", base.tokenizer, 1), recipe,
                 runs / f"{recipe.method}.npz", optimizer=AdamW(1e-2), steps=3, batch=2, workers=1)
    landscape = surface(runs, points=3)
    assert list(landscape.loss) == ["two", "one"] and landscape.point_loss["full"]["two"] > 0
    same(surface(runs, points=3), landscape)
    for name in ("one", "two"):                             # edited since: no surface of these models can be measured on it
        path = tmp_path / f"{name}.txt"
        before = path.read_text()
        path.write_text(before[::-1])
        with pytest.raises(ValueError, match="has changed since the model learned from it"):
            surface(runs, points=3)
        path.write_text(before)
        same(surface(runs, points=3), landscape)


# ---- what is kept

def test_the_second_time_it_is_read(folder, monkeypatch):
    """Of whatever view, and for another style: nothing is measured, no model is even read."""
    asked = [lambda: surface(folder, "three", ENDS, 3), lambda: surface(folder, "curve", ["full", "frozen"], 3),
             lambda: line(folder, ["full", "frozen"], True, 5)]
    first = [ask() for ask in asked]
    before = sorted(path.stat().st_mtime_ns for path in folder.glob("surfaces/*"))
    monkeypatch.setattr(Space, "losses", lambda *args: pytest.fail("it measures again"))
    monkeypatch.setattr(views, "read_family", lambda *args: pytest.fail("it reads models again"))
    for ask, result in zip(asked, first):
        same(ask(), result)
    assert sorted(path.stat().st_mtime_ns for path in folder.glob("surfaces/*")) == before
    assert {path.name.split("-")[0] for path in folder.glob("surfaces/*")} >= {"three", "curve", "bend"}


def test_a_trained_curve_serves_its_line_and_its_plane(spoilt, monkeypatch):
    line(spoilt, ["full", "frozen"], True, 3, 1)
    monkeypatch.setattr(views, "train_curve", lambda *args, **kwargs: pytest.fail("it trains again"))
    surface(spoilt, "curve", ["full", "frozen"], 3, 1)


@pytest.mark.parametrize("other", [dict(points=4), dict(seed=2), dict(names=["adapter", "full"]), dict(view="pca")], ids=str)
def test_other_settings_are_another_surface(other, folder):
    asked = dict(view="three", names=ENDS, points=3, seed=1)
    assert cache.cache_file(folder, *(asked[x] for x in ("view", "names", "points", "seed"))) != cache.cache_file(
        folder, *((asked | other)[x] for x in ("view", "names", "points", "seed")))


@pytest.mark.parametrize("changed", ["pretrained.npz", "full.npz", "adapter.trajectory.npz"])
def test_other_models_are_another_surface(changed, spoilt):
    before = cache.cache_file(spoilt, "three", ENDS, 3, 1)
    arrays, meta = read_arrays(spoilt / changed)
    name = next(name for name in arrays if name != "steps")
    arrays[name] = arrays[name] + 1
    write_arrays(spoilt / changed, arrays, meta)
    assert cache.cache_file(spoilt, "three", ENDS, 3, 1) != before


@pytest.mark.parametrize("kind", ["text", "pairs"])
@pytest.mark.parametrize("owner", ["pretrained", "full", "adapter"])
@pytest.mark.parametrize("view", ["three", "line", "bend"])
def test_another_text_is_another_surface(view, owner, kind, spoilt, tmp_path):
    data, others = tmp_path / "data", tmp_path / "others"
    for path, name in ((data, owner), (others, "frozen")):
        path.write_text("before")
        arrays, meta = read_arrays(spoilt / f"{name}.npz")
        write_arrays(spoilt / f"{name}.npz", arrays, meta | {"task": {"kind": kind, "path": str(path)}})
    before = cache.cache_file(spoilt, view, ["full", "adapter"], 3, 1)
    others.write_text("of a model that is not on it")
    assert cache.cache_file(spoilt, view, ["full", "adapter"], 3, 1) == before
    data.write_text("after")
    assert cache.cache_file(spoilt, view, ["full", "adapter"], 3, 1) != before
    data.write_text("before")
    assert cache.cache_file(spoilt, view, ["full", "adapter"], 3, 1) == before


@pytest.mark.parametrize("how", ["other models", "another kind"])
def test_a_surface_of_other_models_under_this_name_is_refused(how, folder, spoilt):
    """It would be drawn as if it were theirs."""
    surface(folder, "three", ENDS, 3)
    _, there = cache.cache_file(folder, "three", ENDS, 3, 1)
    _, here = cache.cache_file(spoilt, "three", ["adapter", "full"], 3, 1)
    if how == "other models":
        here.parent.mkdir()
        shutil.copy(there, here)
    else:
        write_arrays(here, {}, {"kind": "trajectory"})
    message = "was measured from other models" if how == "other models" else "holds a trajectory, not a surface"
    with pytest.raises(CheckpointError, match=f"{here.name} {message}.*; remove it"):
        surface(spoilt, "three", ["adapter", "full"], 3)
    here.unlink()
    assert surface(spoilt, "three", ["adapter", "full"], 3).info["in_plane"] == [ORIGIN, "adapter", "full"]


class Counted:
    """Grid points that were measured in this process; after `most` of them, Ctrl-C."""

    def __init__(self, monkeypatch, most=None):
        self.n, along = 0, Plane.along

        def counted(plane, a, row, out=None):
            if out is not None:                         # on the grid, and at no single point
                self.n += 1
                if self.n == most:
                    raise KeyboardInterrupt
            return along(plane, a, row, out)

        monkeypatch.setattr(Plane, "along", counted)


def test_an_interrupted_surface_goes_on_where_it_was_and_ends_the_same(folder, spoilt, monkeypatch):
    whole = surface(folder, "three", ENDS, 5, 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Counted(patch, most=14)                         # in the third row of five
        surface(spoilt, "three", ENDS, 5, 1)
    (part,) = (spoilt / "surfaces").iterdir()
    assert read_arrays(part)[0]["rows"].shape == (2, 2, 5)
    with monkeypatch.context() as patch:
        counted = Counted(patch)
        again = surface(spoilt, "three", ENDS, 5, 1)
    assert counted.n == 15                              # the two rows that were done are not done again
    same(again, whole)
    assert not part.exists() and len(list((spoilt / "surfaces").iterdir())) == 1


def test_rows_of_another_surface_are_not_continued(folder, spoilt, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Counted(patch, most=14)
        surface(spoilt, "three", ENDS, 5, 1)
    counted = Counted(monkeypatch)
    surface(spoilt, "three", ["full", "frozen"], 5, 1)
    assert counted.n == 25


def test_measuring_leaves_every_model_as_it_was(folder, story):
    surface(folder, points=3)
    for path in story.glob("*.npz"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in story.glob("*.npz")} | {"surfaces"}


# ---- what is missing or does not belong together

@pytest.mark.parametrize("name", ["pretrained.npz", "full.npz", "adapter.npz", "full.trajectory.npz"])
def test_a_missing_file_is_named(name, spoilt):
    (spoilt / name).unlink()
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        surface(spoilt, "three", ENDS, 3)
    assert not (spoilt / "surfaces").exists()


def test_without_a_third_model_there_is_a_surface_all_the_same(spoilt):
    (spoilt / "frozen.npz").unlink()
    assert list(surface(spoilt, points=3).points) == [ORIGIN, "full", "adapter"]


@pytest.mark.parametrize("names, message", [
    (["full"], "takes 2 fine-tunings"), (["full", "full"], "full, full: each can be named once"),
    (["full", "nobody"], "no fine-tuning 'nobody'"), ([ORIGIN, "full"], "always shows pretrained")])
def test_too_few_or_wrong_names_are_refused(names, message, folder):
    with pytest.raises(ValueError, match=message):
        surface(folder, "three", names, 3)


@pytest.mark.parametrize("names, message", [
    (["full", "full"], "each can be named once"), (["nobody"], "no fine-tuning 'nobody'"), ([ORIGIN], "a line needs two models"),
    ([ORIGIN, ORIGIN], "each can be named once")])
def test_a_line_needs_two_models(names, message, folder):
    with pytest.raises(ValueError, match=message):
        line(folder, names, points=3)


@pytest.mark.parametrize("view", views.VIEWS)
def test_a_folder_without_fine_tunings_is_refused_with_what_to_do(view, tmp_path):
    with pytest.raises(CheckpointError, match=r"has none; make .*minillm finetune --base .*pretrained\.npz"):
        surface(tmp_path, view)


def test_end_points_that_coincide_are_named(spoilt):
    for name in ("npz", "trajectory.npz"):
        shutil.copy(spoilt / f"full.{name}", spoilt / f"twin.{name}")
    with pytest.raises(ValueError, match="full and twin are the same weights"):
        surface(spoilt, "three", ["full", "twin"], 3)
    with pytest.raises(ValueError, match="full and twin are the same weights"):
        surface(spoilt, "curve", ["full", "twin"], 3)


def test_a_run_that_did_not_move_is_named(spoilt):
    arrays, meta = read_arrays(spoilt / "full.npz")
    write_arrays(spoilt / "full.npz", read_arrays(spoilt / "pretrained.npz")[0], meta)
    with pytest.raises(ValueError, match="pretrained and full are the same weights"):
        surface(spoilt, "three", ENDS, 3)
    assert not list(spoilt.glob("surfaces/*"))
