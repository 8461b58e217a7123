import numpy as np


def directions(P, F, A):
    u = (F - P) / np.linalg.norm(F - P)
    w = A - P
    w = w - (w @ u) * u
    return u, w / np.linalg.norm(w)


def coordinates(theta, P, u, v):
    delta = theta - P
    length = np.linalg.norm(delta)
    if length == 0:
        return 0.0, 0.0, 0.0
    a, b = delta @ u, delta @ v
    return a, b, np.linalg.norm(delta - a * u - b * v) / length


WRONG = [
    ("w = w - (w @ u) * u", "pass", "not orthogonal"),
    ("return u, w / np.linalg.norm(w)", "return u, w", "does not have length 1"),
    ("u = (F - P) / np.linalg.norm(F - P)", "u = F - P", "does not have length 1"),
    ("u = (F - P) / np.linalg.norm(F - P)", "u = F / np.linalg.norm(F)", "from 0 to F"),
    ("delta = theta - P", "delta = theta", "measured from P"),
    ("length = np.linalg.norm(delta)", "length = np.linalg.norm(theta)", "the length of theta"),
    ("np.linalg.norm(delta - a * u - b * v) / length", "np.linalg.norm(delta - a * u - b * v)", "not divided by |delta|"),
    ("np.linalg.norm(delta - a * u - b * v) / length", "np.hypot(a, b) / length", "the part that the plane shows"),
    ("np.linalg.norm(delta - a * u - b * v) / length", "1 - (a * a + b * b) / length ** 2", "square of the error"),
    ("    if length == 0:\n        return 0.0, 0.0, 0.0\n", "", "at theta = P"),
    ("return a, b, np", "return b, a, np", "the coordinates are swapped"),
]
