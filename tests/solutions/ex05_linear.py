def linear(x, W, b):
    return x @ W + b
