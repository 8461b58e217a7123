"""Whatever a block can be built of, from the tables in which it is listed: so that no new part goes untested."""

import itertools

from minillm.nn import Block
from minillm.nn.block import ACTIVATIONS, MLPS, NORMS


def parts(C, H):
    """{name: make(rng, dtype)} of each norm and activation, each MLP with each activation, and a block of each combination."""
    made = {name: lambda rng, dtype, norm=norm: norm(C, dtype) for name, norm in NORMS.items()}
    made |= {name: lambda rng, dtype, activation=activation: activation() for name, activation in ACTIVATIONS.items()}
    for (name, mlp), (gate, activation) in itertools.product(MLPS.items(), ACTIVATIONS.items()):
        made[f"{name} with {gate}"] = lambda rng, dtype, mlp=mlp, activation=activation: mlp(
            C, rng, dtype=dtype, activation=activation)
    for names in itertools.product(NORMS, MLPS, ACTIVATIONS):
        made[f"block of {', '.join(names)}"] = lambda rng, dtype, names=names: Block(C, H, rng, 0.02, 0.02, dtype, *names)
    return made


def away_from_zero(x):
    """Finite differences must not step over the kink of a ReLU."""
    return x + 0.1 * (2 * (x > 0) - 1)
