"""What training costs in memory: counted from the arrays themselves, or beforehand from sizes."""

from dataclasses import replace
from functools import lru_cache

import numpy as np

from ..ground.processes import default_workers
from ..ground.runtime import total_memory
from ..nn import GPT
from .blueprint import n_parameters
from .workers import even_pieces


def must_fit(needed, what, instead):
    """ValueError if `what` takes more bytes than this machine has: said beforehand, which is better than to be killed."""
    if needed > total_memory():
        raise ValueError(f"{what} takes about {gigabytes(needed)} of memory, and this machine has {gigabytes(total_memory())}; "
                         f"{instead}")


def gigabytes(size):
    return f"{size / 1e9:,.{0 if size >= 1e10 else 1 if size >= 1e9 else 3}f} GB"


def check_memory(config, batch, accumulate=1, workers=None, adds=0, trains=None, kept=0):
    """ValueError if training a GPT of these sizes cannot fit into this machine; a guess, but better than to be killed.

    adds        numbers that are inserted into it
    trains      numbers that train, by default all: these have a gradient in each worker, and two moments
    kept        further numbers that are in memory meanwhile: a base, recorded weights
    """
    T = config.context
    n, parameters = workers or default_workers(), n_parameters(config) + adds
    trains = parameters if trains is None else trains
    rows = sum(rows for rows, _ in even_pieces(batch, T, n, accumulate))                       # in work at a time
    layers = 1.5 * config.n_layer * kept_by_block(config)               # and half as much comes and goes
    activations = rows * T * (layers + 4 * config.vocab_size)           # with the logits
    must_fit(4 * (parameters + (n + 2) * trains + kept + activations),  # float32
             f"to train {trains:,d} of {parameters:,d} parameters with batches of {batch} x {T} tokens and {n} workers",
             "choose smaller sizes or fewer --workers, or go through each batch in pieces, where there is --accumulate")


@lru_cache(maxsize=32)
def kept_by_block(config):
    """How many numbers a block keeps of each position for the backward pass, of a text as long as the context.

    They grow with the width C and with the scores H T of attention: a C + b H T + c. What a, b and c are, three small blocks of
    the same parts are asked.
    """
    def kept(C, H, T):
        [block] = GPT(replace(config, vocab_size=2, context=T, n_layer=1, n_head=H, n_embd=C), np.random.default_rng(0)).blocks
        _, cache = block.forward(np.zeros((1, T, C), np.float32))
        return sum(buffers(cache).values()) / (4 * T)

    shapes = [(8, 2, 4), (16, 2, 4), (8, 2, 8)]
    a, b, c = np.linalg.solve([[C, H * T, 1] for C, H, T in shapes], [kept(*shape) for shape in shapes])
    return a * config.n_embd + b * config.n_head * config.context + c


def buffers(part):
    """{buffer: bytes} of all memory that nested tuples, lists and dicts of arrays hold; views of one buffer count once."""
    if isinstance(part, np.ndarray):
        while isinstance(part.base, np.ndarray):
            part = part.base
        return {id(part): part.nbytes}
    if isinstance(part, dict):
        part = part.values()
    elif not isinstance(part, (tuple, list)):
        return {}
    return {buffer: size for inner in part for buffer, size in buffers(inner).items()}


def training_state_bytes(trainer):
    """What training needs beside weights and activations: gradients, of each worker its own, and the optimizer's state."""
    gradients = [p.grad for p in trainer.model.parameters().values()]
    return sum(buffers([gradients, trainer.workers.gradients, trainer.optimizer.state()]).values())


def activations_of(model, rows, T):
    """What the forward pass keeps of texts (rows, T) for the backward pass.

    All of it grows evenly with the rows, so it is measured on one row and on two: no batch of the whole size is made.
    """
    one, two = (activation_bytes(model, np.zeros((n, T), int)) for n in (1, 2))
    return one + (rows - 1) * (two - one)


def activation_bytes(model, tokens):
    """The same, measured on a batch."""
    _, cache = model.forward(tokens)
    weights = buffers(model.state())
    return sum(size for buffer, size in buffers(cache).items() if buffer not in weights)
