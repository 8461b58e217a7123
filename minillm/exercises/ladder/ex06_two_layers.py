"""Exercise 6: a network of two layers."""

import numpy as np

from ..last_checks import hold_dtype
from ..nested import copied, equal

LESSON = 3

HINTS = (
    "From the inside outwards, one step per line: your `linear` on x, tanh of the result, your `linear` once more on that. "
    "Give the hidden values a name, h: the backward pass needs them.",
    "For the cache, go through the parts and ask what their backward passes need. A linear layer needs its input (for dW) and "
    "its weights (for dx); tanh needs its output (exercise 2). Some of these are the same array.",
    "Return two results, `return out, cache`, where cache is a tuple of the arrays x, W1, h and W2 in an order of your choice. "
    "No biases are needed: their gradient does not depend on them.",
)

EXPLANATION = """
h is both the output of tanh and the input of the second layer, so it is kept once for both. Neither the sums before tanh nor the
biases have to be kept.

It is worth returning the cache, instead of hiding it in a global variable or on an object: a network can be called twice before
its backward pass, for example to measure a validation loss in the middle of a training step, and nothing is overwritten. All
layers of `minillm/nn/` work like this: `out, cache = layer.forward(x)`.

With GELU instead of tanh, and H = 4 I, O = I, you have written the MLP of a transformer block: `minillm/nn/mlp.py`. It
holds two thirds of a block's weights.
"""


def check(attempt):
    before = None
    for trial, (N, M, n_in, n_hidden, n_out) in enumerate(attempt.trials("N M I H O", 6)):
        leading = [(N,), (N, M), ()][trial % 3]
        draw = attempt.rng.normal
        x, W1, b1 = draw(size=(*leading, n_in)), draw(size=(n_in, n_hidden)), draw(size=n_hidden)
        W2, b2 = draw(size=(n_hidden, n_out)), draw(size=n_out)
        args, z = (x, W1, b1, W2, b2), x @ W1 + b1
        h = np.tanh(z)
        right = h @ W2 + b2
        out, cache = attempt.call("two_layers", *args, returns="out cache")
        attempt.compare("two_layers", args, out, {"out": right}, {
            "tanh is missing: two linear layers in a row are one": {"out": z @ W2 + b2},
            "tanh has been applied to the output as well": {"out": np.tanh(right)},
            "tanh is applied after the second layer instead of between the two": {"out": np.tanh(z @ W2 + b2)},
            "tanh has been applied to the inputs": {"out": np.tanh(np.tanh(x) @ W1 + b1) @ W2 + b2},
            "b1 is left out": {"out": np.tanh(x @ W1) @ W2 + b2},
            "b1 is added after tanh; it must be added before": {"out": (np.tanh(x @ W1) + b1) @ W2 + b2},
            "b2 is left out": {"out": h @ W2},
            "the activation is a sigmoid, not tanh": {"out": (1 + np.tanh(z / 2)) / 2 @ W2 + b2},
            "the activation is ReLU, not tanh": {"out": np.maximum(z, 0) @ W2 + b2},
            "the hidden layer is returned as the output": {"out": h},
        }, note={0: "with no leading axes", 2: "with two leading axes"}.get(len(leading), ""))
        hold_dtype(attempt, "two_layers", args, {"out": right, "cache": None})
        attempt.insist(cache is not None, "two_layers returns None as its cache: your backward pass, exercise 8, needs it. "
                                          "Put in what it needs: a tuple of arrays, say.")
        if before is not None:
            attempt.insist(equal(*before), "The second call of two_layers has changed the cache that the first one returned.",
                           "Likely: it is kept in a list or dictionary outside the function. Make a new one in each call.")
        before = cache, copy_of(cache)


def copy_of(cache):
    """A copy of a cache; if it is an object of the learner's own that cannot be copied, the cache itself."""
    try:
        return copied(cache)
    except Exception:
        return cache
