"""Learning-rate multipliers: lower layers train more slowly, or later (ULMFiT, Howard & Ruder 2018)."""

from ..train.parts import block_of, parameter_kinds


def depths(model):
    """{parameter: how far it is from the input}: 0 for the tables, 1 .. n_layer for the blocks, n_layer for what comes last."""
    kinds, last = parameter_kinds(model), len(model.blocks)
    outside = {name: 0 if kind == "embedding" else last for name, kind in kinds.items()}
    return {name: outside[name] if block_of(name) is None else block_of(name) + 1 for name in kinds}


def layerwise(model, decay):
    """{parameter: multiplier}: 1 in the last block, and smaller by a factor `decay` with each layer towards the input.

    eta_(l-1) = eta_l / decay. If the output layer is tied to the table of words, it trains as slowly as the input.
    """
    top = len(model.blocks)
    return {name: decay ** (d - top) for name, d in depths(model).items()}


def gradual(model, steps, until=0.5):
    """step -> {parameter: 1 or 0}: the final norm and the last block train from the start, then one more block at each stage.

    The tables join last, after the fraction `until` of the steps. All stages are equally long. 0 means frozen: no gradient is
    computed.
    """
    depth, top = depths(model), len(model.blocks)
    stage = max(1, int(until * steps / top))

    def at(step):
        lowest = top - step // stage
        return {name: float(d >= lowest) for name, d in depth.items()}

    return at
