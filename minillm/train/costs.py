"""What training costs in memory: counted from the arrays themselves, or beforehand from sizes."""

import numpy as np

from ..ground.processes import default_workers
from ..ground.runtime import memory
from .workers import even_pieces


def must_fit(needed, what, instead):
    """ValueError if `what` takes more bytes than this machine has: said beforehand, which is better than to be killed."""
    if needed > memory():
        raise ValueError(f"{what} takes about {gigabytes(needed)} of memory, and this machine has {gigabytes(memory())}; "
                         f"{instead}")


def gigabytes(size):
    return f"{size / 1e9:,.{0 if size >= 1e10 else 1 if size >= 1e9 else 3}f} GB"


def check_memory(config, batch, accumulate=1, workers=None, adds=0, trains=None, kept=0):
    """ValueError if training a GPT of these sizes cannot fit into this machine; a guess, but better than to be killed.

    adds        numbers that are inserted into it
    trains      numbers that train, by default all: these have a gradient in each worker, and two moments
    kept        further numbers that are in memory meanwhile: a base, recorded weights
    """
    T, L, H, C = config.context, config.n_layer, config.n_head, config.n_embd
    n, parameters = workers or default_workers(), config.parameters + adds
    trains = parameters if trains is None else trains
    rows = sum(rows for rows, _ in even_pieces(batch, T, n, accumulate))                       # in work at a time
    activations = rows * T * (L * (24 * C + 2 * H * T) + 4 * config.vocab_size)                # what layers keep, and the logits
    must_fit(4 * (parameters + (n + 2) * trains + kept + activations),                         # float32
             f"to train {trains:,d} of {parameters:,d} parameters with batches of {batch} x {T} tokens and {n} workers",
             "choose smaller sizes or fewer --workers, or go through each batch in pieces, where there is --accumulate")


def blocks(part):
    """{block: bytes} of all memory that nested tuples, lists and dicts of arrays hold; views of one block count once."""
    if isinstance(part, np.ndarray):
        while isinstance(part.base, np.ndarray):
            part = part.base
        return {id(part): part.nbytes}
    if isinstance(part, dict):
        part = part.values()
    elif not isinstance(part, (tuple, list)):
        return {}
    return {block: size for inner in part for block, size in blocks(inner).items()}


def training_state_bytes(trainer):
    """What training needs beside weights and activations: gradients, of each worker its own, and the optimizer's state."""
    gradients = [p.grad for p in trainer.model.parameters().values()]
    return sum(blocks([gradients, trainer.workers.gradients, trainer.optimizer.state()]).values())


def activations_of(model, rows, T):
    """What the forward pass keeps of texts (rows, T) for the backward pass.

    All of it grows evenly with the rows, so it is measured on one row and on two: no batch of the whole size is made.
    """
    one, two = (activation_bytes(model, np.zeros((n, T), int)) for n in (1, 2))
    return one + (rows - 1) * (two - one)


def activation_bytes(model, tokens):
    """The same, measured on a batch."""
    _, cache = model.forward(tokens)
    weights = blocks(model.state())
    return sum(size for block, size in blocks(cache).items() if block not in weights)
