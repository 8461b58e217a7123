"""Configs drawn from a seed: any mixture of parts, and sizes that differ from each other, so that no two are swapped unseen."""

from dataclasses import fields

import numpy as np

from minillm.nn import Config
from minillm.nn.block import MLPS
from minillm.nn.config import PARTS


def deck(choices, n, rng):
    """n of the choices in random order, each as often as the others, or once more."""
    choices = list(choices)
    return [choices[i % len(choices)] for i in rng.permutation(n)]


def mixtures(n, seed=0):
    """n Configs in which all fields vary; AssertionError if there are fields that nobody varies."""
    rng = np.random.default_rng(seed)
    decks = {part: deck(choices, n, rng) for part, choices in PARTS.items()}
    decks |= {"tied": deck([True, False], n, rng), "n_layer": deck([2, 1, 3], n, rng)}
    heads = deck([(2, 3), (1, 2), (3, 1), (1, 4), (2, 2), (1, 3)], n, rng)          # K and G: G heads of queries to one of keys
    configs = []
    for i, (K, G) in enumerate(heads):
        chosen = {name: drawn[i] for name, drawn in decks.items()}
        D = int(rng.choice([4, 6, 8] if chosen["positions"] == "rotary" else [4, 5, 7]))
        if MLPS[chosen["mlp"]].activation:
            chosen["activation"] = "gelu"
        chosen |= {"n_head": K * G, "n_kv_head": None if G == 1 else K, "n_embd": K * G * D,
                   "n_hidden": [None, int(rng.integers(5, 20))][i % 2], "vocab_size": int(rng.integers(11, 20)),
                   "context": int(rng.integers(7, 10)), "rope_base": float(10 ** rng.uniform(0.3, 5)),
                   "norm_eps": float(10 ** rng.uniform(-6, -0.5))}
        assert chosen.keys() == {field.name for field in fields(Config)}, "a field of Config that the mixtures leave as it is"
        configs.append(Config(**chosen))
    return configs


def name_of(config):
    """For the name of a test."""
    parts = [getattr(config, part) for part in PARTS]
    return "-".join([*parts, f"{config.n_head}/{config.kv_heads}", *["untied"] * (not config.tied)])
