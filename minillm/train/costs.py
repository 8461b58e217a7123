"""What training costs in memory, counted from the arrays themselves."""

import numpy as np


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
