"""The memory that training takes: counted from the arrays themselves, or estimated from sizes before anything is built."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..ground.processes import default_workers
from ..ground.runtime import total_memory
from ..nn import GPT
from ..nn.module import NoBackward
from .blueprint import n_parameters
from .workers import even_pieces


def must_fit(needed, purpose, advice):
    """ValueError if `purpose` needs more bytes than this machine has. An error beforehand is better than a killed process."""
    if needed > total_memory():
        raise ValueError(f"{purpose} takes about {gigabytes(needed)} of memory, and this machine has "
                         f"{gigabytes(total_memory())}; {advice}")


def gigabytes(size):
    return f"{size / 1e9:,.{0 if size >= 1e10 else 1 if size >= 1e9 else 3}f} GB"


def check_memory(config, batch, accumulate=1, workers=None, adds=0, trains=None, others=0):
    """ValueError if training a GPT of these sizes cannot fit into the memory of this machine, by an estimate.

    adds        how many numbers are inserted into it
    trains      how many numbers train, by default all: these have a gradient in each worker, and two moments
    others      how many other numbers are in memory at the time: a base, recorded weights
    """
    T = config.context
    n, parameters = workers or default_workers(), n_parameters(config) + adds
    trains = parameters if trains is None else trains
    rows = sum(rows for rows, _ in even_pieces(batch, T, n, accumulate))                       # in memory at a time
    layers = 1.5 * config.n_layer * cached_by_block(config)             # and half as much for arrays that are freed again
    activations = rows * T * (layers + 4 * config.vocab_size)           # with the logits
    must_fit(4 * (parameters + (n + 2) * trains + others + activations),                      # float32
             f"to train {trains:,d} of {parameters:,d} parameters with batches of {batch} x {T} tokens and {n} workers",
             "choose smaller sizes or fewer --workers, or go through each batch in pieces, where there is --accumulate")


@lru_cache(maxsize=32)
def cached_by_block(config):
    """How many numbers a block caches for the backward pass, for each position of a text as long as the context.

    They grow with the width C, the hidden width F of the MLP and the scores of attention, H T: a C + b F + c H T + d. The
    constants are measured on four small blocks with the same parts, and as many heads of queries to one of keys.
    """
    K, H = 1, config.n_head // config.kv_heads

    def cached(C, F, T):
        small = replace(config, vocab_size=2, context=T, n_layer=1, n_head=H, n_kv_head=K, n_embd=C, n_hidden=F)
        [block] = GPT(small, np.random.default_rng(0)).blocks
        _, cache = block.forward(np.zeros((1, T, C), np.float32))
        return sum(buffers(cache).values()) / (4 * T)

    shapes = [(4 * H, 8, 4), (8 * H, 8, 4), (4 * H, 16, 4), (4 * H, 8, 8)]
    a, b, c, d = np.linalg.solve([[C, F, H * T, 1] for C, F, T in shapes], [cached(*shape) for shape in shapes])
    return a * config.n_embd + b * config.hidden + c * config.n_head * config.context + d


def buffers(part):
    """{buffer: bytes} of all arrays in nested tuples, lists and dicts; several views of a buffer count once.

    TypeError if there is something of another kind, for it might hold arrays, and they would not be counted.
    """
    if isinstance(part, np.ndarray):
        while isinstance(part.base, np.ndarray):
            part = part.base
        return {id(part): part.nbytes}
    if isinstance(part, dict):
        part = part.values()
    elif part is None or isinstance(part, (int, float, str, slice, np.generic, NoBackward)):
        return {}
    elif not isinstance(part, (tuple, list)):
        raise TypeError(f"a cache with a {type(part).__name__} in it cannot be measured: a cache is made of arrays, numbers and "
                        "None, in tuples (a NamedTuple, say), lists and dicts")
    return {buffer: size for inner in part for buffer, size in buffers(inner).items()}


def training_state_bytes(trainer):
    """The bytes that training needs beside weights and activations: a gradient for each worker, and the optimizer's state."""
    gradients = [p.grad for p in trainer.model.parameters().values()]
    return sum(buffers([gradients, trainer.workers.gradients, trainer.optimizer.state_dict()]).values())


def activations_of(model, rows, T):
    """The bytes that the forward pass caches for the backward pass, for texts of shape (rows, T).

    They grow linearly with the rows, so they are measured on one row and on two, without a batch of full size.
    """
    for_one, for_two = (activation_bytes(model, np.zeros((n, T), int)) for n in (1, 2))
    return for_one + (rows - 1) * (for_two - for_one)


def activation_bytes(model, tokens):
    """The same for a batch, measured."""
    _, cache = model.forward(tokens)
    weights = buffers(model.state_dict())
    return sum(size for buffer, size in buffers(cache).items() if buffer not in weights)
