"""Generate text: sample the next token, append it, and repeat.

Every token goes through the model once: what attention needs of it later is in the KV cache (kv_cache.py), so each step computes
only the last token (decoder.py). This works until the text is longer than the context. From then on the model sees the last
`context` tokens, and with every step each of them moves to another position. The cache is not valid then, so all of these tokens
are computed again for every new one. (One could compute only the last half of a context again and then use the cache once more,
in a fraction of the time; but the model would see less of the text than it can.)
"""

import math

import numpy as np

from .decoder import stepper
from .kv_cache import KVCache

LEAST_TEMPERATURE = 1e-200      # lower temperatures are raised to this one: even large logits can be divided by it
NOT_NUMBERS = "the logits are not numbers: is the model sound?"


def sample(logits, rng, temperature=1.0, top_k=None, top_p=None):
    """One id drawn from softmax(logits / temperature).   logits (V,)

    temperature   below 1, likely tokens become likelier; 0 always takes the likeliest
    top_k         only the k likeliest tokens can be drawn
    top_p         only the smallest set of likeliest tokens whose probabilities sum to at least this (Holtzman et al. 2020)

    Inverse transform sampling: the probabilities are intervals, laid end to end with the likeliest first, and the id is drawn
    whose interval contains a random point. top_k and top_p cut intervals off at the end. Instead of dividing all probabilities
    by their sum, the point is multiplied by it.

    ValueError if a logit is NaN, or if the largest is infinite: the model is broken. (-inf is never drawn.)
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"the temperature is {temperature}, but must be 0 or a number above it")
    if temperature == 0:
        likeliest = int(logits.argmax())                                    # the first NaN, if there is one
        if not math.isfinite(logits[likeliest]):
            raise ValueError(NOT_NUMBERS)
        return likeliest
    negative = np.divide(logits, -max(temperature, LEAST_TEMPERATURE), dtype=np.float64)
    order = negative.argsort(kind="stable")
    ends = np.exp(negative[order[0]] - negative[order]).cumsum()            # where each interval ends, not yet divided by the sum
    if not ends[-1] >= 1:                                                   # the first interval alone is exp(0) = 1 long
        raise ValueError(NOT_NUMBERS)
    if top_p:
        ends = ends[:ends.searchsorted(top_p * ends[-1]) + 1]
    if top_k:
        ends = ends[:top_k]
    return int(order[ends.searchsorted(rng.random() * ends[-1], side="right")])


def generate(model, ids, n, rng, temperature=1.0, top_k=None, top_p=None, stop=None, vocabulary=None):
    """Continue a list of ids by up to n tokens, or up to and including the id `stop`. Returns all ids, prompt included.

    vocabulary    only the first so many ids can be drawn: the table of an imported model may have more rows than it has tokens

    The model sees at most its context, so only the end of a longer text. ValueError if there is nothing to continue, or if the
    model is broken and its logits are not numbers.
    """
    return generate_equal_lengths(model, [ids], n, [rng], temperature, top_k, top_p, stop, vocabulary)[0]


def generate_text(model, tokenizer, beginning, n, rng, temperature=0.7):
    """Continue the ids of `beginning` by up to n tokens, or to the end of the text or context. Returns the new part as a string.

    The string is empty if the model is broken and its logits are not numbers.
    """
    try:
        ids = generate(model, beginning, min(n, model.config.context - len(beginning)), rng, temperature,
                       stop=tokenizer.end, vocabulary=len(tokenizer))
    except ValueError:
        return ""
    return tokenizer.decode([i for i in ids[len(beginning):] if i not in (tokenizer.begin, tokenizer.end)])


def generate_batch(model, prompts, n, rng, temperature=1.0, top_k=None, top_p=None, stop=None, vocabulary=None):
    """Continue several lists of ids at once, in a fraction of the time. Returns a list of what `generate` returns.

    Prompts may differ in length, but only those of equal length are continued together. For several continuations of one prompt,
    give it several times. Each text has its own random numbers, from `rng.spawn(len(prompts))`, so it does not depend on the
    others: up to rounding, `generate` with the same random numbers gives the same text. (A matrix product may sum several rows in
    another order than a single one, which in float32 can, very rarely, change a draw.)
    """
    rngs = rng.spawn(len(prompts))
    texts = [None] * len(prompts)
    for length in {len(ids) for ids in prompts}:
        group = [i for i, ids in enumerate(prompts) if len(ids) == length]
        continued = generate_equal_lengths(model, [prompts[i] for i in group], n, [rngs[i] for i in group], temperature, top_k,
                                           top_p, stop, vocabulary)
        for i, text in zip(group, continued):
            texts[i] = text
    return texts


def generate_equal_lengths(model, prompts, n, rngs, temperature=1.0, top_k=None, top_p=None, stop=None, vocabulary=None):
    """Continue prompts of equal length together, each with its own rng and each up to its own `stop`."""
    texts = [list(ids) for ids in prompts]
    if not texts[0]:
        raise ValueError("there is nothing to continue: a prompt needs at least one token")
    predictor = NextToken(model, len(texts))
    unfinished = list(range(len(texts)))
    with np.errstate(over="ignore", invalid="ignore"):                      # `sample` notices the logits of a broken model
        for _ in range(n):
            for i, logits in zip(unfinished, predictor.logits(texts, unfinished)):
                texts[i].append(sample(logits[:vocabulary], rngs[i], temperature, top_k, top_p))
            unfinished = [i for i in unfinished if texts[i][-1] != stop]
            if not unfinished:
                break
    return texts


class NextToken:
    """The logits of the next token of several texts of equal length, which grow by one token at a time."""

    def __init__(self, model, batch):
        self.model, self.kv_cache, self.step = model, KVCache(model, batch), None

    def logits(self, texts, unfinished):
        """The logits (len(unfinished), V) of the next token, for the texts with the indices in `unfinished`."""
        context, length = self.model.config.context, len(texts[unfinished[0]])
        if length > context:
            return self.model.logits(np.array([texts[i][-context:] for i in unfinished]))[:, -1]
        if length - self.kv_cache.length > 1:                     # a prompt
            return self.model.forward_cached(np.array(texts), self.kv_cache)[:, -1]
        self.step = self.step or stepper(self.model, self.kv_cache)
        return self.step([ids[-1] for ids in texts])[unfinished]      # finished texts are computed too, at almost no cost
