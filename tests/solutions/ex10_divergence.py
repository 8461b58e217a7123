import numpy as np


def largest_rate(x):
    H = 2 / len(x) * x.T @ x
    return 2 / np.linalg.eigvalsh(H)[-1]


WRONG = [
    ("2 / len(x) * x.T", "1 / len(x) * x.T", "twice as much"),
    ("2 / len(x) * x.T", "2 * x.T", "1/N is missing"),
    ("2 / len(x)", "2 / x.shape[1]", "the number of inputs"),
    ("2 / np.linalg.eigvalsh(H)[-1]", "1 / np.linalg.eigvalsh(H)[-1]", "straight to the minimum"),
    ("eigvalsh(H)[-1]", "eigvalsh(H)[0]", "smallest eigenvalue"),
    ("2 / np.linalg.eigvalsh(H)[-1]", "2 / np.trace(H)", "sum of all eigenvalues"),
    ("2 / np.linalg.eigvalsh(H)[-1]", "2 / np.linalg.eigvalsh(H)", "one number"),
    ("2 / len(x) * x.T @ x", "2 * np.cov(x.T).reshape(x.shape[1], -1)", "subtracts the mean"),
    ("2 / np.linalg.eigvalsh(H)[-1]", "2 / np.sqrt(np.linalg.eigvalsh(H)[-1])", "must"),
    ("2 / np.linalg.eigvalsh(H)[-1]", "np.linalg.eigvalsh(H)[-1]", "the eigenvalue itself"),
]
