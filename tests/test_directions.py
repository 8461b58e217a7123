"""Directions of a plane: random ones that no rescaling of layers changes, and principal components beside those of chance."""

import numpy as np
import pytest
from surfaces import Formulas, bowl, small_gpt, some_texts, symmetric

from minillm.finetune.methods import IA3, BottleneckAdapter, DoRA, Head, LoRA, PrefixTuning, PromptTuning
from minillm.surface.directions import (
    curvature_plane,
    filter_axes,
    filter_normalised,
    pca_plane,
    random_plane,
    random_walk_shares,
)
from minillm.surface.measure import measure_grid
from minillm.surface.sharpness import Eigen
from minillm.surface.space import Probe, Space

# ---- random directions, filter by filter

def test_filters_are_columns_of_matrices_and_rows_of_tables():
    axes = filter_axes(small_gpt())
    assert axes["wte.weight"] == axes["wpe.weight"] == -1
    assert {axes[name] for name in axes if name.startswith("blocks.")} == {0}
    assert axes.keys() == {name for name, p in small_gpt().parameters().items() if p.data.ndim == 2}


@pytest.mark.parametrize("recipe", [BottleneckAdapter(3), LoRA(2), DoRA(2), IA3(), PrefixTuning(4), PromptTuning(2), Head()],
                         ids=lambda recipe: recipe.method)
def test_what_was_inserted_has_filters_too(recipe, rng):
    model = small_gpt()
    recipe.apply(model, rng)
    axes = filter_axes(model)
    assert axes.keys() == {name for name, p in model.parameters().items() if p.data.ndim > 1}
    body = filter_axes(small_gpt())
    assert {name: axes[name] for name in body} == body          # what is inserted into stays what it is
    if recipe.method == "lora":
        assert axes["blocks.0.attn.qkv.lora.q.A"] == axes["blocks.1.mlp.fc.lora.B"] == 0
    if recipe.method == "adapter":
        assert axes["blocks.0.mlp.adapter.down.weight"] == 0
    if recipe.method == "prefix":
        assert axes["blocks.0.attn.heads.prefix.keys"] == -1          # one of the learned keys of a head


def test_every_filter_is_as_long_as_in_the_weights_and_nothing_else_moves(rng):
    space = Space(small_gpt())
    draw = rng.normal(size=space.size)
    before = draw.copy()
    normalised, dead = filter_normalised(draw, space.start, space)
    assert dead == 0 and np.array_equal(draw, before)
    axes, d, w, drawn = filter_axes(space.model), *map(space.arrays, (normalised, space.start, draw))
    for name, array in d.items():
        if name not in axes:
            assert not array.any(), name
            continue
        lengths = [np.linalg.norm(x, axis=axes[name]) for x in (array, w[name], drawn[name])]
        np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-12)
        ratio = array / drawn[name]                             # each filter only changes its length
        np.testing.assert_allclose(ratio, np.broadcast_to(np.expand_dims(lengths[1] / lengths[2], axes[name]), array.shape))


def test_dead_filters_are_counted_and_do_not_move(rng):
    model = small_gpt()
    BottleneckAdapter(3).apply(model, rng)                      # whose way up begins as zero: 2 places in 2 blocks
    space = Space(model)
    plane = random_plane(space, space.start, rng)
    assert not space.arrays(plane.u)["blocks.1.attn.adapter.up.weight"].any()
    assert space.arrays(plane.u)["blocks.1.attn.adapter.down.weight"].any()
    assert any(f"which do not move: {4 * model.config.n_embd}" in note for note in plane.notes)


def test_two_random_directions_are_nearly_at_right_angles_and_the_cosine_is_reported(rng):
    space = Space(small_gpt())
    plane = random_plane(space, space.start, rng)
    cosine = plane.u @ plane.v / np.linalg.norm(plane.u) / np.linalg.norm(plane.v)
    assert 0 < abs(cosine) < 0.15 and any(f"{cosine:.4f}" in note for note in plane.notes)


def test_without_normalisation_all_weights_together_are_as_long(rng):
    space = Space(small_gpt())
    plane = random_plane(space, space.start, rng, normalise=False)
    assert np.linalg.norm(plane.u) == pytest.approx(np.linalg.norm(space.start)) == np.linalg.norm(plane.v)
    assert space.arrays(plane.u)["ln_f.bias"].any()


def rescaled(model, c):
    """The same function with other weights: gains and biases times c, and the matrix that reads their output divided by it."""
    for block in model.blocks:
        for norm, linear in ((block.ln_1, block.attn.qkv), (block.ln_2, block.mlp.fc)):
            norm.weight.data *= c
            norm.bias.data *= c
            linear.weight.data /= c
    return model


def slice_around(model, normalise):
    """3 x 3 losses around a model, along the same random numbers whatever the model."""
    space, rng = Space(model), np.random.default_rng(8)
    plane = random_plane(space, space.start, rng, normalise)
    axis = 0.5 * np.linspace(-1, 1, 3)
    return measure_grid(space, plane, axis, axis, Probe({"new": some_texts(rng)}), 1, None)["new"]


@pytest.mark.parametrize("c", [0.2, 10.0])
def test_a_filter_normalised_slice_does_not_see_a_rescaling_of_layers_and_a_plain_one_does(c):
    """The model is the same function, so a picture that differs shows the parametrisation and not the loss (Dinh et al. 2017)."""
    seen = {normalise: [slice_around(model, normalise) for model in (small_gpt(), rescaled(small_gpt(), c))]
            for normalise in (True, False)}
    assert np.ptp(seen[True][0]) > 0.1
    assert all(abs(before[1, 1] - after[1, 1]) < 1e-12 for before, after in seen.values())          # the model itself
    assert abs(seen[True][0] - seen[True][1]).max() < 1e-5
    assert abs(seen[False][0] - seen[False][1]).max() > 0.01


# ---- principal components

def walk(n, steps, rng):
    return np.cumsum(rng.normal(size=(steps + 1, n)), axis=0)


@pytest.mark.parametrize("centre", ["end", "start"])
def test_principal_components_are_those_of_numpys_svd(centre, rng):
    way = walk(60, 8, rng) * np.linspace(1, 3, 60)
    plane = pca_plane([list(way)], [list(range(9))], centre)
    origin = way[-1 if centre == "end" else 0]
    _, s, Vt = np.linalg.svd(way - origin, full_matrices=False)
    np.testing.assert_array_equal(plane.origin, origin)
    for axis, wanted in zip((plane.u, plane.v), Vt):
        np.testing.assert_allclose(axis, np.sign(axis @ wanted) * wanted, rtol=0, atol=1e-9)
        assert axis @ (way[0] - way[-1]) * (1 if centre == "end" else -1) > 0           # signs are free, and chosen so
    share = s ** 2 / np.sum(s ** 2)
    assert plane.labels == tuple(f"PC{k + 1}: {share[k]:.0%} of the movement" for k in range(2))
    np.testing.assert_allclose(plane.gram, np.eye(2), atol=1e-9)
    for theta, row in zip(way, (way - origin) @ Vt[:2].T):
        assert np.abs(plane.project(theta)[0]) == pytest.approx(np.abs(row), abs=1e-8)


def test_several_ways_are_centred_on_their_common_start(rng):
    start = rng.normal(size=40)
    ways = [[start, *(start + way)] for way in rng.normal(size=(2, 3, 40))]
    plane = pca_plane(ways, [[0, 1, 2, 3]] * 2, "start")
    np.testing.assert_array_equal(plane.origin, start)
    _, _, Vt = np.linalg.svd(np.array(ways).reshape(-1, 40) - start, full_matrices=False)
    assert abs(plane.u @ Vt[0]) == pytest.approx(1, abs=1e-9) and abs(plane.v @ Vt[1]) == pytest.approx(1, abs=1e-9)
    with pytest.raises(ValueError, match="several ends"):
        pca_plane(ways, [[0, 1, 2, 3]] * 2, "end")


def test_a_way_in_a_plane_is_shown_whole(rng):
    u, v = rng.normal(size=(2, 30))
    way = [a * u + b * v for a, b in [(0, 0), (1, 0.2), (1.5, 1), (3, 0)]]
    plane = pca_plane([way], [[0, 1, 2, 3]], "end")
    assert max(plane.project(theta)[1] for theta in way) < 1e-9


@pytest.mark.parametrize("way, message", [
    (np.zeros((2, 5)), "there are 2"), (np.outer([0, 1, 2.0], np.ones(5)), "on one line"), (np.zeros((4, 5)), "on one line"),
    (np.array([np.ones(5), np.full(5, np.nan), np.zeros(5)]), "not numbers")])
def test_what_has_no_two_components_is_refused(way, message):
    with pytest.raises(ValueError, match=message):
        pca_plane([list(way)], [list(range(len(way)))], "end")


@pytest.mark.parametrize("n", [2, 3, 50, 4000, 200_000])
def test_a_way_along_one_line_has_no_two_components_in_any_draw(n):
    for seed in range(40 if n < 10_000 else 3):
        rng = np.random.default_rng([n, seed])
        start, way = rng.normal(size=(2, n))
        for t in ([0, 1, 2, 3], rng.normal(size=3), rng.normal(size=12), np.geomspace(1e-3, 10, 7)):
            for points in (start + np.outer(t, way), (100 * start + np.outer(t, way)).astype(np.float32)):
                with pytest.raises(ValueError, match="on one line"):
                    pca_plane([list(points)], [list(range(len(t)))], "end")


@pytest.mark.parametrize("bend", [1e-3, 0.1])
@pytest.mark.parametrize("n", [2, 3, 50, 4000, 200_000])
def test_a_way_that_bends_a_little_has_two_in_every_draw(n, bend):
    for seed in range(40 if n < 10_000 else 3):
        rng = np.random.default_rng([n, seed])
        start, way, beside = rng.normal(size=(3, n))
        beside -= way * (beside @ way) / (way @ way)
        beside *= np.linalg.norm(way) / np.linalg.norm(beside)
        t = np.linspace(0, 1, 6)
        plane = pca_plane([list(start + np.outer(t, way) + bend * np.outer(t ** 2, beside))], [list(range(6))], "end")
        assert [plane.u @ plane.u, plane.v @ plane.v, plane.u @ plane.v] == pytest.approx([1, 1, 0], abs=1e-4)
        assert max(plane.project(start + x * way + bend * x ** 2 * beside)[1] for x in t) < 1e-6


@pytest.mark.parametrize("centre", ["end", "start"])
@pytest.mark.parametrize("steps", [list(range(21)), [0, 1, 2, 3, 10, 30, 100]], ids=["even", "uneven"])
def test_the_shares_of_chance_are_those_of_simulated_walks(centre, steps, rng):
    way = walk(5000, steps[-1], rng)[steps]
    way -= way[-1 if centre == "end" else 0]
    s2 = np.linalg.eigvalsh(way @ way.T)[::-1]
    np.testing.assert_allclose(random_walk_shares([steps], centre)[:3], (s2 / s2.sum())[:3], atol=0.02)


def test_the_shares_of_several_walks_of_chance(rng):
    ways = [walk(5000, 12, rng) for _ in range(3)]
    M = np.concatenate([way - way[0] for way in ways])
    s2 = np.linalg.eigvalsh(M @ M.T)[::-1]
    np.testing.assert_allclose(random_walk_shares([list(range(13))] * 3, "start")[:4], (s2 / s2.sum())[:4], atol=0.02)


@pytest.mark.parametrize("centre", ["end", "start"])
def test_a_long_walk_of_chance_shows_most_of_itself(centre):
    """8 / pi^2 / k^2 for odd k = 1, 3, 5 ...: 81 %, 9 %, 3 %. A high share proves nothing."""
    shares = random_walk_shares([list(range(801))], centre)
    np.testing.assert_allclose(shares[:3], 8 / np.pi ** 2 / np.array([1, 9, 25]), rtol=0, atol=1e-3)
    assert shares.sum() == pytest.approx(1)


def test_chance_is_reported_beside_the_components(rng):
    steps = [0, 1, 2, 5, 9]
    plane = pca_plane([list(walk(30, 9, rng)[steps])], [steps], "end")
    null = random_walk_shares([steps], "end")
    assert f"random walks of as many steps they would show {null[0]:.0%} and {null[1]:.0%}" in plane.notes[0]


# ---- of most curvature

def test_along_eigenvectors_the_surface_is_two_parabolas(rng):
    eigenvalues = np.array([9.0, 4, 1, 0.5, -0.25, 0])
    H, Q = symmetric(eigenvalues, rng)
    centre = rng.normal(size=6)
    plane = curvature_plane(centre, [Eigen(9.0, Q[:, 0], 0.0), Eigen(4.0, Q[:, 1], 0.0)])
    space = Formulas(6, new=bowl(H, centre))
    a, b = np.linspace(-2, 2, 5), np.linspace(-1, 3, 7)
    losses = measure_grid(space, plane, a, b, space, 1, None)["new"]
    np.testing.assert_allclose(losses, 0.5 + 9 * a[None, :] ** 2 / 2 + 4 * b[:, None] ** 2 / 2, rtol=0, atol=1e-6)
    assert "9" in plane.labels[0] and "4" in plane.labels[1] and any("sharpness says little" in note for note in plane.notes)
