def linear_backward(dout, x, W):
    X, G = x.reshape(-1, x.shape[-1]), dout.reshape(-1, dout.shape[-1])
    return dout @ W.T, X.T @ G, G.sum(axis=0)


WRONG = [
    ("G.sum(axis=0)", "dout", "the sum over the batch is missing"),
    ("G.sum(axis=0)", "dout.sum(axis=0)", "all leading axes"),
    ("G.sum(axis=0)", "G.mean(axis=0)", "the mean over the examples"),
    ("dout @ W.T", "dout @ W", "is a transpose (.T) missing"),
    ("X.T @ G", "G.T @ X", "transpose"),
    ("dout @ W.T", "-dout @ W.T", "the sign"),
]
