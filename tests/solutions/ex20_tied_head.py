from ex13_embedding import embedding_backward


def tied_head(x, W):
    return x @ W.T


def tied_head_backward(dout, x, W):
    return dout @ W, dout.reshape(-1, len(W)).T @ x.reshape(-1, W.shape[1])


def tied_gradient(dlogits, x, demb, index, W):
    return tied_head_backward(dlogits, x, W)[1] + embedding_backward(demb, index, W)


WRONG = [
    ("dout.reshape(-1, len(W)).T @ x.reshape(-1, W.shape[1])", "x.reshape(-1, W.shape[1]).T @ dout.reshape(-1, len(W))",
     "the transpose"),
    (" + embedding_backward(demb, index, W)", "", "only the gradient of the output layer"),
    ("tied_head_backward(dlogits, x, W)[1] + embedding_backward(demb, index, W)", "embedding_backward(demb, index, W)",
     "only the gradient of the embedding"),
    ("return x @ W.T", "return x @ W", "is a transpose (.T) missing"),
    ("embedding_backward(demb, index, W)", "embedding_backward(x, index, W)", "embedding_backward was given x"),
]
