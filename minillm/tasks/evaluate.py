"""Evaluate a model: its mean loss, and how far it is above the least possible loss."""

import math
from dataclasses import dataclass

import numpy as np

from ..ground.processes import parallel_map
from ..nn.cross_entropy import IGNORE, exponentials
from ..text.batches import pad

ROWS = 16      # sequences in one forward pass


@dataclass(frozen=True)
class Score:
    """A mean over tokens, in nats.

    loss        -log p_model
    tokens      the number of tokens that were counted
    floor       -log p_true of the same tokens: no model can do better on average. None if the true distribution is unknown
    excess      loss - floor, an estimate of KL(true || model). Both are of the same tokens, so it is far less noisy than either
    stderr      standard error of the excess, from the spread between documents
    accuracy    the share of answers that are right from the first word to the end. None for texts that are not answers
    best        the highest possible accuracy
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


def token_log_p(model, sequences, workers=None):
    """log p_model of each token of each sequence given all tokens before it, and whether it was the likeliest token.

    sequences: lists of ids. Returns a list of pairs of vectors (log_p, likeliest), each one shorter than its sequence: the first
    token is given.
    """
    by_length = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))

    def work(chunk):
        tokens, targets = pad([sequences[i] for i in chunk])
        with np.errstate(over="ignore", invalid="ignore"):          # the loss of a broken model is NaN, and shows it
            logits = model.logits(tokens)
            log_p = log_p_at(logits, targets)
        likeliest = (logits.argmax(axis=-1) == targets) & np.isfinite(log_p)    # argmax would select a NaN
        return [(row[target != IGNORE], hits[target != IGNORE]) for row, hits, target in zip(log_p, likeliest, targets)]

    chunks = [by_length[i:i + ROWS] for i in range(0, len(sequences), ROWS)]
    pairs = [None] * len(sequences)
    for chunk, pairs_of_chunk in zip(chunks, parallel_map(work, chunks, workers)):
        for i, pair in zip(chunk, pairs_of_chunk):
            pairs[i] = pair
    return pairs


def evaluate_documents(model, documents, workers=None):
    """Score of a model on Documents (text/world.py). The given part is not counted: the tag of the domain, or a question.

    (The probability of a tag depends on the mix of domains, not on the language.) Accuracy needs no generation: greedy decoding
    gives the right answer if and only if each of its words is the likeliest after the right words before it.
    """
    rows = token_log_p(model, [document.ids for document in documents], workers)
    log_q = [row[document.given:] for (row, _), document in zip(rows, documents)]
    log_p = [document.log_p[document.given:] for document in documents]
    n = np.array([len(row) for row in log_q])
    loss = -sum(row.sum() for row in log_q) / n.sum()
    floor = sum(-row.sum() for row in log_p) / n.sum()
    # The excess is a ratio of two sums over documents; its standard error follows from the spread of its linearised terms.
    gaps = np.array([(p - q).sum() for p, q in zip(log_p, log_q)])
    spread = gaps - (loss - floor) * n
    stderr = math.sqrt(float(spread @ spread)) / n.sum()
    accuracy = best = None
    if documents[0].best is not None:
        accuracy = float(np.mean([right[document.given:].all() for (_, right), document in zip(rows, documents)]))
        best = float(np.mean([document.best for document in documents]))
    return Score(float(loss), int(n.sum()), float(floor), float(loss - floor), stderr, accuracy, best)


def evaluate_world(model, world, split="test", n=100, workers=None, domains=None):
    """{domain: Score} on the first n documents of each domain in a split; by default the general domains and the novel."""
    return {name: evaluate_documents(model, world.documents(name, n, split), workers) for name in domains or world.domains}


def evaluate_text(model, ids, workers=None):
    """Score on a long text, cut into windows as long as the model's context; every token except the first counts once."""
    if len(ids) < 2:
        raise ValueError(f"the text has {len(ids)} token{'s' * (len(ids) != 1)}; at least two are needed to evaluate a model")
    T = model.config.context
    windows = [ids[i:i + T + 1] for i in range(0, len(ids) - 1, T)]
    log_p = [row for row, _ in token_log_p(model, windows, workers)]
    tokens = sum(len(row) for row in log_p)
    return Score(float(-sum(row.sum() for row in log_p) / tokens), tokens)


def pooled(scores, figure="loss"):
    """The mean of a figure (loss or floor) over all tokens of several scores, {name: Score}."""
    tokens = sum(score.tokens for score in scores.values())
    return sum(getattr(score, figure) * score.tokens for score in scores.values()) / tokens


def mean_excess(scores, domains):
    """The mean of the excess over domains, each with the same weight."""
    return sum(scores[name].excess for name in domains) / len(domains)


def score_table(scores, flawless=None):
    """Lines of a table for the terminal.   scores {name: Score}, flawless {name: {temperature: Flawless}} for some names"""
    answers = f"{'right':>9s}{'best':>9s}" if any(score.accuracy is not None for score in scores.values()) else ""
    temperatures = list(next(iter(flawless.values()))) if flawless else []
    more = "".join(f"{f'flawless at {temperature:g}':>17s}" for temperature in temperatures)
    lines = [f"{'':14s}{'loss':>9s}{'floor':>9s}{'excess':>9s}{'+-':>8s}{'tokens':>10s}{more}{answers}"]
    for name, score in scores.items():
        above_floor = [f"{'-':>9s}", f"{'-':>9s}", f"{'-':>8s}"] if score.floor is None else [
            f"{score.floor:9.4f}", f"{score.excess:9.4f}", f"{1.96 * score.stderr:8.4f}"]
        shares = [f"{share!s:>17s}" for share in flawless[name].values()] if flawless and name in flawless else [" " * len(more)]
        shares += [f"{100 * share:7.1f} %" for share in (score.accuracy, score.best) if share is not None]
        lines.append(f"{name:14s}{score.loss:9.4f}{''.join(above_floor)}{score.tokens:10,d}{''.join(shares)}".rstrip())
    if flawless:
        lines.append("flawless: of the texts that it writes, at two temperatures, the share without a mistake (and its 95 % "
                     "interval)")
    return lines
