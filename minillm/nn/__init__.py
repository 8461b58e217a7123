"""The layers: one file each, with its backward right below its forward and the derivation between them."""

from .attention import CausalSelfAttention
from .block import Block
from .cross_entropy import IGNORE, CrossEntropy
from .embedding import Embedding
from .gelu import GELU
from .gpt import GPT, Config
from .layernorm import LayerNorm
from .linear import Linear
from .mlp import MLP
from .module import Module, Parameter, backward_chain, forward_chain
from .softmax import Softmax

__all__ = ["GELU", "GPT", "IGNORE", "MLP", "Block", "CausalSelfAttention", "Config", "CrossEntropy", "Embedding",
           "LayerNorm", "Linear", "Module", "Parameter", "Softmax", "backward_chain", "forward_chain"]
