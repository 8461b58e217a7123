"""Which part of a model each parameter belongs to: its block, and its kind. Names of blocks are taken apart here alone."""

import re


def block_of(name):
    """The number of the block that the parameter of this name belongs to; None for those that are in no block."""
    match = re.match(r"blocks\.(\d{1,9})\.", name)
    return int(match[1]) if match else None


def renumbered(name, number):
    """The name with something else for the number of its block: blocks.2.ln_1.bias -> blocks.*.ln_1.bias"""
    return re.sub(r"^blocks\.-?\d+(?=\.|$)", f"blocks.{number}", name)


def from_the_end(pattern, n):
    """A pattern of names whose block is counted from the end: blocks.-1.* -> blocks.3.* in a model of four blocks"""
    match = re.match(r"blocks\.-(\d+)(?=\.|$)", pattern)
    return renumbered(pattern, n - int(match[1])) if match else pattern


def parameter_kinds(model):
    """{name of each parameter: the kind of the innermost module around it that has one (nn/module.py)}"""
    kinds = dict.fromkeys(model.parameters())
    for path, module in model.modules():
        if module.kind:
            kinds |= {f"{path}.{name}" if path else name: module.kind for name in module.parameters()}
    return kinds


def parameter_counts(model):
    """{"trainable_parameters": n, "total_parameters": n}"""
    parameters = model.parameters().values()
    return {"trainable_parameters": sum(p.size for p in parameters if p.trainable),
            "total_parameters": sum(p.size for p in parameters)}
