def merge(W, A, B, scale):
    return W + scale * A @ B


def merge_qkv(W, parts, scale):
    C, new = len(W), W.copy()
    for name, (A, B) in parts.items():
        i = "qkv".index(name)
        new[:, i * C:(i + 1) * C] += scale * A @ B
    return new


WRONG = [
    ("return W + scale * A @ B", "return W + A @ B", "the scale is missing"),
    ("return W + scale * A @ B", "return scale * A @ B", "W itself is missing"),
    ("return W + scale * A @ B", "return W - scale * A @ B", "subtracted"),
    ("return W + scale * A @ B", "return (W + scale * A @ B).astype('float32')", "to float32, say"),
    ("i = \"qkv\".index(name)", "i = list(parts).index(name)", "the position in parts"),
    ("i * C:(i + 1) * C", "i::3", "are side by side"),
    ("W.copy()", "W", "has changed its input W"),
    ("new[:, i * C:(i + 1) * C]", "new[i * C:(i + 1) * C]", "do not fit"),
]
