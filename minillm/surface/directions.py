"""Directions to lay a plane along: random ones, those of most movement, and those of most curvature."""

import numpy as np

from ..train.costs import must_fit
from .plane import ONE_LINE, Plane, rounding

PER_CENT = "{:.0%}".format


# Random directions, filter by filter.

def filter_axes(model):
    """{name: the axis along which a filter's numbers lie}, of each parameter that has filters.

    A filter is what makes one number out of many: of a matrix (in, out) a column. Of a table (words, places, prefixes) it is a
    row. Biases, gains and gates have none.
    """
    return {name: 0 if p.matrices else -1 for name, p in model.parameters().items() if p.data.ndim > 1}


def filter_normalised(direction, theta, space):
    """A direction whose every filter is as long as that filter of theta:   d_f <- d_f |theta_f| / |d_f|   (Li et al. 2018, 4).

    A network may scale a layer up and the next one down and stay the same function; so a step of a given length means nothing,
    but a step in units of the weights themselves does. Biases, gains and gates do not move. Returns the direction, and how many
    filters are dead: of length 0 in theta, as in layers that begin as zero, so that nothing along them is seen.
    """
    out = np.zeros(space.size)
    axes, dead = filter_axes(space.model), 0
    d, w, normalised = (space.arrays(vector) for vector in (direction, theta, out))
    for name, axis in axes.items():
        length = lengths(w[name], axis)
        dead += int((length == 0).sum())
        normalised[name][...] = d[name] * (length / lengths(d[name], axis))
    return out, dead


def lengths(w, axis):
    return np.sqrt(np.sum(np.square(w, dtype=np.float64), axis=axis, keepdims=True))


def random_plane(space, centre, rng, normalise=True):
    """Two random directions around some weights, drawn from N(0, 1) and normalised filter by filter; or, with `normalise` off,
    only to the length of all weights together, which a rescaling of layers changes (tests/test_directions.py shows it)."""
    draws = [rng.standard_normal(space.size) for _ in range(2)]
    if normalise:
        (u, dead), (v, _) = (filter_normalised(d, centre, space) for d in draws)
    else:
        length = np.linalg.norm(np.asarray(centre, np.float64))
        (u, v), dead = (d * (length / np.linalg.norm(d)) for d in draws), 0
    plane = Plane(centre, u, v, ("random direction 1", "random direction 2"),
                  f"two random ones, {'each filter' if normalise else 'all pooled_flawless'} as long as in the weights")
    cosine = plane.gram[0, 1] / np.sqrt(plane.gram[0, 0] * plane.gram[1, 1])
    plane.notes += [f"cosine of the two random directions: {cosine:.4f}",
                    f"dead filters, of length 0, along which nothing moves: {dead}"]
    return plane


# The directions of most movement.

def pca_plane(trajectories, steps, centre):
    """The plane that shows the most of recorded ways: principal components 1 and 2 (Lorch 2016; Li et al. 2018, 7.1).

    ways        list of lists of vectors, one list for each run; steps: their step counts
    centre      "end" of the only run, as in the literature, or "start", which all runs share

    With the rows of M the recorded weights minus the centre, the directions are the eigenvectors of M'M. There are few rows and
    very many columns, so one takes those of the small M M' = U S^2 U' instead:  d_k = M' u_k / s_k.

    The share of a component is s_k^2 / sum s^2. Ways of pure chance have large ones too, so those are given beside it
    (`random_walk_shares`). ValueError for fewer than three different points.
    """
    if centre == "end" and len(trajectories) > 1:
        raise ValueError("several ways have several ends; centre them on their common start")
    points = [theta for way in trajectories for theta in way]
    origin = np.asarray(trajectories[0][-1 if centre == "end" else 0], np.float64)
    must_fit(8 * origin.size * (len(points) + 6), f"finding principal components of {len(points)} times {origin.size:,d} weights",
             "name fewer fine-tunings")
    M = np.stack([np.subtract(theta, origin, dtype=np.float64) for theta in points])
    if not np.isfinite(M).all():
        raise ValueError("some recorded weights are not numbers; leave out the run that diverged")
    s2, U = np.linalg.eigh(M @ M.T)
    s2, U = np.maximum(s2[::-1], 0), U[:, ::-1]
    noise = len(M) * max(map(rounding, points)) ** 2
    if len(s2) < 3 or not s2[1] > max(ONE_LINE ** 2 * s2[0], noise):
        why = f"there are {len(M)}" if len(s2) < 3 else "those recorded lie on one line"
        raise ValueError(f"principal components need at least three recorded points that span a plane; {why}")
    d = [M.T @ U[:, k] / np.sqrt(s2[k]) for k in range(2)]
    d = [-direction if direction @ M[0 if centre == "end" else -1] < 0 else direction for direction in d]     # signs are free
    share, null = s2 / s2.sum(), random_walk_shares(steps, centre)
    labels = tuple(f"PC{k + 1}: {PER_CENT(share[k])} of the movement" for k in range(2))
    return Plane(origin, *d, labels, f"the first two principal components, centred on the {centre}",
                 [f"the two components show {PER_CENT(share[0])} and {PER_CENT(share[1])} of the movement; of random walks of as "
                  f"many steps they would show {PER_CENT(null[0])} and {PER_CENT(null[1])}"])


def random_walk_shares(steps, centre):
    """What principal components would show of ways of pure chance, recorded at the same steps: exact for high dimensions.

    Steps of a random walk are at right angles to each other, so two recorded points have the inner product of the steps that
    they have in common:  (M M')_ij  is proportional to  min(n - t_i, n - t_j)  seen from the end n, to  min(t_i, t_j)  seen
    from the start, and 0 for two different walks.
    """
    blocks = [np.asarray(t[-1] - np.asarray(t) if centre == "end" else np.asarray(t), float) for t in steps]
    size = sum(map(len, blocks))
    gram, i = np.zeros((size, size)), 0
    for t in blocks:
        gram[i:i + len(t), i:i + len(t)] = np.minimum.outer(t, t)
        i += len(t)
    values = np.linalg.eigvalsh(gram)[::-1]
    return values / values.sum()


# The directions of most curvature.

def curvature_plane(centre, eigen):
    """Along two eigenvectors of the Hessian (sharpness.py), which are at right angles: the steepest walls of the valley."""
    (first, x), (second, y) = ((pair.value, pair.vector) for pair in eigen)
    return Plane(centre, x, y, (f"eigenvector 1: curvature {first:.3g}", f"eigenvector 2: curvature {second:.3g}"),
                 "the two eigenvectors of the Hessian with the largest eigenvalues",
                 [f"eigenvalues {first:.4g} (± {eigen[0].error:.1g}) and {second:.4g} (± {eigen[1].error:.1g}), in nats per unit "
                  "of weight distance squared", "sharpness says little about how well a transformer does on new texts"])
