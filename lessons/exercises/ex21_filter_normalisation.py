"""Exercise 21: directions in units of the weights.

A picture of a loss surface needs directions in weight space. The length of a random direction means little by itself: with a
ReLU between two layers you can double the weights of the first and halve those of the second without changing the function,
but a step of a given length now has another effect. So a random direction d is scaled by the weights W themselves, filter by
filter. A filter is the set of weights that computes one output number. Here W is stored as (in, out), and y = x W: the filter
of output i is COLUMN i of W. Make each column of d as long as that of W; call the result d':

    d'_ki = d_ki |W_.i| / |d_.i|               |W_.i| = sqrt(sum_k W_ki^2)

A column of W that is 0 gives a column of zeros. (A column of d of length 0 does not occur.)

    >>> d, W = np.array([[3.0, 1.0, 1.0], [4.0, 0.0, 2.0]]), np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    >>> filter_normalised(d, W).round(4).tolist()
    [[0.6, 2.0, 0.0], [0.8, 0.0, 0.0]]
"""

import numpy as np


def filter_normalised(d, W):
    """d, W (in, out) -> d' (in, out), in which every column is as long as that of W."""
    raise NotImplementedError
