"""Config: the sizes of a GPT, and the parts that it is built of."""

import math
from dataclasses import asdict, dataclass, fields

import numpy as np

from .block import ACTIVATIONS, BIASES, MLPS, NORMS

LARGEST = {"vocab_size": 10_000_000, "context": 1_000_000, "n_layer": 1000, "n_head": 1000, "n_embd": 100_000}
OPTIONAL = {"n_kv_head": 1000, "n_hidden": 1_000_000}        # sizes that can be left out
POSITIONS = ("learned", "rotary")
PARTS = {"norm": NORMS, "positions": POSITIONS, "mlp": MLPS, "activation": ACTIVATIONS, "biases": BIASES}
NUMBERS = {"rope_base": 1e12, "norm_eps": 1.0}               # the largest of each; all are above 0
ARCHITECTURES = {"gpt2": {}, "llama": {"norm": "rmsnorm", "positions": "rotary", "mlp": "swiglu", "biases": "none"}}


@dataclass(frozen=True)
class Config:
    """The shape of a GPT, and of what it is built. ValueError says which size or part does not fit.

    Without a choice it is GPT-2; `Config(..., **ARCHITECTURES["llama"])` is Llama, and every mixture of the two can be had.
    """

    vocab_size: int               # V, words the model knows
    context: int                  # T, the longest text it can read
    n_layer: int = 4
    n_head: int = 4               # H, heads of queries
    n_embd: int = 128             # C = H D
    n_kv_head: int | None = None  # K, heads of keys and values, each of which serves H / K heads of queries; None: H
    n_hidden: int | None = None   # F, hidden features of the MLP; None: what its kind usually has
    norm: str = "layernorm"       # one of NORMS (block.py), as all that follow are names in a table of PARTS
    positions: str = "learned"    # a table of T vectors (wpe), or rotary.py
    mlp: str = "mlp"
    activation: str = "gelu"      # of the MLP, if that has no activation of its own
    biases: str = "all"           # which linear layers have one: all, or those of attention or of the MLP, or none
    tied: bool = True             # is the table of words the output layer, too?
    rope_base: float = 10_000.0   # of rotary positions: pair j of D features turns by rope_base^(-2j/D) a position
    norm_eps: float = 1e-5

    def __post_init__(self):
        for name, largest in (LARGEST | OPTIONAL).items():
            if getattr(self, name) is not None or name in LARGEST:
                self.check_size(name, largest)
        for part, choices in PARTS.items():
            if getattr(self, part) not in choices:
                raise ValueError(f"{part} is {str(getattr(self, part))[:20]!r}, but must be one of {', '.join(choices)}")
        for name, largest in NUMBERS.items():
            self.check_number(name, largest)
        if not isinstance(self.tied, bool):
            raise ValueError(f"tied is {str(self.tied)[:20]!r}, but must be True or False")
        self.check_fit()

    def check_size(self, name, largest):
        size = getattr(self, name)
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
            raise ValueError(f"{name} is {str(size)[:20]!r}, but must be a whole number")
        if not 1 <= size <= largest:
            raise ValueError(f"{name} is {size}, but must be at least 1" if size < 1 else
                             f"{name} is above {largest:,d}, the largest that a GPT here can have")
        object.__setattr__(self, name, int(size))           # a NumPy integer could not be saved as JSON

    def check_number(self, name, largest):
        number = getattr(self, name)
        if not isinstance(number, (int, float, np.number)) or isinstance(number, bool):
            raise ValueError(f"{name} is {str(number)[:20]!r}, but must be a number")
        if not (math.isfinite(number) and 0 < number <= largest):
            raise ValueError(f"{name} is {number}, but must be above 0 and at most {largest:g}")
        object.__setattr__(self, name, float(number))

    def check_fit(self):
        """The sizes and parts beside each other."""
        if self.n_embd % self.n_head:
            raise ValueError(f"the width {self.n_embd} cannot be split over {self.n_head} heads: "
                             f"choose a multiple of {self.n_head}")
        if self.n_head % self.kv_heads:
            raise ValueError(f"{self.n_head} heads of queries cannot share {self.kv_heads} heads of keys and values evenly: "
                             f"choose a divisor of {self.n_head}")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(f"rotary positions turn pairs of features, and each head has {self.head_dim}: choose a width that "
                             f"is a multiple of {2 * self.n_head}")
        own = MLPS[self.mlp].activation
        if own and self.activation != "gelu":
            raise ValueError(f"the activation of {self.mlp} is always {own}, so {self.activation} cannot be chosen for it")

    @property
    def kv_heads(self):
        """K"""
        return self.n_kv_head or self.n_head

    @property
    def head_dim(self):
        """D"""
        return self.n_embd // self.n_head

    def of_block(self):
        """What `Block` is built of, by the names of its arguments."""
        return {"norm": self.norm, "mlp": self.mlp, "activation": self.activation, "biases": self.biases,
                "n_kv_head": self.n_kv_head, "n_hidden": self.n_hidden, "eps": self.norm_eps,
                "rope_base": self.rope_base if self.positions == "rotary" else None}

    def to_json(self):
        """For a file: all sizes, and whatever is not as in GPT-2."""
        usual = {field.name: field.default for field in fields(self) if field.name not in LARGEST}
        return {name: value for name, value in asdict(self).items() if name not in usual or usual[name] != value}
