"""The table of losses, and what a training command prints in the end."""

import math

from ..finetune.report import size
from ..text.specialities import CONTRADICTION
from ..train.evaluate import pooled
from ..train.own_data import TextTask
from ..train.samples import TEMPERATURES
from ..train.tasks import SpecialTask
from .output import print_json


def print_result(args, loaded, task, out):
    """What a training command prints in the end: how long it took, how good the model is, and where it is."""
    print(f"{loaded.meta['seconds']:.1f} seconds")
    result = print_loss_of_text(loaded, task) if is_text(task) else print_loss_of_kinds(loaded, task)
    print(out)
    print_json(args, result | {"seconds": loaded.meta["seconds"]} | size(loaded.model))


def is_text(task):
    """Is one long text to be learned, and not documents of several kinds?"""
    return isinstance(task, TextTask)


def print_loss_of_text(loaded, task):
    """Returns what --json says of it."""
    score = task.score(loaded.model)[task.name]
    bits = score.loss / math.log(2)
    print(f"validation loss {score.loss:.4f} nats = {bits:.3f} bits per character, on the last {score.tokens:,d} characters, "
          "which were not trained on")
    return {"validation_loss": score.loss, "bits_per_character": bits}


def print_loss_of_kinds(loaded, task):
    """Returns what --json says of it."""
    scores = task.score(loaded.model, "validation", 100)
    print("on validation texts, up to 100 of each kind:")
    print_scores(scores)
    print_kl_old_new(task, "validation", 100)
    return {"validation_loss": pooled({name: scores[name] for name in task.learned}),
            "domains": {name: vars(score) for name, score in scores.items()}}


def print_scores(scores, written=None):
    """`written`: {name: {temperature: Flawless}} of some of them."""
    answers = f"{'right':>9s}{'best':>9s}" if any(score.accuracy is not None for score in scores.values()) else ""
    flawless = "".join(f"{f'flawless at {temperature:g}':>17s}" for temperature in TEMPERATURES) if written else ""
    print(f"{'':14s}{'loss':>9s}{'floor':>9s}{'excess':>9s}{'+-':>8s}{'tokens':>10s}{flawless}{answers}")
    for name, score in scores.items():
        known = [f"{'-':>9s}", f"{'-':>9s}", f"{'-':>8s}"] if score.floor is None else [
            f"{score.floor:9.4f}", f"{score.excess:9.4f}", f"{1.96 * score.stderr:8.4f}"]
        shares = [f"{one!s:>17s}" for one in written[name].values()] if written and name in written else [
            " " * len(flawless)]
        shares += [f"{100 * share:7.1f} %" for share in (score.accuracy, score.best) if share is not None]
        print(f"{name:14s}{score.loss:9.4f}{''.join(known)}{score.tokens:10,d}{''.join(shares)}".rstrip())
    if written:
        print("flawless: of the texts that it writes, at two temperatures, the share without a mistake (and its 95 % interval)")


def print_kl_old_new(task, split, documents):
    """What it costs on the old texts to have learned a law that contradicts them."""
    if isinstance(task, SpecialTask) and task.name == CONTRADICTION.name:
        kl_old_new = task.kl_old_new(split, documents)
        print(f"the new law contradicts the old: whoever knows it perfectly has an excess of {kl_old_new:.4f} on old reports")
