def softmax_backward(dout, p):
    return p * (dout - (dout * p).sum(axis=-1, keepdims=True))
