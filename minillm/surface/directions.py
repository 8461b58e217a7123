"""Directions that span a plane: random ones, those of most movement, and those of most curvature."""

import numpy as np

from ..train.costs import must_fit
from .plane import ONE_LINE, Plane, rounding

PER_CENT = "{:.0%}".format


# Random directions, filter by filter.

def filter_axes(model):
    """{name: the axis along which the numbers of one filter lie}, of each parameter that has filters.

    A filter makes one number out of many: it is a column of a matrix (in, out). In a table of vectors (words, positions,
    prefixes) it is a row. Biases, gains and gates have none.
    """
    return {name: 0 if p.matrices else -1 for name, p in model.parameters().items() if p.data.ndim > 1}


def filter_normalised(direction, theta, space):
    """Scale each filter of a direction to the length of that filter in theta:   d_f <- d_f |theta_f| / |d_f|   (Li et al. 2018,
    section 4).

    Scaling one layer up and the next one down can leave the function of a network unchanged. So a step of a given length means
    nothing, but a step in units of the weights themselves does. Biases, gains and gates do not move. Returns the direction, and
    the number of dead filters: those of length 0 in theta, as in layers initialised with zeros. The plane does not move them.
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
    """The plane of two random directions around some weights, drawn from N(0, 1) and normalised filter by filter.

    Without `normalise`, a direction is only scaled to the length of all weights together, which depends on how the layers are
    scaled (shown in tests/test_directions.py).
    """
    draws = [rng.standard_normal(space.size) for _ in range(2)]
    if normalise:
        (u, dead), (v, _) = (filter_normalised(d, centre, space) for d in draws)
    else:
        length = np.linalg.norm(np.asarray(centre, np.float64))
        (u, v), dead = (d * (length / np.linalg.norm(d)) for d in draws), 0
    plane = Plane(centre, u, v, ("random direction 1", "random direction 2"),
                  f"two random ones, scaled to the length of the weights{', filter by filter' if normalise else ''}")
    cosine = plane.gram[0, 1] / np.sqrt(plane.gram[0, 0] * plane.gram[1, 1])
    plane.notes += [f"cosine of the two random directions: {cosine:.4f}",
                    f"dead filters, of length 0, which do not move: {dead}"]
    return plane


# The directions of most movement.

def pca_plane(trajectories, steps, centre):
    """The plane that shows most of some trajectories: principal components 1 and 2 (Lorch 2016; Li et al. 2018, section 7.1).

    trajectories    list of lists of vectors, one list for each run
    steps           lists of the steps after which they were recorded
    centre          "end" of the only run, as in the literature, or "start" of the first, which the others share unless they began
                    with other random numbers (from scratch, or adapters of another seed)

    The rows of M are the recorded weights minus the centre. The directions are the eigenvectors of M'M. M has few rows and very
    many columns, so we take the eigenvectors of the small matrix M M' = U S^2 U' instead:  d_k = M' u_k / s_k.

    The share of component k is s_k^2 / sum_i s_i^2. Random walks have large shares too, so theirs are given for comparison
    (`random_walk_shares`). ValueError for fewer than three different points.
    """
    if centre == "end" and len(trajectories) > 1:
        raise ValueError("several trajectories have several ends; centre them on the start")
    points = [theta for trajectory in trajectories for theta in trajectory]
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
    d = [-direction if direction @ M[0 if centre == "end" else -1] < 0 else direction for direction in d]     # any sign will do
    share, null = s2 / s2.sum(), random_walk_shares(steps, centre)
    labels = tuple(f"PC{k + 1}: {PER_CENT(share[k])} of the movement" for k in range(2))
    return Plane(origin, *d, labels, f"the first two principal components, centred on the {centre}",
                 [f"the two components show {PER_CENT(share[0])} and {PER_CENT(share[1])} of the movement; of random walks of as "
                  f"many steps they would show {PER_CENT(null[0])} and {PER_CENT(null[1])}"])


def random_walk_shares(steps, centre):
    """The shares of the principal components of random walks recorded at the same steps, largest first.

    Exact in the limit of infinitely many dimensions, where the steps of a random walk are orthogonal. The inner product of two
    recorded points is then the number of steps they share:  (M M')_ij  is proportional to  min(n - t_i, n - t_j)  if the centre
    is the end n, to  min(t_i, t_j)  if it is the start, and 0 for two different walks.
    """
    times = [np.asarray(t[-1] - np.asarray(t) if centre == "end" else np.asarray(t), float) for t in steps]
    size = sum(map(len, times))
    gram, i = np.zeros((size, size)), 0
    for t in times:
        gram[i:i + len(t), i:i + len(t)] = np.minimum.outer(t, t)
        i += len(t)
    values = np.linalg.eigvalsh(gram)[::-1]
    return values / values.sum()


# The directions of most curvature.

def curvature_plane(centre, eigen):
    """The plane of two eigenvectors of the Hessian (sharpness.py), which are orthogonal: the steepest walls of the valley.

    eigen       the two, as `sharpness.extremes` returns them
    """
    (first, x), (second, y) = ((pair.value, pair.vector) for pair in eigen)
    return Plane(centre, x, y, (f"eigenvector 1: curvature {first:.3g}", f"eigenvector 2: curvature {second:.3g}"),
                 "the two eigenvectors of the Hessian with the largest eigenvalues",
                 [f"eigenvalues {first:.4g} (± {eigen[0].error:.1g}) and {second:.4g} (± {eigen[1].error:.1g}), in nats per unit "
                  "of weight distance squared", "sharpness says little about how well a transformer does on new texts"])
