def lora(x, W, b, A, B, scale):
    z = x @ A
    return x @ W + b + scale * (z @ B), (x, z, W, A, B, scale)


def lora_backward(dout, cache):
    x, z, W, A, B, scale = cache
    dz = scale * (dout @ B.T)
    X, Z, dZ, G = (array.reshape(-1, array.shape[-1]) for array in (x, z, dz, dout))
    return dout @ W.T + dz @ A.T, X.T @ dZ, scale * (Z.T @ G)


WRONG = [
    ("dz = scale * (dout @ B.T)", "dz = dout @ B.T", "the scale is missing in the backward pass"),
    ("scale * (Z.T @ G)", "Z.T @ G", "the scale is missing in the backward pass"),
    ("X.T @ dZ", "scale * (X.T @ dZ)", "the scale is there twice"),
    ("dout @ W.T + dz @ A.T", "dz @ A.T", "the part through the frozen W is missing"),
    ("dout @ W.T + dz @ A.T", "dout @ W.T", "the part through A is missing"),
    ("X.T @ dZ, scale * (Z.T @ G)", "scale * (Z.T @ G), X.T @ dZ", "swapped"),
    ("X.T @ dZ", "dZ.T @ X", "it is the transpose"),
    ("scale * (z @ B)", "z @ B", "the scale is missing"),
    ("scale * (Z.T @ G)", "scale * (X.T @ G)", "dB is computed from x"),
]
