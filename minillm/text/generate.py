"""Writing: the model's own next word, again and again.

Each token is read once, and what attention needs of it later is remembered (nn/kv_cache.py); the last token alone goes through the
model (decoder.py). This ends where the text outgrows the context. From there on the model sees the last `context` tokens, each
token at another position than before: nothing that is remembered holds any longer, so all of them are read anew for every token.
(One could read half a context anew and then remember again, at a fraction of the time; but the model would see less than it can.)
"""

import math

import numpy as np

from .decoder import stepper
from .tokenizer import BEGIN, END

COLDEST = 1e-200      # temperatures below are taken for this one, by which even large logits can be divided
RUINED = "the logits are not numbers: is the model sound?"


def sample(logits, rng, temperature=1.0, top_k=None, top_p=None):
    """One id drawn from softmax(logits / temperature).   logits (V,)

    temperature   below 1 the likely becomes likelier; 0 always takes the likeliest
    top_k         only the k likeliest may be drawn
    top_p         only the likeliest that together hold this probability may be drawn (Holtzman et al. 2020)

    The probabilities are laid end to end, the likeliest first, and the id is drawn on which a random point comes to lie. What may
    not be drawn is cut off from the end. Instead of dividing all by their sum, the point is multiplied by it.

    ValueError if a logit is not a number, or if the largest is infinite: the model is ruined. (-inf is never drawn.)
    """
    if not 0 <= temperature < math.inf:
        raise ValueError(f"the temperature is {temperature}, but must be 0 or a number above it")
    if temperature == 0:
        likeliest = int(logits.argmax())                                    # the first that is no number, if there is one
        if not math.isfinite(logits[likeliest]):
            raise ValueError(RUINED)
        return likeliest
    steep = np.divide(logits, -max(temperature, COLDEST), dtype=np.float64)
    order = steep.argsort(kind="stable")
    ends = np.exp(steep[order[0]] - steep[order]).cumsum()
    if not ends[-1] >= 1:                                                   # the first alone is exp(0)
        raise ValueError(RUINED)
    if top_p:
        ends = ends[:ends.searchsorted(top_p * ends[-1]) + 1]
    if top_k:
        ends = ends[:top_k]
    return int(order[ends.searchsorted(rng.random() * ends[-1], side="right")])


def generate(model, ids, n, rng, temperature=1.0, top_k=None, top_p=None, stop=None):
    """Continue a list of ids by up to n tokens; ends after the id `stop`. Returns all ids, prompt included.

    The model sees at most its context, so of a longer text only the end. ValueError if there is nothing to continue, or if the
    model is ruined and gives logits that are not numbers.
    """
    return write(model, [ids], n, [rng], temperature, top_k, top_p, stop)[0]


def generate_text(model, tokenizer, beginning, n, rng, temperature=0.7):
    """What a model writes after the ids of `beginning`, as a text, up to its end; nothing if the model is ruined.

    The beginning is not told again.
    """
    try:
        ids = generate(model, beginning, min(n, model.config.context - len(beginning)), rng, temperature,
                       stop=tokenizer.ids.get(END))
    except ValueError:
        return ""
    return tokenizer.decode([i for i in ids[len(beginning):] if tokenizer.tokens[i] not in (BEGIN, END)])


def generate_batch(model, prompts, n, rng, temperature=1.0, top_k=None, top_p=None, stop=None):
    """Continue each of several lists of ids, all at once, which takes a fraction of the time: a list of texts as of `generate`.

    Prompts may differ in length, but only those of equal length are written together. For several texts that begin alike, give
    the same prompt several times. Each text has its own random numbers, `rng.spawn(len(prompts))`, and so does not depend on
    those beside it: it is what `generate` would write alone, but for rounding. (Products of several rows may be summed in another
    order than those of one, which in float32 can, very rarely, tip a draw.)
    """
    rngs = rng.spawn(len(prompts))
    texts = [None] * len(prompts)
    for length in {len(ids) for ids in prompts}:
        rows = [i for i, ids in enumerate(prompts) if len(ids) == length]
        written = write(model, [prompts[i] for i in rows], n, [rngs[i] for i in rows], temperature, top_k, top_p, stop)
        for i, text in zip(rows, written):
            texts[i] = text
    return texts


def write(model, prompts, n, rngs, temperature=1.0, top_k=None, top_p=None, stop=None):
    """Continue prompts of equal length, each with its own random numbers and to its own end."""
    texts = [list(ids) for ids in prompts]
    if not texts[0]:
        raise ValueError("there is nothing to continue: a prompt needs at least one token")
    reader = Reader(model, len(texts))
    going = list(range(len(texts)))
    with np.errstate(over="ignore", invalid="ignore"):                      # a ruined model shows in its logits
        for _ in range(n):
            for i, logits in zip(going, reader.read(texts, going)):
                texts[i].append(sample(logits, rngs[i], temperature, top_k, top_p))
            going = [i for i in going if texts[i][-1] != stop]
            if not going:
                break
    return texts


class Reader:
    """Reads along while texts of equal length grow by one token at a time."""

    def __init__(self, model, batch):
        self.model, self.memory, self.step = model, model.memory(batch), None

    def read(self, texts, going):
        """The logits (len(going), V) of what follows in those texts that still grow, chosen by their numbers."""
        context, length = self.model.config.context, len(texts[going[0]])
        if length > context:
            return self.model.logits(np.array([texts[i][-context:] for i in going]))[:, -1]
        if length - self.memory.length > 1:                     # a prompt
            return self.model.extend(np.array(texts), self.memory)[:, -1]
        self.step = self.step or stepper(self.model, self.memory)
        return self.step([ids[-1] for ids in texts])[going]     # a text at its end is taken along, at next to no cost
