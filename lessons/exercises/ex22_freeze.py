"""Exercise 22: some weights move, all others stay.

Weights and gradients come as dictionaries, {name: array}, with the names of the project: "blocks.0.attn.qkv.weight". Patterns
say which weights train, as in a shell: "blocks.1.*" is all of block 1, "*.bias" is every bias. fnmatch(name, pattern) from
Python's standard library says whether a name matches.

Return the weights after one step of gradient descent with weight decay, a new dictionary:

    W <- W - rate (dW + decay W)               if the name of W matches one or more of the patterns
    W <- W                                     if not: exactly the same numbers, to the last bit

`grads` may lack frozen weights, or have gradients for them, which you must ignore. A pattern that matches no name is a typo, and
would silently freeze what should train: raise a ValueError whose message contains the pattern.

    >>> weights = {"a.weight": np.array([1.0, 2.0]), "a.bias": np.array([3.0])}
    >>> after = step(weights, {"a.bias": np.array([1.0])}, ["*.bias"], rate=0.5, decay=0.1)
    >>> print({name: W.round(3).tolist() for name, W in after.items()})
    {'a.weight': [1.0, 2.0], 'a.bias': [2.35]}
    >>> step(weights, {}, ["*.bais"], rate=0.5, decay=0.1)
    Traceback (most recent call last):
    ValueError: the pattern *.bais fits no name
"""

from fnmatch import fnmatch

import numpy as np


def step(weights, grads, patterns, rate, decay):
    """weights {name: array}, grads {name: array} of those that train, patterns, a list -> the new weights {name: array}."""
    raise NotImplementedError
