"""What the parts of a model are called in files of transformers, and what happens to their weights on the way.

Three differences, and no number is changed by any of them:

- Fused maps. q, k and v are columns of one matrix here and in GPT-2, and matrices of their own in Llama.
- (in, out) or (out, in). A weight here is used as x W. So it is in GPT-2's files; in those of all others it is W'.
- Pairs. Rotary positions turn pairs of features of a head: 2j and 2j + 1 here, j and j + D/2 there. So the columns of q and k
  are in another order, head by head. Both orders give the same scores, which are sums over the features of a head.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..finetune.wrapper import linear_maps
from ..nn import Parameter

IGNORED = r"(.*\.)?(attn\.(masked_)?bias|rotary_emb\.inv_freq)"      # masks and angles, which older files keep


@dataclass(frozen=True)
class Family:
    """Names in a file for the parts of a model.

    outside     {attribute of GPT: module}
    blocks      what stands before the number of a block
    norms       {attribute of Block: module in a block}
    maps        {module in a block: the linear maps in it, by the names that `Linear.maps` has here}
    transposed  are the weights of linear maps (out, in)?
    """

    outside: dict
    blocks: str
    norms: dict
    maps: dict
    transposed: bool = True

    @property
    def words(self):
        """The name of the table of words."""
        return f"{self.outside['wte']}.weight"

    @property
    def positions(self):
        """The name of the table of positions."""
        return f"{self.outside.get('wpe')}.weight"

    @property
    def head(self):
        """The name of the table of an output layer of its own."""
        return f"{self.outside['lm_head']}.weight"


GPT2 = Family(
    outside={"wte": "transformer.wte", "wpe": "transformer.wpe", "ln_f": "transformer.ln_f", "lm_head": "lm_head"},
    blocks="transformer.h", norms={"ln_1": "ln_1", "ln_2": "ln_2"},
    maps={"attn.c_attn": "q k v", "attn.c_proj": "o", "mlp.c_fc": "fc", "mlp.c_proj": "proj"},
    transposed=False)

OUTSIDE = {"wte": "model.embed_tokens", "ln_f": "model.norm", "lm_head": "lm_head"}
NORMS = {"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm"}
ATTENTION = {"self_attn.q_proj": "q", "self_attn.k_proj": "k", "self_attn.v_proj": "v", "self_attn.o_proj": "o"}

LLAMA = Family(OUTSIDE, "model.layers", NORMS,
               ATTENTION | {"mlp.gate_proj": "gate", "mlp.up_proj": "up", "mlp.down_proj": "down"})
STARCODER2 = Family(OUTSIDE, "model.layers", NORMS, ATTENTION | {"mlp.c_fc": "fc", "mlp.c_proj": "proj"})


class Place(NamedTuple):
    """A parameter here, or some of its columns, for an array there.

    order       the column there of each column here; None if they are the same
    """

    parameter: Parameter
    columns: slice = slice(None)
    order: np.ndarray | None = None
    transposed: bool = False

    @property
    def shape(self):
        """Of the array there."""
        *rows, columns = self.parameter.shape
        shape = (*rows, len(range(columns)[self.columns]))
        return shape[::-1] if self.transposed else shape

    def ours(self, array):
        """An array there as it is here; a view, if nothing is put in another order."""
        array = array.T if self.transposed else array
        return array if self.order is None else array[..., self.order]

    def theirs(self, array):
        """The inverse."""
        if self.order is not None:
            array = array[..., np.argsort(self.order)]
        return array.T if self.transposed else array


def places(model, family):
    """{name in a file: Place} of all parameters of a bare model."""
    found = {}
    for ours, theirs in family.outside.items():
        for kind, p in parameters_of(getattr(model, ours)):
            found[f"{theirs}.{kind}"] = Place(p)
    for i, block in enumerate(model.blocks):
        for ours, theirs in family.norms.items():
            for kind, p in parameters_of(getattr(block, ours)):
                found[f"{family.blocks}.{i}.{theirs}.{kind}"] = Place(p)
        for module, (linear, names) in modules_of(block, family).items():
            columns, order = columns_of(linear, names), order_of(names, model.config)
            found[f"{family.blocks}.{i}.{module}.weight"] = Place(linear.weight, columns, order, family.transposed)
            if linear.bias:
                found[f"{family.blocks}.{i}.{module}.bias"] = Place(linear.bias, columns, order)
    return found


def parameters_of(module):
    return module.parameters().items() if module else ()


def modules_of(block, family):
    """{module in a block there: (our Linear, the names of those of its maps that the module has)}"""
    maps = linear_maps(block)
    return {module: (maps[names.split()[0]], names.split()) for module, names in family.maps.items()}


def columns_of(linear, names):
    """The columns of maps that stand side by side."""
    return slice(linear.columns(names[0]).start, linear.columns(names[-1]).stop)


def order_of(names, config):
    """The column there of each column here, for these maps side by side; None if all are the same.

    One head: here, features 2j and 2j + 1 are a pair; there, j and j + D/2.
    """
    if config.positions != "rotary" or not set(names) & {"q", "k"}:
        return None
    D = config.head_dim
    pairs = np.arange(D).reshape(2, D // 2).T.reshape(-1)                   # 0, D/2, 1, D/2 + 1, ...
    heads = {"q": config.n_head, "k": config.kv_heads, "v": config.kv_heads}
    order, start = [], 0
    for name in names:
        for _ in range(heads[name]):
            order.append(start + (np.arange(D) if name == "v" else pairs))
            start += D
    return np.concatenate(order)
