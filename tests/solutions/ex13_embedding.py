import numpy as np


def embedding(index, W):
    return W[index]


def embedding_backward(dout, index, W):
    dW = np.zeros_like(W)
    np.add.at(dW, index, dout)
    return dW


WRONG = [
    ("np.add.at(dW, index, dout)", "dW[index] += dout", "they must add up"),
    ("np.zeros_like(W)", "W.copy()", "start from zeros"),
    ("    np.add.at(dW, index, dout)\n    return dW", "    return dout", "dW"),
    ("np.add.at(dW, index, dout)", "for i, rows in zip(index, dout): dW[i] += rows", "the first axis is not enough"),
    ("W[index]", "np.take(W, index)", "single numbers"),
    ("np.zeros_like(W)", "np.zeros(W.shape)", "float32 into float64"),
]
