"""Remedies against forgetting: replay old data, penalize changes of the weights, or interpolate back towards the start."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..nn import CrossEntropy
from ..nn.softmax import Softmax
from ..text.batches import MixedBatches, pad
from .recipe import at_least_one
from .spec import from_options, named
from .wrapper import inserted, interpolate_parameter


@dataclass(frozen=True)
class Remedy:
    """What is done against forgetting while a recipe trains; this base class does nothing. Its fields are its options.

    reads_old   whether it needs old data
    """

    method: ClassVar[str] = "none"
    reads_old: ClassVar[bool] = False

    def batches(self, new, old):
        """The batches to train on, given those of the new task; old(size) makes batches of old data."""
        return new

    def penalty(self, model, old_sequences):
        """A penalty on the weights that is added to the loss, or None. old_sequences(n) returns n old texts, lists of ids."""

    def finish(self, model, start):
        """Change the model after training. start: {name: array}, the initial values of the weights that trained."""


@dataclass(frozen=True)
class Replay(Remedy):
    """Old documents are mixed into every batch.

    share       old documents for each new one
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
    """A penalty on the distance of the weights from their start (L2-SP, Li, Grandvalet & Davoine 2018).

    The gradient of  strength / 2 |theta - theta_0|^2  is added to that of the loss, which is reported without it. theta_0 are the
    weights where training starts; in weight decay it is zero.
    """

    strength: float = 0.01

    method: ClassVar[str] = "l2sp"

    def __post_init__(self):
        above_zero("strength", self.strength)

    def penalty(self, model, old_sequences):
        return QuadraticPenalty(self.strength)


@dataclass(frozen=True)
class EWC(Remedy):
    """Elastic weight consolidation: a larger penalty on weights that matter more for the old data (Kirkpatrick et al. 2017).

    The gradient of  strength / 2 sum_i F_i (theta_i - theta_0,i)^2  is added, as for L2-SP. With F the diagonal of the Fisher
    information of a token, half the sum is about the rise of the old loss, in nats a token. So at a strength of 1 the old data
    count as much as the new, as far as a diagonal F can tell. In practice that is weak, and so is the default: on the demo's
    model (`full`, 64 novels, one seed) strengths of 1, 10, 100, 300 and 1000 leave about 100, 90, 60, 30 and 10 % of the
    forgetting, and none of them costs learning. Lesson 14 takes 300.

    F says what the old texts depend on *at the start*. If a product has one factor that starts at zero, the other factor has no
    influence at the start, so its F is 0 and it is not penalised: A of LoRA and DoRA, the down-projection of an adapter, the keys
    and values of a prefix with a closed gate.

    documents   number of old documents from which F is estimated
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
    """After training, the weights go back part of the way: theta_0 + keep (theta - theta_0) (WiSE-FT, Wortsman et al. 2022).

    For inserted modules, what they add is scaled down instead of their parameters (`interpolate`).

    keep        the fraction of the change that is kept: 1 changes nothing, 0 is the start
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
    """A remedy from `name` or `name:option=value,...`. ValueError lists what is valid."""
    name, _, options = text.partition(":")
    return from_options(named(name, REMEDIES, "remedy", "remedies"), name, options)


def above_zero(name, value):
    if not value > 0:
        raise ValueError(f"the {name} is {value:g}, but must be above 0")


def interpolate(model, start, keep):
    """theta <- start + keep (theta - start) for all that trains; start is {name: array}.

    In inserted modules the *function* is interpolated where that is possible (wrapper.py, `interpolate_added`). So with LoRA,
    DoRA and (IA)^3 the merged matrix becomes W_0 + keep (W - W_0), whatever the factors are.
    """
    remaining = {p: start[name] for name, p in model.trainable_parameters().items()}
    for slot in inserted(model):
        added = [p for p in slot.module.added_parameters() if p in remaining]
        slot.module.interpolate_added({p: remaining.pop(p) for p in added}, keep)
    for p, array in remaining.items():
        interpolate_parameter(p, array, keep)


class QuadraticPenalty:
    """The penalty  strength / 2 sum_i F_i (theta_i - theta_0,i)^2,  by its gradient  strength F (theta - theta_0).

    importance      F, {name: array}, or None for 1 everywhere
    """

    def __init__(self, strength, importance=None):
        above_zero("strength", strength)
        self.strength, self.importance = strength, importance

    def start(self, flat):
        """Remember theta_0 and lay out F; flat: the parameters (`FlatParameters`). Called before any worker is forked."""
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

    F_i = E[(d log p(y) / d theta_i)^2], with y drawn from the model's predictions along the old documents (lists of ids). The
    scores d log p / d theta_i of a document's tokens are uncorrelated, so the square of their sum has the same mean as the sum of
    their squares. So one backward pass for each document is enough.
    """
    squares, n_tokens = {name: np.zeros_like(p.data) for name, p in model.trainable_parameters().items()}, 0
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
            squares[name] += p.grad * p.grad
        n_tokens += tokens.size
    for p in model.trainable_parameters().values():
        p.grad = None
    return {name: square / n_tokens for name, square in squares.items()}
