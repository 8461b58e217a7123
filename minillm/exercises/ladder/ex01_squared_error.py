"""Exercise 1: the gradient of the squared error."""

import numpy as np

LESSON = 1

HINTS = (
    "Give the error a name: e_n = p_n - y_n, an array (N,). The loss is the mean of e_n^2. How does e_n change if b grows by a "
    "little? And if w_k does?",
    "The chain rule, for one example: d(e_n^2)/dw_k = 2 e_n de_n/dw_k, and de_n/dw_k = x_nk; for the bias, de_n/db = 1. The "
    "loss is the mean over n, so its derivative is the mean of these.",
    """In one line each:

    dw_k = (2 / N) sum_n e_n x_nk        db = (2 / N) sum_n e_n

The first sum runs over the rows of x. As a product of arrays it is `x.T @ e`.""",
)

EXPLANATION = """
Each example changes the weights in proportion to its error times its input: an input of 0 has no influence. `x.T @ e` adds up
these contributions, and you will see this product again in every layer of every network.

The factor 2 / N is the derivative of the outermost function, the mean of squares. For any loss, the backward pass begins with the
derivative of the last operation and works inwards.
"""


def check(attempt):
    for N, K in attempt.trials("N K"):
        x, y, w, b = attempt.rng.normal(size=(N, K)), attempt.rng.normal(size=N), attempt.rng.normal(size=K), 0.7
        e = x @ w + b - y
        right = {"loss": np.mean(e ** 2), "dw": 2 / N * x.T @ e, "db": 2 * np.mean(e)}
        attempt.check("squared_error", (x, y, w, b), right, {
            "the errors are added up, not averaged: 1/N is missing": {
                "loss": np.sum(e ** 2), "dw": 2 * x.T @ e, "db": 2 * np.sum(e)},
            "the square's factor 2 is missing in the derivative": {"dw": x.T @ e / N, "db": np.mean(e)},
            "the error is taken the other way round, y - p: the derivative of -p brings a minus": {
                "dw": -2 / N * x.T @ e, "db": -2 * np.mean(e)},
            "the bias is left out of the prediction": {"loss": np.mean((e - b) ** 2)},
            "the errors are not weighted by their inputs": {"dw": np.full(K, 2 * np.mean(e))},
        })
