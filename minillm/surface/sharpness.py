"""How steeply the walls of the valley rise: eigenvalues of the Hessian, computed from gradients without forming the matrix."""

import copy
from typing import NamedTuple

import numpy as np

from ..ground.processes import default_workers
from ..nn import IGNORE
from ..train.costs import must_fit, total_memory
from ..train.flat import FlatParameters
from ..train.workers import Workers

VECTORS = 8          # as long as theta that a product holds in memory at a time, besides the gradients of the workers
EPSILON = 1e-5       # length of the step of central differences; the relative error of H v is then about 1e-9


class Eigen(NamedTuple):
    """An approximate eigenvalue, its eigenvector of length 1, and a bound: an exact one lies within `error` of `value`."""

    value: float
    vector: np.ndarray
    error: float


class Curvature:
    """The Hessian H of a loss, the matrix of all second derivatives, as a function v -> H v.

    H has as many rows as there are parameters, far too many to store. But its product with v is the derivative of the gradient
    along v:   H v = (g(theta + eps v) - g(theta - eps v)) / (2 eps) + O(eps^2),   |v| = 1.
    In float64: gradients in float32 carry 1e-7 of noise, and dividing it by eps would make it larger than H v itself.

    theta       (n,) the parameters with respect to which we differentiate, in float64
    names       of these parameters
    """

    def __init__(self, model, batches, trainable=False, workers=None):
        """batches: [(tokens, targets)]. trainable: differentiate only with respect to the parameters that train.

        ValueError if this would not fit into memory.
        """
        parameters = model.parameters().values()
        size = sum(p.size for p in parameters)
        n = sum(p.size for p in parameters if p.trainable or not trainable)
        vectors = VECTORS + (workers or default_workers())
        must_fit(8 * (size + vectors * n), f"the curvature of a loss over {n:,d} parameters, in float64,",
                 "choose a smaller model, or only what trains")
        self.model = copy.deepcopy(model)
        for p in self.model.parameters().values():
            p.trainable = p.trainable or not trainable
            p.data = p.data.astype(np.float64)
        self.flat = FlatParameters(self.model.trainable_parameters())
        self.names = list(self.flat.parameters)
        self.theta = self.flat.data.copy()
        self.batches = batches
        self.total = sum(int((targets != IGNORE).sum()) for _, targets in batches)
        self.workers = Workers(self.model, self.flat, None, workers)

    @property
    def n(self):
        return self.theta.size

    def gradient(self, theta):
        """dLoss/dtheta, (n,)"""
        self.flat.check()
        self.flat.data[...] = theta
        g = np.zeros(self.n)
        for tokens, targets in self.batches:
            self.workers.forward_backward(tokens, targets, self.total)
            g += self.flat.grad
        return g

    def product(self, v):
        """H v, (n,) -> (n,)"""
        eps = EPSILON / np.linalg.norm(v)
        difference = self.gradient(self.theta + eps * v) - self.gradient(self.theta - eps * v)
        return difference / (2 * eps)


def extremes(product, n, rng, top=1, bottom=1, tolerance=0.003, most=120, progress=None):
    """The `top` largest and `bottom` smallest eigenvalues of a symmetric matrix known only by its products (Lanczos 1950).

    Power iteration, v <- H v / |H v|, turns any v towards the eigenvector of the largest |eigenvalue|, but uses only the latest
    v. Lanczos keeps every v, each made orthogonal to the earlier ones. The best approximations in the m-dimensional space that
    they span are the eigenpairs of a small tridiagonal matrix, T = V' H V (m, m). So the same products give both ends of the
    spectrum, and fewer of them are needed. For an eigenpair (lambda, s) of T the error is known:
        |H V s - lambda V s| = beta_m |s_m|,   and some exact eigenvalue is at most this far from lambda.

    Stops when all errors are below `tolerance` times the largest |eigenvalue|, after `most` products, or when the v fill half of
    the memory; `error` says how exact the results are. Returns two lists of Eigen: the largest, in falling order, and the
    smallest, in rising order. ValueError if a product is not a number, or if there is too little memory.

    product     v -> H v, (n,) -> (n,)
    progress    called with the number of products so far and the largest eigenvalue
    """
    least = min(n, 4 * (top + bottom))
    must_fit(2 * 8 * n * least, f"to find eigenvalues of a matrix of {n:,d} rows", "choose a smaller model, or only what trains")
    most = min(most, n, max(least, total_memory() // (2 * 8 * n)))
    V, alpha, beta = np.empty((most, n)), [], []
    v = rng.standard_normal(n)
    v /= np.linalg.norm(v)
    for m in range(most):
        V[m] = v
        w = product(v)
        if not np.isfinite(w).all():
            raise ValueError("the gradient is not a number at this model, so its curvature cannot be measured")
        alpha.append(w @ v)
        for _ in range(2):                                  # twice: once leaves rounding errors that grow
            w -= V[:m + 1].T @ (V[:m + 1] @ w)
        beta.append(np.linalg.norm(w))
        values, S = np.linalg.eigh(np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1))
        errors = beta[-1] * np.abs(S[-1])
        wanted = [*range(m, m - top, -1)], [*range(bottom)]
        if progress:
            progress(m + 1, float(values[-1]))
        scale = np.abs(values).max()
        known = m + 1 >= top + bottom and max(errors[i] for kind in wanted for i in kind) <= tolerance * scale
        if known or beta[-1] <= 1e-12 * scale:              # H maps the span of V to itself: there is nothing more to find
            break
        v = w / beta[-1]
    return tuple([Eigen(float(values[i]), V[:m + 1].T @ S[:, i], float(errors[i])) for i in kind if 0 <= i <= m]
                 for kind in wanted)
