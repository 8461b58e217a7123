"""Which part of a model each parameter belongs to: its block, and its kind. Names are read here and nowhere else."""

import re


def block_of(name):
    """The number of the block that the parameter of this name belongs to; None for those that are in no block."""
    match = re.match(r"blocks\.(\d{1,9})\.", name)
    return int(match[1]) if match else None


def parameter_kinds(model):
    """{name of each parameter: the kind of the innermost module around it that has one (nn/module.py)}"""
    kinds = dict.fromkeys(model.parameters())
    for path, module in model.modules():
        if module.kind:
            kinds |= {f"{path}.{name}" if path else name: module.kind for name in module.parameters()}
    return kinds
