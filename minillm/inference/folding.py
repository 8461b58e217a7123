"""Weights for the decoder: whatever is the same for every token is computed once, into the matrices ("folded").

    Norms      Two linear maps in a row are one. With the gain g and bias b of a norm and the linear layer W, c after it:
                   (x_hat g + b) W + c = x_hat (diag(g) W) + (b W + c)
               This saves the gain and the bias.
    Means      A norm ignores a constant that is added to all features of x. So everything that is added to x (the embeddings
               and the outputs of both projections) may leave out its mean over the features: subtract from each row of its
               weights, and from its bias, the mean of that row. Then the mean of x is always 0, and
                   x_hat = x / sqrt(x.x / C + eps) = sqrt(C) x / sqrt(x.x + C eps)
               where sqrt(C) goes into the weights after the norm as well. This saves the mean and the division by C. (An RMSNorm
               takes no mean away, so its model keeps its means.)
    Scores     (q / sqrt(D)) k' = q k' / sqrt(D), so 1 / sqrt(D) goes into the columns of W_qkv and b that make q.
               This saves scaling the scores. (A rotation, which comes between the two, does not mind.)
    GELU       With s^3 = A B (A, B: the constants in nn/gelu.py) and z = s x,
                   x/2 (1 + tanh(A x + A B x^3)) = (z + z tanh(z (z^2 + A/s))) / 2s
               so s goes into the weights before the GELU and 1/2s into those after it. This saves the multiplications by
               constants. And silu(a) = z + z tanh(z) with z = a/2, so 1/2 goes into W_gate.
    Biases     x W + b = [x 1] [W; b]: one more row in the matrix, and a 1 after x, written once. This saves the addition.

Check: tests/test_decoder.py.
"""

import math
from typing import NamedTuple

import numpy as np

from ..ground.pieces import row_mean
from ..nn import LayerNorm, SwiGLU
from ..nn.gelu import A as GELU_A
from ..nn.gelu import B as GELU_B

S = (GELU_A * GELU_B) ** (1 / 3)      # s in "GELU" above
GELU_RATIO = GELU_A / S               # what is left of the constants: A / s


class Folded(NamedTuple):
    """The folded weights of a block, each with its bias as the last row."""

    qkv: np.ndarray           # (C + 1, (H + 2K) D)
    attn_proj: np.ndarray     # (C + 1, C)
    fc: np.ndarray            # (C + 1, F), or (C + 1, 2F) of a SwiGLU
    mlp_proj: np.ndarray      # (F + 1, C)


def fold(block, D, centred):
    """The Folded weights of a block with heads of size D.   centred: is the mean of x to be 0?"""
    attn, mlp = block.attn, block.mlp
    qkv = fold_norm(block.ln_1, attn.qkv.weight.data, attn.qkv.bias_or_zero())
    qkv[:, attn.qkv.columns("q")] *= 1 / math.sqrt(D)
    if isinstance(mlp, SwiGLU):
        fc, last, scale = fold_norm(block.ln_2, mlp.gate_up.weight.data, mlp.gate_up.bias_or_zero()), mlp.down, 1
        fc[:, mlp.gate_up.columns("gate")] *= 1 / 2
    else:
        fc, last, scale = fold_norm(block.ln_2, mlp.fc.weight.data, mlp.fc.bias_or_zero(), S), mlp.proj, 1 / (2 * S)
    return Folded(qkv, fold_last(attn.proj, centred), fc, fold_last(last, centred, scale))


def fold_norm(norm, W, b=0, scale=1):
    """The linear layer W, b after a norm, (C, n) -> the folded matrix for [x_hat / sqrt(C), 1], output times scale, (C + 1, n)"""
    g = norm.weight.data * (scale * math.sqrt(W.shape[0]))
    through = norm.bias.data @ W if isinstance(norm, LayerNorm) else 0
    return with_bias(W, g[:, None], scale * (through + b))


def fold_last(linear, centred, scale=1):
    """A linear layer whose output is added to x, (n, C) -> the matrix for [input / scale, 1], (n + 1, C)"""
    folded = with_bias(linear.weight.data, scale, linear.bias_or_zero())
    if centred:
        folded -= row_mean("nc->n", folded)
    return folded


def with_bias(W, scale, b):
    """[scale W; b]"""
    folded = np.empty((W.shape[0] + 1, W.shape[1]), W.dtype)
    np.multiply(W, scale, out=folded[:-1])
    folded[-1] = b
    return folded
