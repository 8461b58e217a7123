"""Exercise 28: how many numbers is a model made of?"""

import numpy as np

from ...nn import GPT, Config

LESSON = 15

HINTS = (
    "Count one kind of layer at a time. A linear layer n -> m has n m weights and m biases; a LayerNorm of width C has 2 C "
    "numbers.",
    "One block: LayerNorms 2 x 2 C; attention 3 C C + 3 C and C C + C; MLP 4 C C + 4 C and 4 C C + C. Add these up before you "
    "multiply by L, and then add the parts that exist only once.",
    """One block has 12 C^2 + 13 C. Add the two tables and the last norm:

    V C + T C + L (12 C^2 + 13 C) + 2 C""",
)

EXPLANATION = """
The blocks have about 12 L C^2 numbers: quadratic in the width, linear in the depth. In a small model the table of words is a
large part of all parameters; in GPT-3, with C = 12,288, L = 96 and V = 50,257, it is 0.4 % of the 175 billion.

The forward pass of one token needs about two operations for each parameter of the blocks, and the backward pass twice as many:
training needs six operations for each parameter and token. Frozen matrices save a third of that, since they do not need dW
(lesson 10).
"""


def check(attempt):
    for V, T, L, C in attempt.trials("V T L C", 6):
        T, C = T + 20, 6 * C                                        # T much larger than 2; C divisible by three heads
        right = GPT(Config(V, T, L, 3, C), np.random.default_rng(0)).parameters().values()
        n = sum(p.size for p in right)
        count = attempt.check("count_parameters", (V, T, L, C), {"n": n}, {
            "the output layer is counted separately; it is the table of words once more": {"n": n + V * C},
            "the output layer is counted separately, with a bias; it is the table of words once more": {"n": n + V * C + V},
            "the biases of the linear layers are missing": {"n": n - 9 * L * C},
            "the LayerNorms are missing": {"n": n - 4 * L * C - 2 * C},
            "the last LayerNorm is missing": {"n": n - 2 * C},
            "a LayerNorm has a gain and a bias, 2 C numbers, not C": {"n": n - 2 * L * C - C},
            "the table of positions is missing": {"n": n - T * C},
            "everything is multiplied by the number of blocks; the tables and the last norm exist only once": {
                "n": n + (L - 1) * (V * C + T * C + 2 * C)},
            "q, k and v are three linear layers' worth, C -> 3 C": {"n": n - L * (2 * C * C + 2 * C)},
        })
        attempt.insist(np.asarray(count).dtype.kind in "iu", f"count_parameters({V}, {T}, {L}, {C}) is right, but of the type "
                       f"{type(count).__name__}; a number of parameters must be an int: // divides without a remainder.")
