"""Exercise 13: the table of words, forward and backward.

A word is a number; what the model knows about it is a row of a table W (V, C). To embed words means to look up their rows:

    out_nc = W_{index(n), c}

Each row of dout = dL/dout is added to the row of W that was looked up there. A row that was read twice gets the sum of both,
and a row that was not read gets zero:

    dW_vc = sum over all n with index(n) = v of dout_nc

The index may have any shape, such as (B, T); then out has this shape followed by C. There is no gradient for the index.

    >>> W = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    >>> print(embedding(np.array([2, 0, 2]), W).tolist())
    [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]
    >>> print(embedding_backward(np.array([[1.0, 1.0], [2.0, 2.0], [10.0, 20.0]]), np.array([2, 0, 2]), W).tolist())
    [[2.0, 2.0], [0.0, 0.0], [11.0, 21.0]]
"""

import numpy as np


def embedding(index, W):
    """index of whole numbers, of any shape, W (V, C) -> out (*index.shape, C)."""
    raise NotImplementedError


def embedding_backward(dout, index, W):
    """dout (*index.shape, C), index, W (V, C) -> dW (V, C)."""
    raise NotImplementedError
