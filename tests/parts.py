"""Whatever a block can be built of, from the tables in which it is listed: so that no new part goes untested."""

import itertools

from minillm.nn import Block, CausalSelfAttention, Linear, SiLUGate
from minillm.nn.block import ACTIVATIONS, MLPS, NORMS


def parts(C, H):
    """{name: make(rng, dtype)} of each norm and activation, each MLP with each activation, and a block of each combination."""
    made = {name: lambda rng, dtype, norm=norm: norm(C, dtype) for name, norm in NORMS.items()}
    made |= {name: lambda rng, dtype, activation=activation: activation() for name, activation in ACTIVATIONS.items()}
    for (name, mlp), (gate, activation) in itertools.product(MLPS.items(), ACTIVATIONS.items()):
        if mlp.activation is None:
            made[f"{name} with {gate}"] = lambda rng, dtype, mlp=mlp, activation=activation: mlp(
                C, rng, dtype=dtype, activation=activation)
        else:
            made[name] = lambda rng, dtype, mlp=mlp: mlp(C, rng, dtype=dtype)
        made[f"{name} with {gate} without biases, narrow"] = lambda rng, dtype, mlp=mlp, activation=activation: mlp(
            C, rng, dtype=dtype, activation=activation, n_hidden=5, bias=False)
    made["gate of SwiGLU"] = lambda rng, dtype: SiLUGate()
    made["linear without bias"] = lambda rng, dtype: Linear(C, 5, rng, dtype=dtype, bias=False)
    for n_kv_head, bias, rope_base in itertools.product({1, H}, (True, False), (None, 100.0)):
        name = f"attention with {n_kv_head} kv heads, base {rope_base}{'' if bias else ', no biases'}"
        made[name] = lambda rng, dtype, args=(n_kv_head, bias, rope_base): CausalSelfAttention(
            C, H, rng, 0.02, 0.02, dtype, *args)
    for names in itertools.product(NORMS, MLPS, ACTIVATIONS):
        made[f"block of {', '.join(names)}"] = lambda rng, dtype, names=names: Block(C, H, rng, 0.02, 0.02, dtype, *names)
    for biases, n_kv_head, rope_base in [("none", 1, 100.0), ("attention", 1, None), ("mlp", H, 100.0)]:
        more = {"biases": biases, "n_kv_head": n_kv_head, "rope_base": rope_base, "norm": "rmsnorm", "mlp": "swiglu"}
        made[f"block with biases in {biases}"] = lambda rng, dtype, more=more: Block(C, H, rng, 0.02, 0.02, dtype, **more)
    return made


def away_from_zero(x):
    """Finite differences must not step over the kink of a ReLU."""
    return x + 0.1 * (2 * (x > 0) - 1)
