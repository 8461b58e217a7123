"""What will train? Asked before training, answered in numbers."""


def size(model):
    """{"trainable_parameters": n, "total_parameters": n}"""
    parameters = model.parameters().values()
    return {"trainable_parameters": sum(p.size for p in parameters if p.trainable),
            "total_parameters": sum(p.size for p in parameters)}


def trainable_table(model):
    """Lines of text: each kind of trainable parameter with its shape and count, then the total and its share.

    Parameters that differ only in the number of their block share a line.
    """
    kinds = {}
    for name, p in model.trainable_parameters().items():
        parts = name.split(".")
        block = parts.pop(1) if parts[0] == "blocks" else None
        kinds.setdefault((".".join(parts), p.shape), []).append((block, p.size))
    lines = [f"{'this will train':42s}{'shape':>14s}{'parameters':>12s}"]
    for (name, shape), found in kinds.items():
        if found[0][0] is not None:
            name = name.replace("blocks.", f"blocks.{','.join(block for block, _ in found)}.", 1)
        lines.append(f"{name:42s}{' x '.join(map(str, shape)):>14s}{sum(n for _, n in found):12,d}")
    sizes = size(model)
    trainable, total = sizes["trainable_parameters"], sizes["total_parameters"]
    return [*lines, f"{'in all':42s}{'':>14s}{trainable:12,d}   {100 * trainable / total:.1f} % of {total:,d}"]
