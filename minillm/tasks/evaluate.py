"""How good is a model? Its mean surprise, and how far that lies above the least possible."""

import math
from dataclasses import dataclass

import numpy as np

from ..ground.processes import parallel_map
from ..nn.cross_entropy import IGNORE, exponentials
from ..text.batches import pad

ROWS = 16      # documents, or windows of a text, in one forward pass


@dataclass(frozen=True)
class Score:
    """A mean over tokens, in nats.

    loss        -log p_model
    tokens      how many were counted
    floor       -log p_true of the same tokens: no model can do better on average. None for a text that nobody knows the law of
    excess      loss - floor, an estimate of KL(true || model). Paired, both on the same tokens: far less noisy than either
    stderr      standard error of the excess, from the spread between documents
    accuracy    of answers: the share that is right from the first word to the end. None where there is no one right answer
    best        the accuracy that nobody can beat
    """

    loss: float
    tokens: int
    floor: float | None = None
    excess: float | None = None
    stderr: float | None = None
    accuracy: float | None = None
    best: float | None = None


def log_p_at(logits, targets):
    """log p(target) of each row, in float64.   logits (..., V), targets (...); where one is IGNORE, that of some word"""
    shifted, _, z = exponentials(logits)
    at = np.maximum(targets, 0)[..., None]
    return np.take_along_axis(shifted, at, axis=-1)[..., 0].astype(np.float64) - np.log(z[..., 0])


def token_log_p(model, documents, workers=None):
    """log p_model of each token of each document given all before it, and whether it was the likeliest.

    documents: lists of ids. Returns a list of pairs of vectors, each one shorter than its document: the first token is given.
    """
    by_length = sorted(range(len(documents)), key=lambda i: len(documents[i]))

    def work(chosen):
        tokens, targets = pad([documents[i] for i in chosen])
        with np.errstate(over="ignore", invalid="ignore"):          # a ruined model has a loss that is no number: it shows
            logits = model.logits(tokens)
            log_p = log_p_at(logits, targets)
        right = (logits.argmax(axis=-1) == targets) & np.isfinite(log_p)    # argmax would find what is no number
        return [(row[target != IGNORE], hit[target != IGNORE]) for row, hit, target in zip(log_p, right, targets)]

    chunks = [by_length[i:i + ROWS] for i in range(0, len(documents), ROWS)]
    found = [None] * len(documents)
    for chosen, rows in zip(chunks, parallel_map(work, chunks, workers)):
        for i, row in zip(chosen, rows):
            found[i] = row
    return found


def evaluate_documents(model, documents, workers=None):
    """Score of a model on documents of known probability. What is given is not counted: the tag of the domain, or a question.

    (How often a domain comes up is a property of the mix and not of its language.) To say the likeliest word each time gives an
    answer that is wholly right if and only if each of its words is the likeliest after those before it. So one look is enough.
    """
    rows = token_log_p(model, [document.ids for document in documents], workers)
    log_q = [row[document.given:] for (row, _), document in zip(rows, documents)]
    log_p = [document.log_p[document.given:] for document in documents]
    n = np.array([len(row) for row in log_q])
    loss = -sum(row.sum() for row in log_q) / n.sum()
    floor = sum(-row.sum() for row in log_p) / n.sum()
    # The excess is a ratio of two sums over documents; the spread of its linearised terms gives its standard error.
    gaps = np.array([(p - q).sum() for p, q in zip(log_p, log_q)])
    spread = gaps - (loss - floor) * n
    stderr = math.sqrt(float(spread @ spread)) / n.sum()
    accuracy = best = None
    if documents[0].best is not None:
        accuracy = float(np.mean([right[document.given:].all() for (_, right), document in zip(rows, documents)]))
        best = float(np.mean([document.best for document in documents]))
    return Score(float(loss), int(n.sum()), float(floor), float(loss - floor), stderr, accuracy, best)


def evaluate_world(model, world, split="test", n=100, workers=None, domains=None):
    """{domain: Score} on the first n documents of each domain in a split; by default of the general ones and the novel."""
    return {name: evaluate_documents(model, world.documents(name, n, split), workers) for name in domains or world.domains}


def evaluate_text(model, ids, workers=None):
    """Score on a long text, cut into windows as long as the model's context; every token but the first counts once."""
    if len(ids) < 2:
        raise ValueError(f"the text has {len(ids)} token{'s' * (len(ids) != 1)}; to judge by it, at least two are needed")
    T = model.config.context
    windows = [ids[i:i + T + 1] for i in range(0, len(ids) - 1, T)]
    log_p = [row for row, _ in token_log_p(model, windows, workers)]
    tokens = sum(len(row) for row in log_p)
    return Score(float(-sum(row.sum() for row in log_p) / tokens), tokens)


def pooled(scores, figure="loss"):
    """The mean of a figure (loss, floor) over all tokens of some scores, {name: Score}."""
    tokens = sum(score.tokens for score in scores.values())
    return sum(getattr(score, figure) * score.tokens for score in scores.values()) / tokens


def mean_excess(scores, domains):
    """The plain mean of the excess over some domains."""
    return sum(scores[name].excess for name in domains) / len(domains)


def score_table(scores, flawless=None):
    """Lines of text.   scores {name: Score}, flawless {name: {temperature: Flawless}} of some of them"""
    answers = f"{'right':>9s}{'best':>9s}" if any(score.accuracy is not None for score in scores.values()) else ""
    temperatures = list(next(iter(flawless.values()))) if flawless else []
    more = "".join(f"{f'flawless at {temperature:g}':>17s}" for temperature in temperatures)
    lines = [f"{'':14s}{'loss':>9s}{'floor':>9s}{'excess':>9s}{'+-':>8s}{'tokens':>10s}{more}{answers}"]
    for name, score in scores.items():
        known = [f"{'-':>9s}", f"{'-':>9s}", f"{'-':>8s}"] if score.floor is None else [
            f"{score.floor:9.4f}", f"{score.excess:9.4f}", f"{1.96 * score.stderr:8.4f}"]
        shares = [f"{one!s:>17s}" for one in flawless[name].values()] if flawless and name in flawless else [" " * len(more)]
        shares += [f"{100 * share:7.1f} %" for share in (score.accuracy, score.best) if share is not None]
        lines.append(f"{name:14s}{score.loss:9.4f}{''.join(known)}{score.tokens:10,d}{''.join(shares)}".rstrip())
    if flawless:
        lines.append("flawless: of the texts that it writes, at two temperatures, the share without a mistake (and its 95 % "
                     "interval)")
    return lines
