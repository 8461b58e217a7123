"""What will train? Asked before training, answered in numbers."""

from ..train.costs import activation_bytes, blocks, training_state_bytes


def size(model):
    """{"trainable_parameters": n, "total_parameters": n}"""
    parameters = model.parameters().values()
    return {"trainable_parameters": sum(p.size for p in parameters if p.trainable),
            "total_parameters": sum(p.size for p in parameters)}


def trainable_table(model):
    """Lines of text: each kind of parameter that trains with its shape and count, then the total and its share."""
    return table("this will train", model.trainable_parameters(), model)


def parameter_table(model, trainable_only=False):
    """The same of all parameters, or of what an adapter holds."""
    return table("parameters", model.trainable_parameters() if trainable_only else model.parameters(), model)


def table(title, parameters, model):
    """Parameters that differ only in the number of their block share a line."""
    kinds = {}
    for name, p in parameters.items():
        parts = name.split(".")
        block = parts.pop(1) if parts[0] == "blocks" else None
        kinds.setdefault((".".join(parts), p.shape), []).append((block, p.size))
    lines = [f"{title:42s}{'shape':>14s}{'parameters':>12s}"]
    for (name, shape), found in kinds.items():
        if found[0][0] is not None:
            name = name.replace("blocks.", f"blocks.{','.join(block for block, _ in found)}.", 1)
        lines.append(f"{name:42s}{' x '.join(map(str, shape)):>14s}{sum(n for _, n in found):12,d}")
    count, total = sum(p.size for p in parameters.values()), size(model)["total_parameters"]
    return [*lines, f"{'in all':42s}{'':>14s}{count:12,d}   {100 * count / total:.1f} % of {total:,d}"]


def memory(trainer, tokens):
    """Bytes that training takes: {"weights": ..., "gradients": ..., "optimizer": ..., "activations": ...}.

    Gradients are counted once for each worker. tokens (B, T): a batch as it will come; what the layers keep of it is measured.
    """
    model = trainer.model
    weights = sum(p.data.nbytes for p in model.parameters().values())
    optimizer = sum(blocks(trainer.optimizer.state()).values())
    return {"weights": weights, "gradients": training_state_bytes(trainer) - optimizer, "optimizer": optimizer,
            "activations": activation_bytes(model, tokens)}


def announcement(trainer, tokens):
    """What will train, and what it takes: said before every fine-tuning."""
    parts = memory(trainer, tokens)
    return [*trainable_table(trainer.model),
            f"memory in MB: {', '.join(f'{name} {size / 1e6:.1f}' for name, size in parts.items())}"]
