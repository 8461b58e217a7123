import numpy as np


def embedding(index, W):
    return W[index]


def embedding_backward(dout, index, W):
    dW = np.zeros_like(W)
    np.add.at(dW, index, dout)
    return dW
