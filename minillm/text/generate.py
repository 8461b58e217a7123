"""Writing: the model's own next word, again and again."""

import numpy as np


def sample(logits, rng, temperature=1.0, top_k=None, top_p=None):
    """One id drawn from softmax(logits / temperature).   logits (V,)

    temperature   below 1 the likely becomes likelier; 0 always takes the likeliest
    top_k         only the k likeliest may be drawn
    top_p         only the likeliest that together hold this probability may be drawn (Holtzman et al. 2020)
    """
    if temperature == 0:
        return int(logits.argmax())
    logits = logits.astype(np.float64) / temperature
    order = np.argsort(-logits, kind="stable")
    p = np.exp(logits[order] - logits[order[0]])
    p /= p.sum()
    if top_k:
        p[top_k:] = 0
    if top_p:
        p[np.searchsorted(np.cumsum(p), top_p) + 1:] = 0
    p /= p.sum()
    return int(order[min(np.searchsorted(np.cumsum(p), rng.random(), side="right"), np.count_nonzero(p) - 1)])


def generate(model, ids, n, rng, temperature=1.0, top_k=None, top_p=None, stop=None):
    """Continue a list of ids by up to n tokens; ends after the id `stop`. Returns all ids, prompt included.

    The model sees at most its context, so of a longer text only the end.
    """
    ids = list(ids)
    for _ in range(n):
        seen = np.array([ids[-model.config.context:]])
        ids.append(sample(model.logits(seen)[0, -1], rng, temperature, top_k, top_p))
        if ids[-1] == stop:
            break
    return ids
