"""Not all layers at the same speed: lower ones slower, or later (ULMFiT, Howard & Ruder 2018)."""

from ..train.parts import block_of, parameter_kinds


def depths(model):
    """{parameter: how far from the input}: 0 for the tables, 1 .. n_layer for the blocks; the final norm is with the last."""
    kinds, last = parameter_kinds(model), len(model.blocks)
    outside = {name: 0 if kind == "embedding" else last for name, kind in kinds.items()}
    return {name: outside[name] if block_of(name) is None else block_of(name) + 1 for name in kinds}


def layerwise(model, decay):
    """{parameter: factor}: 1 in the last block, and with each layer towards the input `decay` times less.

    eta_(l-1) = eta_l / decay. The output layer is the table of words, tied; it moves with the input, slowest of all.
    """
    top = len(model.blocks)
    return {name: decay ** (d - top) for name, d in depths(model).items()}


def gradual(model, steps, until=0.5):
    """step -> {parameter: 1 or 0}: the final norm and the last block learn from the start, then block after block joins them.

    The tables join last, with all equally long stages over at `until` of the steps. 0 means frozen: no gradient is computed.
    """
    found, top = depths(model), len(model.blocks)
    stage = max(1, int(until * steps / top))

    def at(step):
        lowest = top - step // stage
        return {name: float(d >= lowest) for name, d in found.items()}

    return at
