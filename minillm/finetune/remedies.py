"""Against forgetting: repeat the old, hold on to the old weights, or go part of the way back."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

import numpy as np

from ..nn import CrossEntropy
from ..nn.softmax import Softmax
from ..text.batches import MixedBatches, pad
from .recipe import at_least_one
from .spec import made_of
from .wrapper import inserted, interpolate_parameter


@dataclass(frozen=True)
class Remedy:
    """What is done against forgetting while a recipe trains; this one, nothing. Its fields are its options.

    reads_old   it needs some of the old data
    """

    method: ClassVar[str] = "none"
    reads_old: ClassVar[bool] = False

    def batches(self, new, old):
        """The batches to train on. `old` makes some of the old data: old(size) is as `new`."""
        return new

    def penalty(self, model, old_sequences):
        """A force on the weights while they train, or None. `old_sequences()` gives some of the old data, lists of ids."""

    def finish(self, model, start):
        """The last word, when all is trained. start: {name: array}, what the weights that train were before."""


@dataclass(frozen=True)
class Replay(Remedy):
    """Old documents are mixed into every batch.

    share       how many, for each new one
    """

    share: float = 0.25

    method: ClassVar[str] = "replay"
    reads_old: ClassVar[bool] = True

    def __post_init__(self):
        above_zero("share of old documents", self.share)

    def batches(self, new, old):
        return MixedBatches(new, old(max(1, round(self.share * new.batch))))


@dataclass(frozen=True)
class L2SP(Remedy):
    """The weights are drawn back to where they started, all with the same force (L2-SP, Li, Grandvalet & Davoine 2018).

    The loss gets  strength / 2 |theta - theta_0|^2  on top. theta_0 are the pretrained weights, and not zero as for weight decay.
    """

    strength: float = 0.01

    method: ClassVar[str] = "l2sp"

    def __post_init__(self):
        above_zero("strength", self.strength)

    def penalty(self, model, old_sequences):
        return QuadraticPenalty(self.strength)


@dataclass(frozen=True)
class EWC(Remedy):
    """Weights are drawn back the more strongly the more the old data depend on them (EWC, Kirkpatrick et al. 2017).

    The loss gets  strength / 2 sum_i F_i (theta_i - theta_0,i)^2  on top. With F the diagonal of the Fisher information for a
    token, half that sum is about what the old loss rises by, in nats a token. So at a strength of 1 the old counts as much as the
    new, as far as the diagonal tells.

    F is what the old texts depend on *at the start*. Of a product of two of which one begins as zero, they do not depend on the
    other, whose F is 0: it is not held at all. That are A of LoRA and DoRA, the way down of an adapter, and keys and values of a
    prefix behind a closed gate.

    documents   of the old data, from which F is estimated
    """

    strength: float = 10.0
    documents: int = 128

    method: ClassVar[str] = "ewc"
    reads_old: ClassVar[bool] = True

    def __post_init__(self):
        above_zero("strength", self.strength)
        at_least_one("number of documents", self.documents)

    def penalty(self, model, old_sequences):
        return QuadraticPenalty(self.strength, fisher(model, old_sequences(self.documents), np.random.default_rng(0)))


@dataclass(frozen=True)
class Interpolation(Remedy):
    """When all is trained, the weights go part of the way back: theta_0 + keep (theta - theta_0) (WiSE-FT, Wortsman et al. 2022).

    Of what was inserted, what it adds goes back (`interpolate`).

    keep        1 stays, 0 is the start
    """

    keep: float = 0.5

    method: ClassVar[str] = "wise"

    def __post_init__(self):
        if not 0 <= self.keep <= 1:
            raise ValueError(f"keep is {self.keep:g}, but must be from 0 to 1")

    def finish(self, model, start):
        interpolate(model, start, self.keep)


REMEDIES = {remedy.method: remedy for remedy in (Remedy, Replay, L2SP, EWC, Interpolation)}


def remedy_of(text):
    """A remedy from `name` or `name:option=value,...`. ValueError lists what there is."""
    name, _, options = text.partition(":")
    if name not in REMEDIES:
        near = get_close_matches(name, REMEDIES, n=1)
        raise ValueError(f"there is no remedy {name!r}{f'; did you mean {near[0]}?' if near else ''}; "
                         f"remedies are {', '.join(REMEDIES)}")
    return made_of(REMEDIES[name], name, options)


def above_zero(name, value):
    if not value > 0:
        raise ValueError(f"the {name} is {value:g}, but must be above 0")


def interpolate(model, start, keep):
    """theta <- start + keep (theta - start) for all that trains, from `start` {name: array} on.

    Of what was inserted, it is the *function* that goes back, wherever it can: so say its
    owners (finetune/wrapper.py, `interpolate_added`).
    After LoRA, DoRA and (IA)^3 the merged matrix is W_0 + keep (W - W_0), whatever their factors have become.
    """
    left = {p: start[name] for name, p in model.trainable_parameters().items()}
    for slot in inserted(model):
        slot.module.interpolate_added({p: left.pop(p) for p in slot.module.added_parameters() if p in left}, keep)
    for p, array in left.items():
        interpolate_parameter(p, array, keep)


class QuadraticPenalty:
    """A spring from every weight to where it started: gradient  strength F (theta - theta_0).

    importance      F, {name: array}, or None for 1 everywhere
    """

    def __init__(self, strength, importance=None):
        above_zero("strength", strength)
        self.strength, self.importance = strength, importance

    def start(self, flat):
        """Meet the parameters (a `FlatParameters`), before any worker is forked."""
        self.flat, self.origin = flat, flat.data.copy()
        self.F = np.full_like(self.origin, self.strength)
        if self.importance:
            for name, view in flat.views(self.F).items():
                view *= self.importance[name]

    def add(self, share):
        """flat.grad[share] += the gradient of the penalty"""
        self.flat.grad[share] += self.F[share] * (self.flat.data[share] - self.origin[share])


def fisher(model, documents, rng):
    """The diagonal of the Fisher information of a token, for each parameter that trains: {name: array}.

    F_i = E[(d log p(y) / d theta_i)^2] with y drawn from the model itself, along the old documents. The scores of a document's
    tokens are uncorrelated, so the square of their sum has the same mean as the sum of their squares, and one backward pass
    for each document is enough.
    """
    found, tokens_seen = {name: np.zeros_like(p.data) for name, p in model.trainable_parameters().items()}, 0
    loss, softmax = CrossEntropy(), Softmax()
    for ids in documents:
        tokens, _ = pad([ids])
        logits, cache = model.forward(tokens)
        P = softmax.forward(logits, False)[0].cumsum(axis=-1)
        y = (rng.random((*P.shape[:2], 1)) * P[..., -1:] > P).sum(axis=-1)
        model.zero_grad()
        _, loss_cache = loss.forward(logits, y, 1)
        model.backward(loss.backward(1.0, loss_cache), cache)
        for name, p in model.trainable_parameters().items():
            found[name] += p.grad * p.grad
        tokens_seen += tokens.size
    for p in model.trainable_parameters().values():
        p.grad = None
    return {name: F / tokens_seen for name, F in found.items()}
