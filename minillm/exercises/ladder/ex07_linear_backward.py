"""Exercise 7: the backward pass of a linear layer."""

LESSON = 4

HINTS = (
    "Consider one number at a time: which y_ni does x_nk affect, and with what weight? It affects all y_ni of its own example n, "
    "each with weight W_ki. So its gradient is a sum over all i. Ask the same for W_ki, and for b_i.",
    """In index notation:

    dx_nk = sum_i dout_ni W_ki        dW_ki = sum_n x_nk dout_ni        db_i = sum_n dout_ni

Which of them are matrix products, and which factor must be transposed so that the axis that is summed over is in the middle?""",
    """dx = dout W', and with all leading axes merged, with I, O = W.shape, X = x.reshape(-1, I), G = dout.reshape(-1, O):

    dW = X' G        db = the sum of the rows of G

`dout @ W.T` works with any leading axes as it is.""",
)

EXPLANATION = """
This is the most important backward pass of all: nine tenths of the work of a language model are these two products. Their shapes
leave no choice. dW must be (I, O), and of x (N, I) and dout (N, O) only the product x' dout has that shape. When in doubt, follow
the shapes.

A frozen layer does not need dW, only dx: that is one product instead of two, and x need not be kept. This is how freezing saves
time and memory (lesson 10). In `minillm/nn/linear.py` you will find your two lines, and the case that the layer is frozen.
"""


def check(attempt):
    for trial, (N, M, n_in, n_out) in enumerate(attempt.trials("N M I O", 6)):
        leading = (N,) if trial < 3 else (N, M)
        x, W = attempt.rng.normal(size=(*leading, n_in)), attempt.rng.normal(size=(n_in, n_out))
        dout = attempt.rng.normal(size=(*leading, n_out))
        X, G = x.reshape(-1, n_in), dout.reshape(-1, n_out)
        right = {"dx": dout @ W.T, "dW": X.T @ G, "db": G.sum(axis=0)}
        attempt.check("linear_backward", (dout, x, W), right, {
            "the sum over the batch is missing; each example adds to db": {"db": dout},
            "only the first axis is summed over; all leading axes must be": {"db": dout.sum(axis=0)},
            "the mean over the examples is taken; the gradient is their sum": {"dW": right["dW"] / len(X),
                                                                               "db": right["db"] / len(X)},
            "the sum runs over the wrong axis: over the outputs instead of the examples": {"db": dout.sum(axis=-1)},
            "the transpose is missing: W is (I, O), and dx must be (..., I)": {"dx": dout @ W if n_in == n_out else None},
            "dW is the transpose, (O, I); W is stored (I, O)": {"dW": right["dW"].T},
        }, note="" if trial < 3 else "with two leading axes")
