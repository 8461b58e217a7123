"""The moving picture: where the weights are at each step, what they lose there, what they write; and nothing else moves."""

import io
import warnings

import numpy as np
import pytest

from minillm.draw.actors import GAP, HIGHEST, LOWEST, LossCurves, MapTrajectory, WrittenTexts, stacked
from minillm.draw.animation import HOLD, animate
from minillm.draw.film import Film
from minillm.draw.film_layout import LINES, short
from minillm.draw.styles import DARK, LIGHT, style
from minillm.surface.data import ProjectedTrajectory, Surface

CHANCE = 5.0
WORDS = "upon one lively and foggy day ben and hugo wandered to the golden village ben beheld the kind net".split()


def losses(a, b):
    """{task: loss} of a bowl for the new task, and another for the old, where nothing was lost yet."""
    return {"novel": 0.5 + 0.1 * ((a - 4) ** 2 + (b - 2) ** 2), "general": 0.5 + 0.04 * (a ** 2 + b ** 2)}


def way(end, steps, rng=None):
    """A straight way from the origin, which the plane shows better and better. With random numbers: writing at each step."""
    steps = np.array(steps)
    ab = np.linspace(0, 1, len(steps))[:, None] * end
    texts = [" ".join(rng.choice(WORDS, 60)) for _ in steps] if rng else []
    shown = {k: 1.1 * S for k, S in losses(*ab.T).items()}
    return ProjectedTrajectory(steps, ab, np.linspace(0.9, 0, len(steps)), losses(*ab.T), shown, texts)


def moving(paths, **info):
    """A Surface with these paths, and a model at the end of each that ends on the map."""
    a, b = np.linspace(-1, 6, 15), np.linspace(-1, 3, 9)
    points = {"pretrained": (0.0, 0.0)} | {name: tuple(path.ab[-1]) for name, path in paths.items() if (path.ab < 9).all()}
    return Surface(
        a, b, losses(*np.meshgrid(a, b)), points, dict.fromkeys(points, 0.0), {name: losses(*ab) for name, ab in points.items()},
        paths, {name: float(np.hypot(*ab)) for name, ab in points.items() if any(ab)}, {}, dict(
            view="three", directions="a plane", labels=["the body moves", "what was inserted moves"], notes=[],
            origin="pretrained", norm=80.0, unit=True, tokens={"novel": 384, "general": 238}, seed=1, chance=CHANCE,
            in_plane=["pretrained"], gap=0.0, not_numbers=0, away=[name for name in paths if name not in points]) | info)


def story(texts=True):
    """Three runs, as the demo has them."""
    rng = np.random.default_rng(3) if texts else None
    return moving({"full": way((4, 2), range(0, 101, 5), rng), "adapter": way((5, 0.5), range(0, 101, 5), rng),
                   "frozen": way((1, 2.5), range(0, 81, 10), rng)})


def lost():
    """A run that leaves the map for places that are no numbers, with losses that are none either."""
    gone = way((4, 2), range(0, 101, 10))
    gone.ab[4:] = [[30, -9], [1e9, -1e9], [1e30, 1e30], [np.inf, -np.inf], [np.nan, np.nan], [np.nan, 0], [np.nan, np.nan]]
    gone.residual[6:] = 1
    for kind in (gone.loss, gone.shown):
        kind["novel"][3:] = [30, 1e3, 1e30, np.inf, np.nan, np.nan, np.nan, np.nan]
        kind["general"][5:] = np.nan
    return moving({"full": way((4, 2), range(0, 101, 10)), "gone": gone})


@pytest.fixture(scope="module")
def film():
    with style():
        return Film(story(), frames=5)


def actors(film, kind):
    return [actor for actor in film.actors if isinstance(actor, kind)]


def written(film):
    """By the first of the runs."""
    return actors(film, WrittenTexts)[0].rows[0][0].get_text()


def pixels(film):
    png = io.BytesIO()
    film.fig.savefig(png, format="rgba", facecolor="none")
    return np.frombuffer(png.getvalue(), np.uint8).reshape(film.still.shape)


# ---- what a frame shows

def test_equal_times_for_equal_steps(film):
    assert film.steps == pytest.approx([0, 25, 50, 75, 100])
    film.show(film.steps[1])
    assert film.clock.get_text() == "step 25 of 100"


@pytest.mark.parametrize("step, part", [(0, 0), (52.5, 0.525), (100, 1)])
def test_the_weights_are_where_their_recorded_way_is(film, step, part):
    film.show(step)
    walker = actors(film, MapTrajectory)[0]
    expected = np.sort(part * np.array((4, 2)))
    assert np.sort(np.ravel(walker.head.get_data())) == pytest.approx(expected)
    way_so_far = np.array(walker.line.get_data())
    assert np.sort(way_so_far[:, 0]) == pytest.approx([0, 0]) and np.sort(way_so_far[:, -1]) == pytest.approx(expected)
    assert len(walker.dots.get_offsets()) == step // 10


def test_losses_grow_up_to_now_and_are_reported(film):
    film.show(52.5)
    for k, task in enumerate(("novel", "general")):
        curves = actors(film, LossCurves)[k]
        now = np.interp(52.5, curves.trajectories["full"].steps, curves.trajectories["full"].loss[task])
        shown, true, head = curves.lines[0]
        assert true.get_xdata()[-1] == 52.5 and true.get_ydata()[-1] == pytest.approx(now) == head.get_ydata()[0]
        np.testing.assert_array_equal(true.get_ydata()[:-1], curves.trajectories["full"].loss[task][:11])
        assert shown.get_ydata()[:-1] == pytest.approx(curves.trajectories["full"].shown[task][:11])
        assert curves.labels[0].get_text() == f"full {now:.2f}"


def test_a_run_that_has_ended_stays_where_it_ended(film):
    film.show(100)
    curves = actors(film, LossCurves)[0]
    assert list(curves.trajectories) == ["full", "adapter", "frozen"]
    assert curves.lines[2][1].get_xdata()[-1] == 80 and curves.lines[2][2].get_xdata()[0] == 80


def test_texts_are_painted_when_they_change(film):
    film.show(0)
    sheet, first = actors(film, WrittenTexts)[0], pixels(film)
    below = len(first) - len(sheet.still.pixels)
    film.show(4)
    same, kept = pixels(film), sheet.still.pixels
    film.show(6)
    assert sheet.still.pixels is not kept
    assert (first[below:, :, 3] > 0).any()
    assert (same[below:] == first[below:]).all() and (pixels(film)[below:] != first[below:]).any()


@pytest.mark.parametrize("step, recorded", [(0, 0), (4.9, 0), (5, 1), (99, 19), (100, 20)])
def test_the_text_is_the_last_that_recorded_weights_wrote(film, step, recorded):
    film.show(step)
    text = written(film)
    full = story().trajectories["full"].texts[recorded]
    assert text.count("\n") == LINES - 1
    assert full.startswith(text.replace("\n", " ").removesuffix(" …"))


def test_texts_are_shown_as_they_are_and_in_few_lines():
    surface = story()
    surface.trajectories["full"].texts = ["", "  a\n\tb  ", "it costs $5 or x_1$", "w" * 500, *["more "] * 17]
    with style():
        film = Film(surface, 2)
        seen = []
        for step in (0, 5, 10, 15):
            film.show(step)
            pixels(film)
            seen.append(written(film))
    assert seen[:3] == ["(nothing)", "a b", "it costs $5 or x_1$"] and seen[3].count("\n") == LINES - 1


def test_a_surface_without_texts_is_lower_and_else_the_same(film):
    with style():
        silent = Film(story(texts=False), 5)
        silent.show(50)
    assert not actors(silent, WrittenTexts) and len(actors(silent, MapTrajectory)) == 6
    assert silent.still.shape[0] < film.still.shape[0] - 100


def test_only_what_moves_is_drawn_anew(film):
    film.show(60)
    assert (pixels(film)[..., 3] == 0).mean() > 0.85


def test_runs_that_leave_the_map_break_nothing():
    surface = lost()
    with style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        film = Film(surface, 11)
        for step in film.steps:
            film.show(step)
            pixels(film)
    new, old = actors(film, LossCurves)
    assert new.labels[1].get_text() == "gone nan" and new.labels[0].get_text() == "full 0.50"
    low, high = new.ax.get_ylim()
    assert 0 < low < high < 1.5 * CHANCE and new.lines[1][2].get_ydata()[0] == high


@pytest.mark.parametrize("heights", [[0, 0, 0], [1, 1, 1], [0.5], [0.02, 0.9, 0.03, 1], [0.4, 0.41, 0.3]])
def test_names_beside_curves_are_apart_and_inside(heights):
    places = stacked(np.array(heights, float))
    assert np.diff(np.sort(places)).min(initial=1) > GAP - 1e-9
    assert places.min() >= LOWEST - 1e-9 and places.max() <= HIGHEST + 1e-9
    assert (np.argsort(places, kind="stable") == np.argsort(heights, kind="stable")).all()


def test_long_names_are_cut():
    assert short("adapter") == "adapter" and len(short("a" * 40)) == 18


def test_nothing_moves_without_paths(tmp_path):
    with pytest.raises(ValueError, match="no trajectories"):
        animate(moving({}), tmp_path / "x.gif")
    assert not list(tmp_path.iterdir())


# ---- the file

@pytest.mark.parametrize("dark, look", [(False, LIGHT), (True, DARK)])
def test_the_gif_holds_its_end_and_keeps_its_ground(dark, look, tmp_path):
    image = pytest.importorskip("PIL.Image")
    animate(story(), tmp_path / "moving.gif", frames=6, fps=10, dark=dark)
    assert (tmp_path / "moving.gif").stat().st_size < 3e6 * 6 / 40
    with image.open(tmp_path / "moving.gif") as gif:
        frames, durations = [], []
        for k in range(gif.n_frames):
            gif.seek(k)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
            durations.append(gif.info["duration"])
    assert durations == [100] * 5 + [100 + 1000 * HOLD] and HOLD >= 1
    paper = [int(look.paper[i:i + 2], 16) for i in (1, 3, 5)]
    for frame in frames:
        assert np.abs(frame[0, 0] - paper).max() <= 1
    height, width = frames[0].shape[:2]
    scale = np.s_[:height // 2, int(0.45 * width):width // 2]             # the colour bar of the left map
    assert all((frame[scale] == frames[0][scale]).all() for frame in frames) and len(np.unique(frames[0][scale])) > 20
    texts = np.s_[-height // 8:]
    for what in (np.s_[:height // 8], np.s_[height // 8:height // 2], np.s_[height // 2:-height // 4], texts):
        assert all((frame[what] != before[what]).any() for frame, before in zip(frames[1:], frames))
