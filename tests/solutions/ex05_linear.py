def linear(x, W, b):
    return x @ W + b


WRONG = [
    ("x @ W + b", "x @ W", "the bias is left out"),
    ("x @ W", "x @ W.T", "is a transpose (.T) missing, or on the wrong factor"),
    ("x @ W", "x @ (W.T if W.shape[0] == W.shape[1] else W)", "W has been transposed"),
    ("x @ W", "x.reshape(-1, x.shape[-1]) @ W", "leading axis has been added"),
    ("return x @ W + b", "return x * W + b", "these shapes do not fit together"),
    ("x @ W + b", "x @ W - b", "the bias is subtracted"),
]
