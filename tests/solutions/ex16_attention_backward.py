import math

from ex04_softmax_backward import softmax_backward


def attention_backward(do, q, k, v, P):
    dv = P.swapaxes(-1, -2) @ do
    dS = softmax_backward(do @ v.swapaxes(-1, -2), P) / math.sqrt(q.shape[-1])
    return dS @ k, dS.swapaxes(-1, -2) @ q, dv


WRONG = [
    (" / math.sqrt(q.shape[-1])", "", "1/sqrt(D) is missing"),
    ("softmax_backward(do @ v.swapaxes(-1, -2), P)", "softmax_backward(P, do @ v.swapaxes(-1, -2))", "upstream gradient first"),
    ("softmax_backward(do @ v.swapaxes(-1, -2), P)", "(do @ v.swapaxes(-1, -2))", "softmax is left out"),
    ("dS.swapaxes(-1, -2) @ q", "dS @ q", "dk sums over"),
    ("P.swapaxes(-1, -2) @ do", "P @ do", "dv sums over"),
    ("v.swapaxes(-1, -2)", "v", "transpose"),
    ("/ math.sqrt(q.shape[-1])", "* math.sqrt(q.shape[-1])", "it is multiplied by sqrt(D)"),
    ("math.sqrt(q.shape[-1])", "math.sqrt(q.shape[-2])", "sqrt(T)"),
]
