"""Exercise 12: when to stop."""

import numpy as np

from ..learners_file import Wrong

LESSON = 6

HINTS = (
    "Go through the looks one by one, and remember which one had the lowest loss so far. How long ago was that?",
    "At look i, if losses[i] is lower than losses[best], best becomes i. Else, i - best looks in a row have been without a new "
    "lowest loss.",
    "Stop as soon as i - best equals patience; if that never happens, the loop ends and stop is len(losses) - 1.",
)

EXPLANATION = """
Early stopping is the oldest and cheapest remedy against overfitting: training passes a good model, and continues to a worse one.
The validation texts are used to choose the model, so its loss on them is a little too good; the final result must be measured on
texts that played no part in any choice.

With patience 1, a single unlucky look ends training; with too much patience, time is wasted. Lesson 15 shows how different the
best model and the last one can be.
"""


def right(losses, patience):
    best = 0
    for i, loss in enumerate(losses):
        if loss < losses[best]:
            best = i
        elif i - best == patience:
            return best, i
    return best, len(losses) - 1


def with_ties(losses, patience):
    best = 0
    for i, loss in enumerate(losses):
        if loss <= losses[best]:
            best = i
        elif i - best == patience:
            return best, i
    return best, len(losses) - 1


def rising(losses, patience, ties=True):
    """Stops when the loss has risen `patience` times in a row."""
    count = stop = 0
    for stop in range(1, len(losses)):
        count = count + 1 if losses[stop] > losses[stop - 1] or ties and losses[stop] == losses[stop - 1] else 0
        if count == patience:
            break
    return lowest(losses[:stop + 1]), stop


def never_set_back(losses, patience):
    """Counts all looks without a new lowest loss, in a row or not."""
    best = count = 0
    for i in range(1, len(losses)):
        if losses[i] < losses[best]:
            best = i
        else:
            count += 1
            if count == patience:
                return best, i
    return best, len(losses) - 1


def lowest(losses):
    return min(range(len(losses)), key=losses.__getitem__)


MISTAKES = (
    ("they are in the wrong order: best comes first, then stop", lambda losses, patience: right(losses, patience)[::-1]),
    ("training ends too late: at that look, more than `patience` in a row were without a new lowest loss",
     lambda losses, patience: right(losses, patience + 1)),
    ("training ends too early: fewer than `patience` looks in a row were without a new lowest loss",
     lambda losses, patience: right(losses, patience - 1)),
    ("a loss that only equals the lowest is not a new lowest loss", with_ties),
    ("what counts is the distance from the lowest loss, not rises from one look to the next", rising),
    ("what counts is the distance from the lowest loss, not rises from one look to the next",
     lambda losses, patience: rising(losses, patience, ties=False)),
    ("the count must start again from 0 after each new lowest loss", never_set_back),
    ("training does not end when patience is over", lambda losses, patience: (lowest(losses), len(losses) - 1)),
    ("best is searched for among all losses; those after stop have never been measured",
     lambda losses, patience: (lowest(losses), right(losses, patience)[1])),
    ("looks are counted from 0, not from 1", lambda losses, patience: tuple(look + 1 for look in right(losses, patience))),
    ("best must be the number of a look, not its loss",
     lambda losses, patience: (losses[right(losses, patience)[0]], right(losses, patience)[1])),
    ("where training never has to end, stop is the last look, len(losses) - 1",
     lambda losses, patience: right(losses + [np.inf], patience)),
    ("where training never has to end, stop is the last look, len(losses) - 1",
     lambda losses, patience: right(losses + [np.inf] * patience, patience)),
)


def check(attempt):
    cases = [([5.0, 3.0, 4.0, 2.0, 2.5, 2.2, 1.0], 2), ([1.0, 2.0], 1), ([2.0], 3), ([3.0, 2.0, 1.0], 1),
             ([1.0, 1.0, 1.0, 1.0], 2), ([4.0, 3.0, 3.5, 2.0, 2.5, 1.0, 1.5, 0.5], 2),
             ([1e6, 5e5, 7e5, 6e5], 2), ([3 - 1e-9 * n for n in range(6)], 2)]
    cases += [([float(loss) for loss in attempt.rng.integers(0, 9, attempt.rng.integers(4, 15))],
               int(attempt.rng.integers(1, 5))) for _ in range(40)]
    complaint, suspected = "", MISTAKES                 # a mistake is named only if it explains the results of all cases
    for losses, patience in cases:
        try:
            answer = attempt.call("early_stopping", list(losses), patience, returns="best stop", like=(0, 0))
        except Wrong:
            if complaint:
                break
            raise
        for name, value in zip(("best", "stop"), answer):
            attempt.insist(np.ndim(value) == 0, f"early_stopping must return one number as {name}, and yours has the shape "
                                                f"{np.shape(value)}.")
        if not complaint and tuple(answer) != right(losses, patience):
            complaint = (f"early_stopping({losses}, {patience}) should be {right(losses, patience)}, and is "
                         f"({answer[0]}, {answer[1]}).")
        suspected = [(sentence, rule) for sentence, rule in suspected if rule(losses, patience) == tuple(answer)]
    attempt.insist(not complaint, complaint, *(f"Likely: {sentence}." for sentence, _ in suspected[:1]))
