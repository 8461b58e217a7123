"""What will train? Asked before training, answered in numbers."""

from ..train.costs import activations_of, buffers, training_state_bytes
from ..train.parts import block_of


def parameter_counts(model):
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
        block = block_of(name)
        kinds.setdefault((name.replace(f"blocks.{block}.", "blocks.", 1), p.shape), []).append((block, p.size))
    lines = [f"{title:42s}{'shape':>14s}{'parameters':>12s}"]
    for (name, shape), found in kinds.items():
        if found[0][0] is not None:
            name = name.replace("blocks.", f"blocks.{','.join(str(block) for block, _ in found)}.", 1)
        lines.append(f"{name:42s}{' x '.join(map(str, shape)):>14s}{sum(n for _, n in found):12,d}")
    count, total = sum(p.size for p in parameters.values()), parameter_counts(model)["total_parameters"]
    return [*lines, f"{'in all':42s}{'':>14s}{count:12,d}   {100 * count / total:.1f} % of {total:,d}"]


def training_memory(trainer, pieces):
    """Bytes that training takes: {"weights": ..., "gradients": ..., "optimizer": ..., "activations": ...}.

    Gradients are counted once for each worker. pieces [(rows, T)]: what the workers have in work at a time (train/workers.py);
    what the layers keep of these is counted.
    """
    model = trainer.model
    weights = sum(p.data.nbytes for p in model.parameters().values())
    optimizer = sum(buffers(trainer.optimizer.state()).values())
    return {"weights": weights, "gradients": training_state_bytes(trainer) - optimizer, "optimizer": optimizer,
            "activations": sum(activations_of(model, rows, T) for rows, T in pieces)}


def announcement(trainer, pieces):
    """What will train, and what it takes (see `training_memory`): said before every fine-tuning."""
    parts = training_memory(trainer, pieces)
    return [*trainable_table(trainer.model),
            f"memory in MB: {', '.join(f'{name} {size / 1e6:.1f}' for name, size in parts.items())}"]
