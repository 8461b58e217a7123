"""Pictures on data that is known: nothing is covered, nothing leaves the page, and what is drawn is what was measured."""

from pathlib import Path

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from minillm import draw
from minillm.draw.labels import spread, way_out
from minillm.draw.maps import landscape, numbers
from minillm.surface import data
from minillm.surface.data import Profile, Surface
from minillm.surface.line import barrier

CHANCE = 5.3
TASKS = ("novel", "general")
H = np.diag([0.5, 2.0, 1.0])                                     # curvature of a bowl in three dimensions; the plane shows two
LOW, OLD = np.array([2.5, 0.9, 0.7]), np.array([-0.3, -0.4, 0.0])


def losses(theta):
    """{task: loss} at points (..., 3): one bowl for the new task, a flatter one for the old."""
    theta = np.asarray(theta, float)
    return {task: 0.5 + scale * np.einsum("...i,ij,...j", theta - centre, H, theta - centre)
            for task, centre, scale in (("novel", LOW, 0.5), ("general", OLD, 0.1))}


def way(lr, steps=40, every=4):
    """Gradient descent on the new task from the origin, recorded as a Path."""
    thetas = [np.zeros(3)]
    for _ in range(steps):
        thetas.append(thetas[-1] - lr * H @ (thetas[-1] - LOW))
    thetas = np.array(thetas[::every])
    flat = thetas * [1, 1, 0]
    lengths = np.linalg.norm(thetas, axis=1)
    residual = np.abs(thetas[:, 2]) / np.where(lengths, lengths, 1)
    recorded = np.arange(0, steps + 1, every)
    return data.ProjectedTrajectory(recorded, thetas[:, :2], residual, losses(thetas), losses(flat)), thetas[-1]


def bowl(runs, points=9, extent=((-1.5, 4.5), (-1.2, 2.4)), **info):
    """A Surface of gradient descents.   runs: {name: learning rate}"""
    a, b = (np.linspace(*ends, points + k) for k, ends in enumerate(extent))
    A, B = np.meshgrid(a, b)
    ways = {name: way(lr) for name, lr in runs.items()}
    ends = {"pretrained": np.zeros(3)} | {name: end for name, (_, end) in ways.items()}
    paths = {name: path for name, (path, _) in ways.items()}
    away = [name for name, path in paths.items() if not path.loss["novel"][-1] < CHANCE]
    return Surface(
        a, b, losses(np.stack([A, B, 0 * A], axis=-1)), points={name: end[:2].tolist() for name, end in ends.items()},
        residuals={name: paths[name].residual[-1] if name in paths else 0.0 for name in ends},
        point_loss={name: {task: float(loss) for task, loss in losses(end).items()} for name, end in ends.items()},
        trajectories=paths,
        distances={name: float(np.linalg.norm(end)) for name, end in ends.items() if end.any()}, cosines={},
        info={"view": "three", "seed": 1, "norm": 20.0, "chance": CHANCE, "tokens": dict.fromkeys(TASKS, 384),
               "origin": "pretrained", "unit": True, "labels": ["the body moves", "what was inserted moves"],
               "directions": "the plane through pretrained, full and adapter", "notes": [], "in_plane": ["pretrained"],
               "gap": 0.0, "away": away, "not_numbers": 0} | info)


def three():
    return bowl({"full": 0.3, "adapter": 0.08, "frozen": 0.03})


def with_holes():
    surface = three()
    surface.loss["novel"][-2:, -3:] = np.nan
    surface.loss["general"][0, 0] = np.inf
    surface.info["not_numbers"] = 7
    return surface


def random_view():
    surface = bowl({}, extent=((-3, 3), (-3, 3)), unit=False, labels=["random direction 1", "random direction 2"],
                   notes=["cosine of the two random directions: 0.0012",
                          "dead filters, of length 0, along which nothing moves: 3"])
    surface.points = {"lora-4": [0.0, 0.0]}
    surface.point_loss = {"lora-4": surface.point_loss["pretrained"]}
    surface.residuals = {"lora-4": 0.0}
    surface.info["origin"] = "lora-4"
    return surface


def tiny():
    """Axes of a Hessian view: very short, and a map on which almost nothing happens."""
    surface = bowl({}, extent=((-3, 3), (-1, 1)), labels=["eigenvector 1: curvature 167", "eigenvector 2: curvature 15.9"])
    surface.a, surface.b = surface.a * 1e-3, surface.b * 1e-3
    surface.loss = {task: loss + 1e-4 * (surface.loss[task] - loss) for task, loss in surface.point_loss["pretrained"].items()}
    return surface


def tall():
    """Higher than wide: drawn lying, with a curve between two models that lies down with it."""
    t = np.linspace(0, 1, 21)
    return bowl({"full": 0.3}, extent=((-1, 3), (-2, 9)), notes=["a note that matters"],
                curve=np.stack([2.5 * t, 0.9 * t + 14 * t * (1 - t)], axis=1).tolist())


def lost():
    """A map on which everything is worse than a blind guess."""
    surface = random_view()
    surface.loss = {task: S + 50 for task, S in surface.loss.items()}
    surface.point_loss = {"lora-4": dict.fromkeys(TASKS, 53.0)}
    return surface


RATES = {"lr-0.01": 0.01, "lr-0.05": 0.05, "lr-0.3": 0.3, "lr-0.9": 0.9, "lr-1.05": 1.05}


def fan():
    return bowl(RATES, points=13)


def ruined():
    """One of two ways ends in weights that are no numbers."""
    surface = bowl({"full": 0.3, "lost": 1.3})
    path = surface.trajectories["lost"]
    path.ab[5:] = np.nan
    path.residual[5:] = 1
    for losses_ in (*path.loss.values(), *path.shown.values()):
        losses_[5:] = np.nan
    surface.points["lost"] = [np.nan, np.nan]
    surface.point_loss["lost"] = dict.fromkeys(TASKS, np.nan)
    surface.distances["lost"] = np.nan
    return surface


VIEWS = {f.__name__: f for f in (three, with_holes, random_view, tiny, tall, lost, fan, ruined)}


def between(curve=True):
    t = np.linspace(0, 1, 11) if curve else np.linspace(-0.5, 1.5, 21)
    hill = np.exp(-((t - 0.5) / 0.2) ** 2)
    loss = {"straight line": {"novel": 1.6 - t + 1.2 * hill * curve, "general": 0.5 + 0.4 * t ** 2}}
    if curve:
        loss["trained curve"] = {"novel": 1.6 - t + 0.1 * hill, "general": 0.5 + 0.4 * t ** 2 + 0.3 * hill}
    heights = {name: {task: barrier(t, along) for task, along in tasks.items()} for name, tasks in loss.items()}
    return Profile(("pretrained", "lora-4"), t, loss, heights, {"tokens": dict.fromkeys(TASKS, 384), "notes": [], "seed": 1})


def moves():
    blocks = [(str(k), kind) for k in range(4) for kind in ("attention", "MLP", "norms", "inserted")]
    parts = [("start", "words, positions"), *blocks, ("end", "norms")]
    return {"full": {part: (0.05 * (k + 1), 3.0) for k, part in enumerate(parts)},
            "frozen": {part: (1.2 if part[0] in ("3", "end") else 0.0, 3.0) for part in parts},
            "lora-4": {part: (0.3, 0.0 if part[1] == "inserted" else 4.0) for part in parts}}


def spectra():
    k = np.arange(1, 65)
    runs = {"full": 0.3 / k, "frozen": 0 * k, "lora-4": np.where(k <= 4, 0.3 / np.sqrt(k), 1e-9), "chance": 0.1 - 0.001 * k}
    return {f"block 2, {name}": runs for name in ("attn.qkv", "attn.proj", "mlp.fc", "mlp.proj")}


PICTURES = {name: (draw.surface, make) for name, make in VIEWS.items()} | {
    f"relief of {name}": (draw.relief, make) for name, make in VIEWS.items() if name not in ("fan", "tall", "lost")} | {
    "profile": (draw.profile, between), "profile of a line": (draw.profile, lambda: between(False)),
    "rates": (lambda surface, path, dark=False: draw.fan(surface, RATES, path, dark=dark), fan),
    "movement": (draw.movement, moves), "spectrum": (draw.spectrum, spectra)}
DARK = ("three", "relief of three", "profile", "rates", "movement", "spectrum")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """drawn(name) -> (figure, {text: its box}, pixels (height, width, 3)) as it was saved; each is drawn once."""
    path, texts, kept = tmp_path_factory.mktemp("pictures") / "picture.png", {}, {}
    real_draw, real_save = Text.draw, Figure.savefig

    def note(self, renderer, *args, **kwargs):
        real_draw(self, renderer, *args, **kwargs)
        if self.get_visible() and self.get_text().strip():
            texts[self] = self.get_window_extent(renderer)

    def keep(self, *args, **kwargs):
        texts.clear()
        real_save(self, *args, **kwargs)
        self.clear = lambda: None
        kept["last"] = self

    def picture(name, dark=False):
        if (name, dark) not in kept:
            function, make = PICTURES[name]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Text, "draw", note)
                patch.setattr(Figure, "savefig", keep)
                function(make(), path, dark=dark)
            kept[name, dark] = kept["last"], dict(texts), matplotlib.image.imread(path)[..., :3]
        return kept[name, dark]

    return picture


@pytest.mark.parametrize("name, dark", [(name, False) for name in PICTURES] + [(name, True) for name in DARK])
def test_no_text_covers_another_or_leaves_the_page(name, dark, drawn):
    fig, texts, pixels = drawn(name, dark)
    page = fig.bbox
    for text, box in texts.items():
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text.get_text()
    placed = [(text.get_text(), box.padded(-1)) for text, box in texts.items()]
    for i, (one, box) in enumerate(placed):
        for other, there in placed[i + 1:]:
            assert not box.overlaps(there), f"{one!r} and {other!r}"
    assert min(text.get_size() for text in texts) >= 10                   # readable at half the width
    assert pixels.shape[1] in (640, 1280) and (pixels.mean() < 0.5) == dark


@pytest.mark.parametrize("name", ["three", "relief of three", "rates", "spectrum"])
def test_the_same_numbers_give_the_same_picture(name, drawn, tmp_path):
    """And the file does not say when or by what it was drawn, which would differ."""
    function, make = PICTURES[name]
    path = tmp_path / "again.png"
    function(make(), path)
    assert np.array_equal(matplotlib.image.imread(path)[..., :3], drawn(name)[2])
    assert not any(word in path.read_bytes() for word in (b"tEXt", b"iTXt", b"tIME"))


def test_a_picture_is_written_whole_and_leaves_no_trace(tmp_path):
    before = dict(matplotlib.rcParams)
    draw.surface(three(), tmp_path / "sub" / "picture.png", dark=True)
    assert [path.name for path in Path(tmp_path / "sub").iterdir()] == ["picture.png"]
    assert dict(matplotlib.rcParams) == before


def strings(texts):
    return [text.get_text() for text in texts]


def maps(fig, surface):
    """The axes that show the map of a surface."""
    surface = landscape(surface)
    return [ax for ax in fig.axes if ax.collections and np.allclose(ax.get_xlim(), surface.a[[0, -1]])
            and np.allclose(ax.get_ylim(), surface.b[[0, -1]])]


@pytest.mark.parametrize("name", ["three", "random_view", "tall", "rates"])
def test_every_map_has_its_colour_bar(name, drawn):
    fig, texts, _ = drawn(name)
    axes = maps(fig, PICTURES[name][1]())
    assert len(axes) == (1 if name == "rates" else 2)
    assert all(any(child.get_title(loc="left") == "nats" for child in ax.child_axes) for ax in axes)
    assert strings(texts).count("nats") == len(axes)


def test_colour_bars_tell_levels_apart_and_the_last_that_it_is_cut():
    assert numbers([0.1, 0.2, 3], True) == ["0.10", "0.20", "≥ 3.00"]
    assert numbers([0.5701, 0.5702, 0.5713]) == ["0.5701", "0.5702", "0.5713"]
    assert numbers([0.57, 1.2, 13.24], True) == ["0.57", "1.20", "≥ 13.2"]
    assert numbers([0.570001, 0.570002, 0.5713]) == ["0.5700", "", "0.5713"]


def test_losses_that_are_no_numbers_stay_blank(drawn):
    """No filled contour reaches into a cell with a corner that has no loss."""
    fig, texts, _ = drawn("with_holes")
    surface = with_holes()
    ax = maps(fig, surface)[0]
    filled = ax.collections[0]
    holes = [(a, b) for a in surface.a[-3:] for b in surface.b[-2:]] + [((surface.a[-4] + surface.a[-3]) / 2, surface.b[-1])]
    assert not any(path.contains_point(hole) for path in filled.get_paths() for hole in holes)
    seen = np.mean(surface.a[2:4]), np.mean(surface.b[2:4])
    assert any(path.contains_point(seen) for path in filled.get_paths())
    assert ax.patch.get_hatch() and any("Hatched: 7 of" in text for text in strings(texts))


def test_chance_is_dashed_where_the_map_reaches_it(drawn):
    assert sum(text == "chance 5.3" for text in strings(drawn("random_view")[1])) >= 1
    assert "chance 5.3" not in strings(drawn("tiny")[1])


def test_models_have_letters_if_they_are_known_and_names_in_any_case(drawn):
    assert {"P pretrained", "F full", "A adapter", "frozen"} <= set(strings(drawn("three")[1]))
    assert "lora-4" in strings(drawn("random_view")[1])


def test_the_caption_says_what_has_to_be_known(drawn):
    caption = " ".join(max(strings(drawn("three")[1]), key=len).split())
    for said in ("384 of novel", "seed 1", "the plane through pretrained", "projection error: full 0.", "‖ = ", "% of"):
        assert said in caption.replace("\u00a0", " "), said
    assert "A note that matters." in " ".join(max(strings(drawn("tall")[1]), key=len).split())


def test_a_curve_is_drawn_with_the_straight_line_beside_it(drawn):
    fig, texts, _ = drawn("tall")
    surface = tall()
    curve = np.array(surface.info["curve"])[:, ::-1]            # the map lies on its side
    for ax in maps(fig, surface):
        lines = {line.get_linestyle(): np.array(line.get_data()).T for line in ax.lines if len(line.get_xdata()) == len(curve)}
        np.testing.assert_allclose(lines["-"], curve)
        np.testing.assert_allclose(lines["--"][[0, -1]], curve[[0, -1]])
        np.testing.assert_allclose(np.diff(lines["--"], 2, axis=0), 0, atol=1e-12)
    assert strings(texts).count("trained curve") == strings(texts).count("straight line") == 2


def test_what_leaves_the_map_ends_at_its_frame_with_an_arrow(drawn):
    fig, texts, _ = drawn("rates")
    ax, = maps(fig, fan())
    arrows = [text for text in ax.texts if not text.get_text() and text.arrowprops["arrowstyle"] == "-|>"]
    assert len(arrows) == 1 and "1.05" in strings(texts)
    tip = arrows[0].xy
    gap = min(abs(tip[0] - np.array(ax.get_xlim())).min() / np.ptp(ax.get_xlim()),
              abs(tip[1] - np.array(ax.get_ylim())).min() / np.ptp(ax.get_ylim()))
    assert gap < 1e-6


def test_where_a_way_leaves_a_box():
    box = matplotlib.transforms.Bbox([[0, 0], [10, 10]])
    out, direction = way_out(np.array([[5.0, 5], [5, 8], [9, 16]]), box)
    np.testing.assert_allclose(out, [6, 10])
    np.testing.assert_allclose(direction, np.array([1, 2]) / 5 ** 0.5)
    assert way_out(np.array([[5.0, 5], [20, 5], [6, 6]]), box) is None
    assert way_out(np.array([[20.0, 5], [20, 6]]), box) is None
    assert way_out(np.empty((0, 2)), box) is None


def test_labels_move_apart_and_no_farther():
    np.testing.assert_allclose(spread([0.0, 0.1, 5.0], 1), [-0.45, 0.55, 5])
    np.testing.assert_allclose(spread([3.0, 1.0], 1), [3, 1])


def test_in_relief_paths_run_at_their_true_loss_and_stems_end_on_the_surface(drawn):
    fig, _, _ = drawn("relief of three")
    surface = three()
    boxes = [ax for ax in fig.axes if hasattr(ax, "get_zlim")]
    assert len(boxes) == 2
    for ax, task in zip(boxes, TASKS):
        lines = [np.array(line.get_data_3d()).T for line in ax.lines]
        stems = np.array([line for line in lines if len(line) == 2])
        true = [np.column_stack([path.ab, path.loss[task]]) for path in surface.trajectories.values()]
        for points in true:
            assert any(line.shape == points.shape and np.allclose(line, points) for line in lines)
        np.testing.assert_allclose(stems[:, 0], np.concatenate(true))
        np.testing.assert_allclose(stems[:, 1], np.concatenate([np.column_stack([path.ab, path.shown[task]])
                                                                for path in surface.trajectories.values()]))
        ground = next(several for several in ax.collections if isinstance(several, Poly3DCollection))
        assert not ax.computed_zorder and all(ground.get_zorder() < line.get_zorder() for line in ax.lines)


def test_in_relief_what_is_too_high_is_cut_off_and_said_so(drawn):
    fig, texts, _ = drawn("relief of random_view")
    assert sum("cut off at" in text for text in strings(texts)) == 1      # the old domains' bowl is flat
    surface = random_view()
    for ax, task in zip(fig.axes, TASKS):
        assert surface.point_loss["lora-4"][task] < ax.get_zlim()[1] <= surface.loss[task].max() + 1e-9


def test_barriers_are_pointed_out_and_small_ones_are_not(drawn):
    fig, texts, _ = drawn("profile")
    profile = between()
    new, old = fig.axes
    labels = {ax: [text for text in strings(ax.texts) if text.startswith("barrier")] for ax in (new, old)}
    assert sorted(labels[new]) == sorted(f"barrier {profile.barrier[curve]['novel']:.2f}" for curve in profile.loss)
    assert labels[old] == [f"barrier {profile.barrier['trained curve']['general']:.2f}"]
    assert {"P pretrained", "lora-4", "straight line", "trained curve"} <= set(strings(texts))
    assert not any(text.startswith("barrier") for text in strings(drawn("profile of a line")[1]))


def test_bars_are_as_high_as_parts_moved(drawn):
    fig, texts, _ = drawn("movement")
    for ax, move in zip(fig.axes, moves().values()):
        known = [100 * moved / size for moved, size in move.values() if moved and size]
        heights = [bar.get_height() for bar in ax.patches]
        assert len(heights) == sum(moved > 0 for moved, _ in move.values())
        np.testing.assert_allclose(sorted(heights)[:len(known)], np.minimum(sorted(known), max(known)))
    assert strings(texts).count("new") == 4                      # what began as zero has no per cent


def test_a_spectrum_ends_at_its_rank(drawn):
    fig, texts, _ = drawn("spectrum")
    assert strings(texts).count("lora-4: rank 4") == 4 and strings(texts).count("did not move: frozen") == 4
    for ax in fig.axes:
        assert sorted(len(line.get_xdata()) for line in ax.lines) == [1, 4, 64, 64]       # the one point is the end of lora-4
