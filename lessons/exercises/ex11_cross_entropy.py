"""Exercise 11: cross-entropy and its gradient.

A classifier gives each of N examples a row of V scores, the logits; softmax turns them into probabilities p (exercise 3). The
targets are whole numbers: example n belongs to class y_n. The loss is the mean surprise at the right class,

    L = (1 / N) sum_n -log p_n[y_n]

and its gradient with respect to the logits s, softmax and logarithm taken together, is

    dL/ds_nj = (p_nj - [j = y_n]) / N              [j = y] is 1 if j = y, else 0

Write both. Large scores must do no harm: with scores of 0 and 1000 the loss is 1000 or 0, not infinite and not NaN. So compute
the logarithm of a probability without computing the probability first: with m the largest score of the row,

    log p_j = (s_j - m) - log sum_i exp(s_i - m)

    >>> loss, dlogits = cross_entropy(np.array([[0.0, 0.0], [1000.0, 0.0]]), np.array([0, 1]))
    >>> print(round(float(loss), 4), dlogits.tolist())
    500.3466 [[-0.25, 0.25], [0.5, -0.5]]
"""

import numpy as np


def cross_entropy(logits, targets):
    """logits (N, V), targets (N,) of whole numbers -> L a number, dlogits (N, V)."""
    raise NotImplementedError
