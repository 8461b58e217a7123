"""Prefix tuning and prompt tuning of peft, both ways: what stands before the text.

There, what stands before a text has positions of its own: after n vectors, the words are at n, n + 1, ... Here the words keep
their positions, from 0 on. With rotary positions, of which only distances count, the two are the same: a prompt has the same
distances to the words, and the keys of a prefix, which are turned already, are turned on by n positions. With learned positions
the words would be read with other rows of the table than here, and nothing there computes the same.
"""

import numpy as np

from ..finetune.methods.prefix import PrefixedHeads, PrefixTuning
from ..finetune.methods.prompt import Prompted, PromptTuning
from ..finetune.wrapper import inserted
from ..nn import Rotary
from .names import order_of
from .peft_config import adapter_config

EMBEDDINGS = "prompt_embeddings"


def must_be_rotary(config):
    if config.positions != "rotary":
        raise ValueError("peft counts what it puts before a text as positions, so the words move on, and with learned positions "
                         "they are then read differently; this can be had with rotary positions only")


def of_prompts(config, n, kv_heads):
    """What the settings of both kinds have in common."""
    return {"num_virtual_tokens": n, "num_layers": config.n_layer, "num_transformer_submodules": 1,
            "num_attention_heads": kv_heads, "token_dim": kv_heads * config.head_dim}


def turned(keys, config, back=False):
    """Keys (K, n, D) of a prefix, turned by n positions."""
    K, n, D = keys.shape
    rotary = Rotary(K, D, config.rope_base)
    rows = keys.astype(np.float64).transpose(1, 0, 2).reshape(n, 1, K * D)          # each is a text of one position
    return rotary.turned(rows, start=n, back=back).reshape(n, K, D).transpose(1, 0, 2).astype(keys.dtype)


# Writing.

def write_prefix(model, family):
    """(adapter_config.json, {name: array}). The array is (n, n_layer 2 K D): of each vector, keys and values for each block."""
    config = model.config
    must_be_rotary(config)
    prefixes = [slot.module.prefix for slot in inserted(model) if isinstance(slot.module, PrefixedHeads)]
    if any(prefix.gate is not None and (prefix.gate.data != 1).any() for prefix in prefixes):
        raise ValueError("this prefix has gates, which peft does not know; train it with --method prefix:gate=no")
    if len(prefixes) < config.n_layer:
        raise ValueError(f"this prefix is in {len(prefixes)} of {config.n_layer} blocks, and in peft it is in all of them")
    back = np.argsort(order_of(["k"], config)[:config.head_dim])                    # the same in each head
    tables = [[turned(prefix.keys.data, config)[..., back], prefix.values.data] for prefix in prefixes]
    n = tables[0][0].shape[1]
    array = np.array(tables).transpose(3, 0, 1, 2, 4).reshape(n, -1)                # -> (n, n_layer 2 K D)
    return adapter_config("PREFIX_TUNING", prefix_projection=False, **of_prompts(config, n, config.kv_heads)), {EMBEDDINGS: array}


def write_prompt(model, family):
    """(adapter_config.json, {name: array}). The array is (n, C)."""
    config = model.config
    must_be_rotary(config)
    vectors = next(slot.module.prompt.vectors.data for slot in inserted(model) if isinstance(slot.module, Prompted))
    return adapter_config("PROMPT_TUNING", prompt_tuning_init="RANDOM", **of_prompts(config, len(vectors), config.n_head)), {
        EMBEDDINGS: vectors}


# Reading. The model is the base; what is read is put into it.

def embeddings(tensors, shape, dtype):
    """The only array of a file."""
    odd = sorted(tensors.keys() ^ {EMBEDDINGS})
    if odd:
        raise ValueError(f"it {'lacks' if odd == [EMBEDDINGS] else 'holds'} {odd[0][:100]!r}")
    if tensors[EMBEDDINGS].shape != shape:
        raise ValueError(f"{EMBEDDINGS} has the shape {tensors[EMBEDDINGS].shape}, and for this base it should be {shape}")
    return tensors[EMBEDDINGS].read(dtype)


def read_prefix(model, family, config, tensors):
    """Put a prefix into its base; returns the recipe."""
    must_be_rotary(model.config)
    n, c = config["num_virtual_tokens"], model.config
    array = embeddings(tensors, (n, c.n_layer * 2 * c.kv_heads * c.head_dim), model.wte.weight.data.dtype)
    tables = array.reshape(n, c.n_layer, 2, c.kv_heads, c.head_dim).transpose(1, 2, 3, 0, 4)        # (n_layer, 2, K, n, D)
    recipe = PrefixTuning(n, gate=False)
    recipe.apply(model)
    order = order_of(["k"], c)[:c.head_dim]
    prefixes = [slot.module.prefix for slot in inserted(model)]
    for prefix, (keys, values) in zip(prefixes, tables):
        prefix.keys.data[...] = turned(keys[..., order], c, back=True)
        prefix.values.data[...] = values
    return recipe


def read_prompt(model, family, config, tensors):
    """Put a prompt into its base; returns the recipe."""
    must_be_rotary(model.config)
    n = config["num_virtual_tokens"]
    vectors = embeddings(tensors, (n, model.config.n_embd), model.wte.weight.data.dtype)
    recipe = PromptTuning(n)
    recipe.apply(model)
    inserted(model)[0].module.prompt.vectors.data[...] = vectors
    return recipe
