"""Exercise 21: directions in units of the weights."""

import numpy as np

LESSON = 9

HINTS = (
    "The length of each column is one number per column: a sum over which axis? Keep that axis (keepdims=True), so that the "
    "lengths (1, out) broadcast to d (in, out).",
    "np.linalg.norm(d, axis=0, keepdims=True) is the length of each column. Do not divide by the length of W's columns, which "
    "may be 0.",
    "d times (lengths of W's columns divided by lengths of d's columns). Where W's column is 0 the factor is 0, and so is the "
    "result.",
)

EXPLANATION = """
Now rescaling a layer rescales the direction with it, and the picture stays the same, as it should: the function is the same (Li
et al. 2018). With one length for the whole matrix, single filters would get the wrong length; and rows belong to inputs, which
are not filters.

`filter_normalised` in `minillm/surface/directions.py` does this for every matrix of a model; in a table of words, the filters are
the rows. Biases and gains are left unchanged.
"""


def check(attempt):
    for trial, (n_in, n_out) in enumerate(attempt.trials("I O", 6)):
        d, W = attempt.rng.normal(size=(n_in, n_out)), attempt.rng.normal(size=(n_in, n_out))
        W *= np.exp(attempt.rng.normal(size=n_out))                 # columns of very different lengths
        if trial > 2:
            W[:, attempt.rng.integers(n_out)] = 0
        columns, rows, whole = ([np.linalg.norm(x, axis=axis, keepdims=True) for x in (W, d)] for axis in (0, 1, None))
        attempt.check("filter_normalised", (d, W), {"d'": d * (columns[0] / columns[1])}, {
            "rows are normalised; a filter is a column of W (in, out)": {"d'": d * (rows[0] / rows[1])},
            "the matrix is normalised as a whole; each column needs its own factor": {"d'": d * (whole[0] / whole[1])},
            "the columns have length 1; they must be as long as those of W": {"d'": d / columns[1]},
            "d is multiplied by the lengths of W's columns, but not divided by those of its own": {"d'": d * columns[0]},
            "squared lengths are used; the root is missing": {"d'": d * (columns[0] / columns[1]) ** 2},
        }, note="where a column of W is 0" if trial > 2 else "")
