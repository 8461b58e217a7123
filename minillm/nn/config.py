"""Config: the sizes of a GPT, and the parts that it is built of."""

from dataclasses import asdict, dataclass, fields

import numpy as np

from ..ground.schema import flag, maybe, number, one_of, whole
from .block import ACTIVATIONS, BIASES, MLPS, NORMS

LARGEST = {"vocab_size": 10_000_000, "context": 1_000_000, "n_layer": 1000, "n_head": 1000, "n_embd": 100_000}
OPTIONAL = {"n_kv_head": 1000, "n_hidden": 1_000_000}        # sizes that can be left out
PARTS = {"norm": NORMS, "positions": ("learned", "rotary"), "mlp": MLPS, "activation": ACTIVATIONS, "biases": BIASES}
NUMBERS = {"rope_base": (1, 1e12), "norm_eps": (1e-12, 1)}   # from, to
FORMS = ({name: whole(1, largest) for name, largest in LARGEST.items()}
         | {name: maybe(whole(1, largest)) for name, largest in OPTIONAL.items()}
         | {part: lambda value, where, part=part: one_of(*PARTS[part])(value, where) for part in PARTS}     # tables may grow
         | {name: number(*limits) for name, limits in NUMBERS.items()} | {"tied": flag})
ARCHITECTURES = {"gpt2": {}, "llama": {"norm": "rmsnorm", "positions": "rotary", "mlp": "swiglu", "biases": "none"}}


@dataclass(frozen=True)
class Config:
    """The shape of a GPT, and of what it is built. ValueError says which size or part does not fit.

    Without a choice it is GPT-2; `Config(..., **ARCHITECTURES["llama"])` has Llama's blocks, and every mixture can be had.
    """

    vocab_size: int               # V, words the model knows
    context: int                  # T, the longest text it can read
    n_layer: int = 4
    n_head: int = 4               # H, heads of queries
    n_embd: int = 128             # C = H D
    n_kv_head: int | None = None  # K, heads of keys and values, each of which serves H / K heads of queries; None: H
    n_hidden: int | None = None   # F, hidden features of the MLP; None: what its kind usually has
    norm: str = "layernorm"       # a name in PARTS, as the next four
    positions: str = "learned"    # a table of T vectors (wpe), or rotary.py
    mlp: str = "mlp"
    activation: str = "gelu"      # of the MLP; a SwiGLU ignores it, as it has its own
    biases: str = "all"           # which linear layers have one: all, or those of attention or of the MLP, or none
    tied: bool = True             # is the table of words the output layer, too?
    rope_base: float = 10_000.0   # of rotary positions: pair j of D features turns by rope_base^(-2j/D) a position
    norm_eps: float = 1e-5

    def __post_init__(self):
        for name, form in FORMS.items():
            value = getattr(self, name)
            value = value.item() if isinstance(value, (np.integer, np.floating)) else value     # JSON has no others
            value = form(value, name)
            self.set(name, float(value) if name in NUMBERS else value)
        self.check_fit()
        # What goes without saying is not said, so that models that are the same have equal Configs.
        if self.n_kv_head == self.n_head:
            self.set("n_kv_head", None)
        if self.n_hidden == MLPS[self.mlp].usual_hidden(self.n_embd):
            self.set("n_hidden", None)
        if self.positions != "rotary":
            self.set("rope_base", type(self).rope_base)

    def set(self, name, value):
        """Only while it is made: afterwards, a Config never changes."""
        object.__setattr__(self, name, value)

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
        if own and self.activation != type(self).activation:
            raise ValueError(f"the activation of {self.mlp} is always {own}, so {self.activation} cannot be chosen for it")

    @property
    def kv_heads(self):
        """K"""
        return self.n_kv_head or self.n_head

    @property
    def head_dim(self):
        """D"""
        return self.n_embd // self.n_head

    @property
    def hidden(self):
        """F"""
        return self.n_hidden or MLPS[self.mlp].usual_hidden(self.n_embd)

    def of_block(self):
        """What `Block` is built of, by the names of its arguments."""
        return {"norm": self.norm, "mlp": self.mlp, "activation": self.activation, "biases": self.biases,
                "n_kv_head": self.n_kv_head, "n_hidden": self.n_hidden, "eps": self.norm_eps,
                "rope_base": self.rope_base if self.positions == "rotary" else None}

    def to_json(self):
        """For a file: all sizes, and whatever is not as in GPT-2."""
        usual = {field.name: field.default for field in fields(self) if field.name not in LARGEST}
        return {name: value for name, value in asdict(self).items() if name not in usual or usual[name] != value}
