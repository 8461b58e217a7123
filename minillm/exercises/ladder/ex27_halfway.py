"""Exercise 27: part of the way back."""

from collections.abc import Mapping

import numpy as np

from ..learners_file import Wrong

LESSON = 14

HINTS = (
    "For `interpolate` go through the names and make a new array for each. For `halfway`, which three numbers does learned(t) "
    "need? Two of them are the same for all t.",
    "Measure e(0) with before and e(1) with after. Then go through t = 0, 0.05, ... in order, measure e(t) at the weights that "
    "`interpolate` gives, and stop at the first t that is good enough.",
    """For each t of `[k / 20 for k in range(21)]`:

    learned = (e(0) - e(t)) / (e(0) - e(1))        is it at least the share? Then return t

At t = 1 learned is 1, so there is always such a t.""",
)

EXPLANATION = """
Your t was also tested on a small network, which had learned a curve and then something new on a part of it. At your t, the
network kept the share that was asked for, and less than half of the forgetting was left.

The new loss is flat near t = 1, and the old loss is flat near t = 0: so the first steps back from t = 1 gain much and cost
little. Here t was chosen with the new task alone. With some old texts you would look at both curves, as in the picture of lesson
14. `minillm finetune --remedy wise:keep=0.7` does it for any method, and `interpolate` in `minillm/finetune/remedies.py` says
what to do with a LoRA, whose change is a product of two matrices.
"""

POINTS = [k / 20 for k in range(21)]
HIDDEN = 24


def check(attempt):
    for trial, (n, m) in enumerate(attempt.trials("N M")):
        before, after = ({"in": attempt.rng.normal(size=(n, m)), "b": attempt.rng.normal(size=m)} for _ in range(2))
        check_interpolate(attempt, before, after, (0.25, 0.0, 1.0, float(attempt.rng.random()), 1.5)[trial])
    for dent in (0, 0, 0, 0, 1, 1):
        check_bowl(attempt, dent)
    check_stairs(attempt)
    check_network(attempt)


def check_stairs(attempt):
    """Check an excess that falls in steps: exactly the share is learned at some t; or nothing is learned before t = 1."""
    before, after = ({"in": attempt.rng.normal(size=(2, 3)), "b": attempt.rng.normal(size=3)} for _ in range(2))
    difference = after["b"][0] - before["b"][0]
    for stairs, note in ((((0.475, 0.5), (0.775, 1.0)), "where the share is met exactly"),
                         (((0.975, 1.0),), "where everything is learned at the very end")):
        def excess(weights, stairs=stairs):
            t = (weights["b"][0] - before["b"][0]) / difference
            return 2.0 - max([0.0, *(learned for step_t, learned in stairs if t > step_t)])

        check_halfway(attempt, before, after, excess, 0.5, note)


def between(before, after, t):
    return {name: before[name] + t * (after[name] - before[name]) for name in before}


def check_interpolate(attempt, before, after, t):
    right = {"weights": between(before, after, t)}
    mistakes = {
        "before and after are swapped: t = 0 is before, t = 1 is after": between(after, before, t),
        "only t (after - before) is returned; before must be added": {
            name: right["weights"][name] - before[name] for name in before},
        "t multiplies after; it must multiply the difference, after - before": {
            name: before[name] + t * after[name] for name in before}}
    mixed = attempt.check("interpolate", (before, after, t), right, {
        sentence: {f"weights[{name!r}]": array for name, array in wrong.items()} for sentence, wrong in mistakes.items()})
    attempt.insist(not any(np.shares_memory(mixed[name], other[name]) for name in before for other in (before, after)),
                   f"interpolate(before, after, {t:g}) returns arrays that it was given; it must make new ones, which can be "
                   "changed without changing the model.")


def measured(before, after, excess):
    """The excess e(t) and the learned share at each of the POINTS."""
    e = np.array([excess(between(before, after, t)) for t in POINTS])
    return e, (e[0] - e) / (e[0] - e[-1])


def first(good):
    """The first of the POINTS where `good` is true, or None."""
    return POINTS[int(np.argmax(good))] if np.any(good) else None


def likely(e, learned, share):
    """{known mistake: the t that it gives}"""
    t = first(learned >= share)
    return {
        "e(1) is left out: the fall must be divided by e(0) - e(1)": first((e[0] - e) / e[0] >= share),
        "it is counted from after; t = 0 is before": 1 - t,
        "the part not yet learned is compared with the share; it must be the part learned": first(1 - learned <= share),
        "the first t at which no more than the share is learned is taken": first(learned <= share),
        "t is taken to be the share; but the excess does not fall in a straight line": first(np.array(POINTS) >= share),
        "the search goes from t = 1 down: the excess does not fall all the way, and a smaller t is good enough, too":
            POINTS[max(np.flatnonzero(learned < share)) + 1],
        "it is the last t that is not good enough": t - 0.05,
        "it is one step too far. Are the steps 0.05? And is t itself returned, not the next one?": t + 0.05,
        "it is the number of the step, not t": round(20 * t),
        "it is always the last t; return the first that is good enough": 1.0,
    }


def check_halfway(attempt, before, after, excess, share, note):
    """Check halfway, and return the right t."""
    def excess_new(weights):
        if not isinstance(weights, Mapping) or weights.keys() != before.keys():
            raise Wrong("excess_new was called with something that is not a set of weights. Give it a dictionary {name: array} "
                        "with the names of before, such as `interpolate` returns.")
        return excess(weights)

    e, learned = measured(before, after, excess)
    t = first(learned >= share)
    mistakes = {"the share itself is enough: >=, not >": first(learned > share)} | likely(e, learned, share)
    attempt.check("halfway", (before, after, excess_new, share), {"t": t}, {
        sentence: {"t": wrong} for sentence, wrong in mistakes.items() if wrong is not None}, note)
    return t


def check_bowl(attempt, dent):
    """Check an excess with the shape of a bowl, lowest near t = 1; with a dent, it rises again at some smaller t."""
    rng = attempt.rng
    while True:
        before, after = ({"in": rng.normal(size=(2, 3)), "b": rng.normal(size=3)} for _ in range(2))
        floor, lowest, share = (float(rng.uniform(*span)) for span in ((0.1, 0.2), (0.85, 1.1), (0.5, 0.8)))
        excess = bowl(before, after, lowest, floor, dent)
        e, learned = measured(before, after, excess)
        good = learned >= share
        values = [first(good), *likely(e, learned, share).values()]
        apart = dent or None not in values and len({round(value, 6) for value in values}) == len(values) - 1
        falls_again = np.any(good[:-1] & ~good[1:])
        if np.abs(learned - share).min() > 1e-3 and falls_again == bool(dent) and apart:        # each mistake gives another t
            break
    check_halfway(attempt, before, after, excess, share, "in a bowl" + dent * ", with a dent in its side")


def bowl(before, after, lowest, floor, dent):
    """The function weights -> floor + |weights - bottom|^2, with |after - before| as unit; the bottom is at t = lowest."""
    bottom = between(before, after, lowest)
    size = sum(float(np.sum((after[name] - before[name]) ** 2)) for name in before)

    def excess(weights):
        off = sum(float(np.sum((weights[name] - bottom[name]) ** 2)) for name in weights) / size
        return floor + off - dent * float(np.exp(-((np.sqrt(off) - lowest + 0.4) / 0.06) ** 2))

    return excess


def check_network(attempt):
    """Check both functions on a network 1 - 24 - 1 that has learned a curve, and then something new on a part of it."""
    rng = attempt.rng
    x, part = np.linspace(-3, 3, 61), np.linspace(0.5, 2, 16)
    start = {"in": 2 * rng.normal(size=HIDDEN), "b": 2 * rng.normal(size=HIDDEN), "out": 0.3 * rng.normal(size=HIDDEN)}
    before = trained(start, x, np.sin(2 * x), 500, 0.03)
    after = trained(before, part, np.sin(2 * part) + 0.7, 100, 0.01)

    def new(weights):
        return error(weights, part, np.sin(2 * part) + 0.7)

    def old(weights):
        return error(weights, x[x < 0.3], np.sin(2 * x[x < 0.3]))

    share, note = 0.85, "on a small network that has learned a curve, and then something new on a part of it"
    t = check_halfway(attempt, before, after, new, share, note)
    weights = attempt.call("interpolate", before, after, t, returns="weights")
    learned = (new(before) - new(weights)) / (new(before) - new(after))
    forgotten = (old(weights) - old(before)) / (old(after) - old(before))
    attempt.insist(learned >= share - 1e-9 and forgotten <= 0.5,
                   f"interpolate and halfway together, {note}: {learned:.0%} of the learning is kept, which must be {share:.0%}, "
                   f"and {forgotten:.0%} of the forgetting is left, which must be less than half.")


def error(weights, x, y):
    return float(np.mean((np.tanh(x[:, None] * weights["in"] + weights["b"]) @ weights["out"] - y) ** 2))


def trained(weights, x, y, steps, rate):
    """The weights after some steps of Adam on all points at once, which takes a few milliseconds."""
    weights = {name: array.copy() for name, array in weights.items()}
    m, v = ({name: np.zeros_like(array) for name, array in weights.items()} for _ in range(2))
    for step in range(1, steps + 1):
        h = np.tanh(x[:, None] * weights["in"] + weights["b"])
        d = 2 / len(x) * (h @ weights["out"] - y)
        dh = (1 - h * h) * np.outer(d, weights["out"])
        for name, g in {"in": x @ dh, "b": dh.sum(axis=0), "out": h.T @ d}.items():
            m[name], v[name] = 0.9 * m[name] + 0.1 * g, 0.99 * v[name] + 0.01 * g * g
            weights[name] -= rate * m[name] / (1 - 0.9 ** step) / (np.sqrt(v[name] / (1 - 0.99 ** step)) + 1e-8)
    return weights
