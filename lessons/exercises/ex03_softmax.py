"""Exercise 3: softmax, for scores of any size.

Softmax turns a row of T scores into T probabilities:

    p_i = exp(s_i) / sum_j exp(s_j)            i, j = 1 .. T

The scores may have any number of leading axes: (T,), or (N, T), or (B, N, T). Each row along the last axis is treated
separately, and its probabilities sum to 1.

exp(1000) is too large for a computer's numbers, and exp(-1000) too small: the equation as written would give "not a number"
for the rows in the second example. Lesson 2 shows how the scores of a row can be changed without changing its probabilities.
Do this so that no exponential can overflow, and no row's sum can be 0. A score of minus infinity gets the probability 0, if
another score in its row is finite; attention will need that.

    >>> print(softmax(np.array([2.0, 1.0, 0.0])).round(4).tolist())
    [0.6652, 0.2447, 0.09]
    >>> print(softmax(np.array([[1000.0, 1000.0], [-2000.0, -3000.0]])).round(4).tolist())
    [[0.5, 0.5], [1.0, 0.0]]
"""

import numpy as np


def softmax(s):
    """s (..., T) -> p (..., T), in which each row sums to 1."""
    raise NotImplementedError
