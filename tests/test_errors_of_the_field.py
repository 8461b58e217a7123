"""Mistakes that published pictures of loss surfaces have made. Each check passes here, and fails on the mistake itself.

A check takes an implementation, ours or the faulty one: so it is known that it would notice.
"""

import importlib

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from surfaces import VOCABULARY, Formulas, bowl, small_gpt, some_texts

from minillm.surface.line import barrier, interpolation_points, profile, straight
from minillm.surface.measure import measure_grid, measure_surface, project_trajectories
from minillm.surface.plane import Plane, plane_through
from minillm.surface.space import Probe, Space


def fails(check, *faulty):
    with pytest.raises(AssertionError):
        check(*faulty)


# ---- a grid that drops its last index, or shifts every other row

def check_grid(measure):
    """measure(loss, plane, a, b) -> S (n_b, n_a): each value at its own place, none left out."""
    rng = np.random.default_rng(1)
    plane = Plane(*rng.normal(size=(3, 15)))
    a, b = np.linspace(-1, 2, 4), np.linspace(-3, 1, 5)
    S = measure(lambda theta: plane.project(theta)[0] @ np.array([1, 100]), plane, a, b)
    assert S.shape == (5, 4)
    np.testing.assert_allclose(S, a[None, :] + 100 * b[:, None], rtol=0, atol=1e-9)


def ours_grid(loss, plane, a, b):
    space = Formulas(plane.origin.size, new=loss)
    return measure_grid(space, plane, a, b, space, 1, None)["new"]


def without_the_last(loss, plane, a, b):
    S = np.zeros((len(b), len(a)))
    for j in range(len(b) - 1):
        for i in range(len(a) - 1):
            S[j, i] = loss(plane.at(a[i], b[j]))
    return S


def there_and_back(loss, plane, a, b):
    """Every other row from right to left, so that steps are short; and written as if from left to right."""
    return np.array([[loss(plane.at(x, y)) for x in (a if j % 2 == 0 else a[::-1])] for j, y in enumerate(b)])


def one_place_further(loss, plane, a, b):
    """One counter for all points, which a row's end has moved on by one."""
    S = np.array([[loss(plane.at(x, y)) for x in a] for y in b])
    S[1::2] = np.roll(S[1::2], 1, axis=1)
    return S


def test_a_grid_has_every_point_at_its_place():
    check_grid(ours_grid)


@pytest.mark.parametrize("faulty", [without_the_last, there_and_back, one_place_further])
def test_a_grid_with_lost_or_shifted_points_is_noticed(faulty):
    fails(check_grid, faulty)


# ---- ways in units of d / |d| on a grid in units of d

def check_units(project):
    """project(plane, thetas) -> ab (T, 2): at those coordinates the plane has the very weights, and the grid their loss."""
    rng = np.random.default_rng(2)
    plane = Plane(rng.normal(size=15), 3 * rng.normal(size=15), 0.1 * rng.normal(size=15))
    thetas = [plane.at(*ab) for ab in [(0, 0), (1, 0), (0, 1), (-0.5, 2)]]
    for (a, b), theta in zip(project(plane, thetas), thetas):
        np.testing.assert_allclose(plane.at(a, b), theta, rtol=0, atol=1e-9)


def ours_units(plane, thetas):
    space = Formulas(plane.origin.size, new=bowl(np.eye(15), np.ones(15)))
    makers = [lambda theta=theta: theta for theta in thetas]
    way = project_trajectories(space, plane, {"way": (range(len(thetas)), makers)}, space, 1)["way"]
    np.testing.assert_allclose(way.shown["new"], way.loss["new"], rtol=0, atol=1e-6)
    return way.ab


def in_units_of_length(plane, thetas):
    """Right for directions of length 1 at right angles, and for no others."""
    return [[(theta - plane.origin) @ d / np.linalg.norm(d) for d in (plane.u, plane.v)] for theta in thetas]


def test_ways_and_grid_have_the_same_units():
    check_units(ours_units)


def test_ways_in_other_units_than_the_grid_are_noticed():
    fails(check_units, in_units_of_length)


# ---- another batch at each point

def check_texts(measure):
    """measure(space, plane, a, b, documents) -> S: flat to the last bit along directions that no text reads."""
    rng = np.random.default_rng(3)
    space = Space(small_gpt(context=9))
    u, v = np.zeros((2, space.size))
    for direction, place in ((u, 7), (v, 8)):                            # vectors of places beyond the longest text
        space.arrays(direction)["wpe.weight"][place] = rng.normal(size=12)
    S = measure(space, Plane(space.start, u, v), np.linspace(-1, 1, 3), np.linspace(-1, 1, 3), some_texts(rng, 20))
    assert np.ptp(S) == 0


def ours_texts(space, plane, a, b, documents):
    return measure_grid(space, plane, a, b, Probe({"new": documents}), 1, None)["new"]


def other_texts_at_each_point(space, plane, a, b, documents):
    """Differences between texts, drawn as if they were between weights."""
    rng = np.random.default_rng(0)

    def batch():
        return Probe({"new": [documents[i] for i in rng.integers(0, len(documents), 5)]})

    return np.array([[space.losses(plane.at(x, y), batch())["new"] for x in a] for y in b])


def test_all_points_are_measured_on_the_same_texts():
    check_texts(ours_texts)


def test_other_texts_at_each_point_are_noticed():
    fails(check_texts, other_texts_at_each_point)


# ---- an interpolation that omits its start

def check_interpolation(interpolate):
    """interpolate(loss, x, y, points) -> t, losses: from x to y, both included, with the whole barrier."""
    x, y = np.array([-1.0, 0.0]), np.array([1.0, 0.0])

    def loss(theta):
        return 3 - theta[0] - theta[0] ** 2                              # from 3 to 1, and 3 in the middle: a barrier of 1

    t, losses = interpolate(loss, x, y, 5)
    assert len(t) == len(losses) == 5
    assert (t[0], t[-1]) == (0, 1) and (losses[0], losses[-1]) == (loss(x), loss(y))
    assert barrier(t, losses) == pytest.approx(1, abs=1e-12)


def ours_interpolation(loss, x, y, points):
    space = Formulas(x.size, new=loss)
    result = profile(space, "xy", {"straight line": straight(x, y)}, space, interpolation_points(points), 1)
    return result.t, result.loss["straight line"]["new"]


def without_its_start(loss, x, y, points):
    t = np.arange(1, points + 1) / points
    return t, np.array([loss((1 - s) * x + s * y) for s in t])


def without_its_end(loss, x, y, points):
    t = np.arange(points) / points
    return t, np.array([loss((1 - s) * x + s * y) for s in t])


def test_an_interpolation_has_both_ends():
    check_interpolation(ours_interpolation)


@pytest.mark.parametrize("faulty", [without_its_start, without_its_end])
def test_an_interpolation_without_an_end_is_noticed(faulty):
    fails(check_interpolation, faulty)


# ---- heights that nobody can read: the logarithm of the loss, and no colour bar

def check_heights(figure, dark=False):
    """figure(surface, dark) -> a Figure in which each map has a colour bar, of losses, in nats."""
    surface = bowls()
    fig = figure(surface, dark)
    bars = [bar for ax in fig.findobj(Axes) if (bar := getattr(ax, "_colorbar", None))]
    assert len(bars) == len(surface.loss)
    assert len({bar.mappable.axes for bar in bars}) == len(bars)         # one at each map
    for bar, S in zip(bars, surface.loss.values()):
        assert "nats" in bar.ax.get_title(loc="left") + bar.ax.get_title() + bar.ax.get_ylabel()
        assert bar.mappable.norm.vmin == pytest.approx(S.min())          # the lowest colour is the lowest loss
        assert bar.mappable.norm.vmax <= S.max() * (1 + 1e-12)
        labels = [text.get_text().removeprefix("≥ ") for text in bar.ax.get_yticklabels()]
        marks = [(float(label), place) for label, place in zip(labels, bar.get_ticks()) if label]
        assert len(marks) > 3 and all(number == pytest.approx(place, abs=0.06) for number, place in marks)


def bowls():
    """A surface of two tasks, with a way on it, from below chance to far above."""
    start = np.ones(4)
    end, other = start + [2, 0, 0.1, 0], start + [0.5, 1.5, 0, 0]
    space = Formulas(4, new=bowl(np.eye(4), end), old=bowl(3 * np.eye(4), start, 1.0))
    ways = {"full": ([0, 1, 2], [{"theta": straight(start, end)(t)} for t in (0, 0.7, 1)])}
    models = {"pretrained": start, "full": end, "adapter": other}
    return measure_surface(space, plane_through(start, end, other), models, ways, space,
                           9, 1, info={"seed": 1, "view": "three"})


@pytest.fixture
def ours_figure(monkeypatch, tmp_path):
    """What draw.surface would have written into a file."""
    module, drawn = importlib.import_module("minillm.draw.maps"), []
    monkeypatch.setattr(module, "save", lambda fig, path: drawn.append(fig))

    def figure(surface, dark):
        module.surface(surface, tmp_path / "surface.png", dark)
        return drawn[-1]

    return figure


def plain_logarithm(surface, dark):
    """Colours of log loss, which make any surface a pit; and how deep, nobody can tell."""
    fig = Figure()
    for ax, S in zip(fig.subplots(1, 2), surface.loss.values()):
        ax.contourf(surface.a, surface.b, np.log(S))
    return fig


def logarithm_with_a_bar(surface, dark):
    """The same with bars, of numbers that are no nats though they say so."""
    fig = plain_logarithm(surface, dark)
    for ax, S in zip(list(fig.axes), surface.loss.values()):
        fig.colorbar(ax.contourf(surface.a, surface.b, np.log(S)), ax=ax).ax.set_title("nats")
    return fig


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_map_has_a_colour_bar_in_nats(dark, ours_figure):
    assert max(S.max() for S in bowls().loss.values()) > np.log(VOCABULARY)
    check_heights(ours_figure, dark)


@pytest.mark.parametrize("faulty", [plain_logarithm, logarithm_with_a_bar])
def test_heights_that_nobody_can_read_are_noticed(faulty):
    fails(check_heights, faulty)
