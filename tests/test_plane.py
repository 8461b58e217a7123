"""The plane: the models that span it lie in it, coordinates are honest, and what is beside it is told."""

import numpy as np
import pytest

from minillm.ground.pieces import PIECE
from minillm.surface.plane import Plane, cosine, plane_through, sine


@pytest.fixture
def three(rng):
    """Three points of a space of 300 dimensions, far from its origin."""
    return 10 * rng.normal(size=300) + rng.normal(size=(3, 300))


def beside(plane, rng):
    """A direction of length 1 at right angles to a plane."""
    off = rng.normal(size=plane.u.size)
    axes, _ = np.linalg.qr(np.stack([plane.u, plane.v], axis=1))
    off -= axes @ (axes.T @ off)
    return off / np.linalg.norm(off)


# ---- through three models

def test_the_axes_are_of_length_one_and_at_right_angles(three):
    plane = plane_through(*three)
    assert [plane.u @ plane.u, plane.v @ plane.v, plane.u @ plane.v] == pytest.approx([1, 1, 0], abs=1e-12)
    np.testing.assert_allclose(plane.gram, np.eye(2), atol=1e-12)


def test_the_three_points_lie_in_the_plane(three):
    plane = plane_through(*three)
    for point in three:
        (a, b), residual = plane.project(point)
        assert residual < 1e-12
        np.testing.assert_allclose(plane.at(a, b), point, rtol=0, atol=1e-12)
    assert plane.project(three[0]) == ((0.0, 0.0), 0.0)
    (a, b), _ = plane.project(three[1])
    assert a == pytest.approx(np.linalg.norm(three[1] - three[0])) and b == pytest.approx(0, abs=1e-12)
    (a, b), _ = plane.project(three[2])
    assert b > 0 and np.hypot(a, b) == pytest.approx(np.linalg.norm(three[2] - three[0]))


def test_coordinates_are_distances_between_weights(three):
    plane = plane_through(*three)
    assert np.linalg.norm(plane.at(3, 4) - plane.at(0, 0)) == pytest.approx(5)
    assert np.linalg.norm(plane.at(1, 2) - plane.at(4, -2)) == pytest.approx(5)


def test_models_in_float32_are_as_good(three):
    plane = plane_through(*three.astype(np.float32))
    assert abs(plane.u @ plane.v) < 1e-12 and plane.origin.dtype == plane.u.dtype == plane.v.dtype == np.float64
    assert plane.project(three[2].astype(np.float32))[1] < 1e-7


@pytest.mark.parametrize("first, second, message", [
    (0, 2, "P and F are the same"), (1, 0, "P and A are the same"), (1, 1, "F and A are the same"), ("half", 1, "one line"),
    ("back", 1, "one line")])
def test_three_models_on_one_line_are_refused_and_those_that_coincide_are_named(first, second, message, three):
    points = {0: three[0], 1: three[1], 2: three[2], "half": (three[0] + three[1]) / 2, "back": 2 * three[0] - three[1]}
    with pytest.raises(ValueError, match=message):
        plane_through(three[0], points[first], points[second], "PFA")


# ---- any two directions

@pytest.fixture
def skew(three):
    """Directions that are neither of length 1 nor at right angles."""
    return Plane(three[0], 3 * (three[1] - three[0]), 0.1 * (three[2] - three[0]) + 2 * (three[1] - three[0]))


@pytest.mark.parametrize("ab", [(0.3, -2.0), (-5.0, 0.0), (1e-3, 4.0), (0.0, 0.0)])
@pytest.mark.parametrize("kind", ["straight", "skew"])
def test_coordinates_survive_the_round_trip(kind, ab, three, skew):
    plane = skew if kind == "skew" else plane_through(*three)
    coordinates, residual = plane.project(plane.at(*ab))
    assert coordinates == pytest.approx(ab, abs=1e-9) and residual < 1e-10


def test_the_projection_is_that_of_least_squares(skew, rng):
    delta = rng.normal(size=300)
    wanted, squares, *_ = np.linalg.lstsq(np.stack([skew.u, skew.v], axis=1), delta, rcond=None)
    coordinates, residual = skew.project(skew.origin + delta)
    assert coordinates == pytest.approx(wanted, abs=1e-6)
    assert residual == pytest.approx(np.sqrt(squares[0]) / np.linalg.norm(delta), abs=1e-9)


@pytest.mark.parametrize("length", [0.0, 0.5, 3.0, 100.0])
def test_the_residual_is_the_part_that_the_plane_does_not_show(length, three, rng):
    plane = plane_through(*three)
    ab, residual = plane.project(plane.at(1.5, -2.0) + length * beside(plane, rng))
    assert ab == pytest.approx((1.5, -2.0), abs=1e-10)
    assert residual == pytest.approx(length / np.hypot(2.5, length), abs=1e-10)


def test_the_residual_is_a_share_whatever_the_length_of_the_way(three, rng):
    plane, off = plane_through(*three), rng.normal(size=300)
    residuals = [plane.project(three[0] + length * (plane.u + off))[1] for length in (1e-3, 1.0, 1e3)]
    assert residuals == pytest.approx([residuals[1]] * 3, rel=1e-6) and 0.5 < residuals[1] < 1


def test_a_point_straight_above_the_origin_is_not_shown_at_all(skew, rng):
    ab, residual = skew.project(skew.origin + beside(skew, rng))
    assert ab == pytest.approx((0, 0), abs=1e-10) and residual == pytest.approx(1)


def test_weights_that_are_no_numbers_have_no_place(skew):
    theta = skew.origin.copy()
    theta[7] = np.nan
    (a, b), residual = skew.project(theta)
    assert np.isnan([a, b]).all() and residual == 1


@pytest.mark.parametrize("v", [1.0, -2.0, 0.0])
def test_two_directions_that_are_one_are_refused(v, rng):
    u = rng.normal(size=50)
    with pytest.raises(ValueError, match="directions are parallel"):
        Plane(np.zeros(50), u, v * u)


# ---- one line or a plane: rounding decides nothing

def at_angle(u, angle, rng):
    """A direction at this angle to u, of any length."""
    beside = rng.normal(size=u.size)
    beside -= (beside @ u) / (u @ u) * u
    u = u / np.linalg.norm(u)
    return 10 ** rng.uniform(-4, 4) * (np.cos(angle) * u + np.sin(angle) * beside / np.linalg.norm(beside))


DRAWS = [*[(n, seed) for n in (2, 3, 10, 300, 5000) for seed in range(40)], (1_000_000, 0)]


def draws(n_and_seed):
    n, seed = n_and_seed
    rng = np.random.default_rng([n, seed])
    return rng, 10 ** rng.uniform(-4, 4) * rng.normal(size=n)


@pytest.mark.parametrize("n", sorted({n for n, _ in DRAWS}))
def test_a_direction_and_its_multiple_are_one_in_every_draw(n):
    for draw in (draw for draw in DRAWS if draw[0] == n):
        rng, u = draws(draw)
        for v in (3 * u, -u / 7, rng.normal() * u, u + 1e-9 * np.abs(u).mean() * rng.normal(size=n), at_angle(u, 1e-9, rng)):
            for pair in ((u, v), (v, u)):
                with pytest.raises(ValueError, match="directions are parallel"):
                    Plane(np.zeros(n), *pair)
            with pytest.raises(ValueError, match="on one line"):
                plane_through(np.zeros(n), u, v)


@pytest.mark.parametrize("angle", [1e-3, 0.1, np.pi / 2, np.pi - 1e-3])
@pytest.mark.parametrize("n", sorted({n for n, _ in DRAWS}))
def test_a_narrow_plane_is_one_in_every_draw_and_shows_points_where_they_are(n, angle):
    for draw in (draw for draw in DRAWS if draw[0] == n):
        rng, u = draws(draw)
        v = at_angle(u, angle, rng)
        assert sine(u, v) == pytest.approx(np.sin(angle), rel=1e-6)
        for plane in (Plane(u, u, v), Plane(v, v, u), plane_through(np.zeros(n), u, v)):
            point = plane.at(0.7, -1.3)
            coordinates, residual = plane.project(point)
            np.testing.assert_allclose(plane.at(*coordinates), point, rtol=0, atol=1e-8 * np.abs(point).max())
            assert residual < 1e-6
        u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
        assert Plane(u, u, v).project(u + 0.7 * u - 1.3 * v)[0] == pytest.approx((0.7, -1.3), abs=1e-7)


@pytest.mark.parametrize("share", [1e-3, 0.05, 1.0])
def test_models_in_float32_on_one_line_are_found_though_rounding_has_moved_them(share, rng):
    """As a model that has gone half the way back is. The way is this share of the weights."""
    for n in (300, 20_000):
        for _ in range(20):
            start, way = rng.normal(size=(2, n))
            points = [(start + t * share * way).astype(np.float32) for t in (0, 1, rng.uniform(-1, 2))]
            with pytest.raises(ValueError, match="on one line"):
                plane_through(*points)
            plane_through(*points[:2], (points[2] + 0.01 * share * rng.normal(size=n)).astype(np.float32))


# ---- the points of it

def test_a_row_and_a_step_along_it_are_the_point(skew):
    row = skew.at_b(-0.7)
    np.testing.assert_array_equal(skew.along(0.3, row), skew.at(0.3, -0.7))
    np.testing.assert_allclose(skew.at(0.3, -0.7), skew.origin + 0.3 * skew.u - 0.7 * skew.v, rtol=0, atol=1e-13)


def test_long_vectors_are_written_whole_and_into_any_array(rng):
    """Longer than the pieces in which they are worked on, and no multiple of them."""
    origin, u, v = rng.normal(size=(3, 2 * PIECE + 17))
    plane, out = Plane(origin, u, v), np.full(origin.size, np.nan, np.float32)
    assert plane.at(0.5, 2.0, out=out) is out
    np.testing.assert_array_equal(out, (origin + 2.0 * v + 0.5 * u).astype(np.float32))


def test_a_point_is_made_anew_and_changes_nothing(skew):
    before = [vector.copy() for vector in (skew.origin, skew.u, skew.v)]
    skew.at(3.0, 4.0)[...] = 0
    skew.at_b(2.0)[...] = 0
    for vector, as_before in zip((skew.origin, skew.u, skew.v), before):
        np.testing.assert_array_equal(vector, as_before)


def test_cosine(rng):
    x = rng.normal(size=20)
    assert cosine(x, 3 * x) == pytest.approx(1) and cosine(x, -x) == pytest.approx(-1)
    assert cosine(np.array([1.0, 0]), np.array([1.0, 1])) == pytest.approx(2 ** -0.5)
    assert np.isnan(cosine(x, 0 * x))
