"""The layers: one file each, with its backward right below its forward and the derivation between them.

Notation, in the maths of every docstring:

    B, T, C       texts in a batch, positions in a text, features at a position (the width)
    H, D          attention heads and the features of each, C = H D;   V words in the vocabulary
    K, G          heads of keys and values, and of queries that share one, H = K G;   F hidden features of an MLP
    N             rows: all leading axes taken as one, so that x (B, T, C) is (N, C) with N = B T
    x_nc, W_ki    one entry; sums over indices are written out
    X'            the transpose. A derivative is never written with ', but dy/dx
    [i = j]       1 if i = j, else 0
    dX            dLoss/dX, in the shape of X
    dout          dLoss/dout: of a layer's output, what its backward is given
    J             the Jacobian of a layer f, J_ij = df_i/dx_j: dx_j = sum_i dout_i J_ij, or dx = J' dout

Read in this order: module (parameters, the chain rule), linear, relu, gelu, softmax, layernorm, embedding, cross_entropy,
attention, mlp, block, gpt: that is GPT-2. Then what newer models have in their place: rmsnorm, swiglu, rotary, and config, which
says what can be combined. Where the fast form hides the idea, a file says the plain form first; lessons/whole_story.py is nothing
but plain forms.
"""

from .attention import AttentionHeads, CausalSelfAttention
from .block import Block
from .config import ARCHITECTURES, Config
from .cross_entropy import IGNORE, CrossEntropy
from .embedding import Embedding, OutputTable
from .gelu import GELU
from .gpt import GPT
from .layernorm import LayerNorm
from .linear import Linear
from .mlp import MLP
from .module import Module, Parameter, backward_chain, forward_chain
from .relu import ReLU
from .rmsnorm import RMSNorm
from .rotary import Rotary
from .softmax import Softmax
from .swiglu import SiLUGate, SwiGLU

__all__ = ["ARCHITECTURES", "AttentionHeads", "Block", "CausalSelfAttention", "Config", "CrossEntropy", "Embedding", "GELU",
           "GPT", "IGNORE", "LayerNorm", "Linear", "MLP", "Module", "OutputTable", "Parameter", "RMSNorm", "ReLU", "Rotary",
           "SiLUGate", "Softmax", "SwiGLU", "backward_chain", "forward_chain"]
