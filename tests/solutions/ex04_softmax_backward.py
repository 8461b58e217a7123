def softmax_backward(dout, p):
    return p * (dout - (dout * p).sum(axis=-1, keepdims=True))


WRONG = [
    ("p * (dout - (dout * p).sum(axis=-1, keepdims=True))", "dout * p * (1 - p)", "as if it were a sigmoid"),
    (" - (dout * p).sum(axis=-1, keepdims=True)", "", "the sum over the row is missing"),
    ("(dout * p).sum(", "dout.sum(", "not weighted by p"),
    ("p * (dout - ", "(dout - ", "the factor p before the bracket"),
    ("sum(axis=-1, keepdims=True)", "sum(axis=0)", "over the wrong axis"),
    ("sum(axis=-1, keepdims=True)", "sum()", "one sum over the whole array"),
    ("dout - (dout", "dout + (dout", "the sum is added"),
]
