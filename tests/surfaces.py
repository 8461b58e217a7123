"""What tests of surfaces share: a space without a model, whose loss is a formula, and a GPT so small that all of it is known."""

from types import SimpleNamespace

import numpy as np

from minillm.nn import GPT, Config
from minillm.gradcheck import perturb

VOCABULARY = 11


class Formulas:
    """A space of n dimensions in which the loss of each task is a formula of the weights; and, in one, the probe of it.

    `visited` holds the weights at which a loss was asked for, in this process.
    """

    def __init__(self, n, **formulas):
        self.size, self.formulas, self.visited = n, formulas, []
        self.tasks, self.count = list(formulas), dict.fromkeys(formulas, 1)
        self.start = np.zeros(n)
        self.flat = SimpleNamespace(data=np.zeros(n))
        self.model = SimpleNamespace(config=SimpleNamespace(vocab_size=VOCABULARY))

    def vector(self, arrays):
        return np.array(arrays["theta"], np.float64)

    def losses(self, theta, probe):
        self.visited.append(np.array(theta))
        return {task: float(formula(theta)) for task, formula in self.formulas.items()}


def bowl(H, centre, lowest=0.5):
    """theta -> lowest + 1/2 (theta - centre)' H (theta - centre), a loss whose Hessian is H."""
    return lambda theta: lowest + (theta - centre) @ H @ (theta - centre) / 2


def symmetric(eigenvalues, rng):
    """A matrix with these eigenvalues, and its eigenvectors as columns."""
    Q, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues), len(eigenvalues))))
    return (Q * eigenvalues) @ Q.T, Q


def small_gpt(dtype=np.float64, layers=2, width=12, context=7, seed=5):
    """Every weight is off its starting value, so that none hides an error."""
    rng = np.random.default_rng(seed)
    model = GPT(Config(VOCABULARY, context, layers, 2, width), rng, dtype)
    perturb(model, rng)
    return model


def some_texts(rng, n=5, length=6):
    return rng.integers(0, VOCABULARY, (n, length)).tolist()
