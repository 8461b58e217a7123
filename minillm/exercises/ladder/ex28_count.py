"""Exercise 28: how many numbers is a model made of?"""

import numpy as np

from ...nn import GPT, Config

HINTS = (
    "Count one kind of layer at a time. A linear layer n -> m has n m weights and m biases; a LayerNorm of width C has 2 C "
    "numbers.",
    "One block: LayerNorms 2 x 2 C; attention 3 C C + 3 C and C C + C; MLP 4 C C + 4 C and 4 C C + C. Add these up before you "
    "multiply by L, and add what there is only once.",
    """One block has 12 C^2 + 13 C. Then there are the two tables and the last norm:

    V C + T C + L (12 C^2 + 13 C) + 2 C""",
)

EXPLANATION = """
Width counts twice and depth once: the blocks have about 12 L C^2 numbers. In a small model the table of words is a large part of
it; in GPT-3, with C = 12,288, L = 96 and V = 50,257, it is four parts in a thousand of the 175 thousand million.

To read one token costs about two operations for each parameter of the blocks, and its backward pass twice as many: six for each
parameter and token in training. Frozen matrices save a third of that, since they need no dW (lesson 10).
"""


def check(attempt):
    for V, T, L, C in attempt.trials("V T L C", 6):
        T, C = T + 20, 6 * C                                        # to be told from 2; to be split over three heads
        right = GPT(Config(V, T, L, 3, C), np.random.default_rng(0)).parameters().values()
        n = sum(p.size for p in right)
        count = attempt.check("count_parameters", (V, T, L, C), {"n": n}, {
            "the output layer is counted apart; it is the table of words once more": {"n": n + V * C},
            "the output layer is counted apart, with a bias; it is the table of words once more": {"n": n + V * C + V},
            "the biases of the linear layers are missing": {"n": n - 9 * L * C},
            "the LayerNorms are missing": {"n": n - 4 * L * C - 2 * C},
            "the last LayerNorm is missing": {"n": n - 2 * C},
            "a LayerNorm has a gain and a bias, 2 C numbers, not C": {"n": n - 2 * L * C - C},
            "the table of places is missing": {"n": n - T * C},
            "all is multiplied by the number of blocks; the tables and the last norm are there once": {
                "n": n + (L - 1) * (V * C + T * C + 2 * C)},
            "q, k and v are three linear layers' worth, C -> 3 C": {"n": n - L * (2 * C * C + 2 * C)},
        })
        attempt.insist(np.asarray(count).dtype.kind in "iu", f"count_parameters({V}, {T}, {L}, {C}) is right, but of the type "
                       f"{type(count).__name__}, and numbers of things are whole: // divides without a rest.")
