"""Exercise 12: when to stop.

While a model trains, we look from time to time at its loss on validation texts: losses[0], losses[1], ... Training ends when
`patience` looks in a row have brought no new lowest loss. A loss that only equals the lowest is not a new lowest.

Return two whole numbers: `best`, the look with the lowest loss up to then, to whose weights we go back; and `stop`, the look at
which training ends. If it never has to end early, `stop` is the last look.

    >>> print(early_stopping([5.0, 3.0, 4.0, 2.0, 2.5, 2.2, 1.0], patience=2))
    (3, 5)
    >>> print(early_stopping([5.0, 3.0, 4.0, 2.0, 2.5, 2.2, 1.0], patience=3))
    (6, 6)
"""


def early_stopping(losses, patience):
    """losses, a list of numbers, patience at least 1 -> best, stop: numbers of looks, counted from 0."""
    raise NotImplementedError
