"""What will train, in numbers: how many parameters, and how much memory that takes."""

from ..train.costs import activations_of, buffers, training_state_bytes
from ..train.parts import block_of, parameter_counts, renumbered


def trainable_table(model):
    """Lines of text: each kind of parameter that trains with its shape and count, then the total and its share."""
    return table("this will train", model.trainable_parameters(), model)


def parameter_table(model, trainable_only=False):
    """The same for all parameters, or for those of an adapter."""
    return table("parameters", model.trainable_parameters() if trainable_only else model.parameters(), model)


def table(title, parameters, model):
    """The lines of a table of parameters. Those that differ only in the number of their block share a line."""
    kinds = {}
    for name, p in parameters.items():
        kinds.setdefault((renumbered(name, "*"), p.shape), []).append((block_of(name), p.size))
    lines = [f"{title:42s}{'shape':>14s}{'parameters':>12s}"]
    for (name, shape), members in kinds.items():
        label = name.replace("*", ",".join(str(block) for block, _ in members))
        lines.append(f"{label:42s}{' x '.join(map(str, shape)):>14s}{sum(size for _, size in members):12,d}")
    count, total = sum(p.size for p in parameters.values()), parameter_counts(model)["total_parameters"]
    return [*lines, f"{'in all':42s}{'':>14s}{count:12,d}   {100 * count / total:.1f} % of {total:,d}"]


def training_memory(trainer, pieces):
    """Bytes that training takes: {"weights": ..., "gradients": ..., "optimizer": ..., "activations": ...}.

    Gradients are counted once for each worker. The activations are those of `pieces` [(rows, T)], the pieces of a batch that the
    workers have in memory at a time (train/workers.py).
    """
    model = trainer.model
    weights = sum(p.data.nbytes for p in model.parameters().values())
    optimizer = sum(buffers(trainer.optimizer.state_dict()).values())
    return {"weights": weights, "gradients": training_state_bytes(trainer) - optimizer, "optimizer": optimizer,
            "activations": sum(activations_of(model, rows, T) for rows, T in pieces)}


def announcement(trainer, pieces):
    """Lines of text that are printed before a fine-tuning: what will train, and the memory that it takes."""
    parts = training_memory(trainer, pieces)
    return [*trainable_table(trainer.model),
            f"memory in MB: {', '.join(f'{name} {size / 1e6:.1f}' for name, size in parts.items())}"]
