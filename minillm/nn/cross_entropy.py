"""Cross-entropy: the surprise of the right answer, -log p(target), and the gradient that starts every backward pass."""

from typing import NamedTuple

import numpy as np

from .module import Module

IGNORE = -1      # a target that does not count: padding, or a prompt


class CrossEntropyCache(NamedTuple):
    p: np.ndarray             # (..., V), the model's distribution
    targets: np.ndarray       # (N,)
    total: float


class CrossEntropy(Module):
    """loss = (1 / total) sum_n -log softmax(logits_n)[target_n], in nats."""

    def forward(self, logits, targets, total=None):
        """logits (..., V), targets (...) of word ids or IGNORE -> loss, a Python float.

        `total` is the count to divide by; by default that of the targets that count. Give a constant when batches differ
        in length: dividing each batch by its own count would weigh a token of a short document more than one of a long.

        Softmax and logarithm are taken together, log p_y = s_y - log sum_j exp(s_j): a p that underflowed to 0 has no logarithm.
        """
        targets = targets.reshape(-1)
        counted = np.flatnonzero(targets != IGNORE)
        total = float(total or max(len(counted), 1))
        shifted, e, z = exponentials(logits.reshape(-1, logits.shape[-1]))  # (N, V), (N, V), (N, 1)
        log_p_target = shifted[counted, targets[counted]] - np.log(z[counted, 0])
        loss = -float(log_p_target.sum(dtype=np.float64)) / total
        p = np.divide(e, z, out=e)
        return loss, CrossEntropyCache(p.reshape(logits.shape), targets, total)

    def backward(self, dout, cache):
        """Forward: loss = (1 / total) sum_n -log p_n[y_n] over the targets y_n that count, p_n = softmax(s_n).
        Given dout, a number (1, usually), want ds (..., V).
        Derivation, for one row that counts.
            -log p_y = -s_y + log sum_j exp(s_j)
            d(-log p_y)/ds_j = -[j = y] + exp(s_j) / sum_i exp(s_i) = p_j - [j = y]
            ds = dout (p - onehot(y)) / total;     a row that does not count has ds = 0
        Check: tests/test_gradients.py, with some targets ignored; each row of ds sums to 0.
        """
        p, targets, total = cache
        counted = np.flatnonzero(targets != IGNORE)
        ds = p.reshape(-1, p.shape[-1]) * (dout / total)                    # (N, V)
        ds[counted, targets[counted]] -= dout / total
        ds[targets == IGNORE] = 0
        return ds.reshape(p.shape)


def exponentials(s):
    """s (..., V) -> s - max(s), e = exp of that, which cannot overflow, and z = sum e (..., 1): log p = (s - max(s)) - log z."""
    shifted = s - s.max(axis=-1, keepdims=True)
    e = np.exp(shifted)
    return shifted, e, e.sum(axis=-1, keepdims=True)
