"""Exercise 9: one step of gradient descent with momentum."""

LESSON = 5

HINTS = (
    "Two lines, one for each equation, in their order. The second uses the new v of the first.",
    "The arrow in an equation is an assignment in Python. `v = ...` makes a new array and gives it the old name, which leaves "
    "the caller's array unchanged; `v *= ...`, `v += ...` or `v[...] = ...` would write into it.",
    """Line by line: the new velocity is mu times the old one plus the gradient; the new theta is the old one minus rate times
the new velocity; return both, theta first.""",
)

EXPLANATION = """
A gradient that stays the same adds up: the velocity approaches (1 + mu + mu^2 + ...) = 1 / (1 - mu) times the gradient, ten times
at mu = 0.9. A gradient that changes its sign at each step nearly cancels. So steps go along a narrow valley instead of across it.
At mu = 0 nothing is remembered, and plain gradient descent is left.

There are other forms: with the rate inside v, or with the gradient times 1 - mu. As long as rate and mu stay the same, the first
form only changes v, and the second is the same as a smaller rate; if you copy a learning rate, you must know which form it was
for. `SGD` in `minillm/train/optimizers/` is yours, written in place to save memory.
"""


def check(attempt):
    rng = attempt.rng
    for trial, (K, n_out) in enumerate(attempt.trials("K O")):
        shape = (K,) if trial < 3 else (K, n_out)
        theta, v, g = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=shape)
        rate, mu = float(rng.uniform(0.05, 0.3)), float(rng.uniform(0.5, 0.95))
        hold(attempt, theta, v, g, rate, mu)
    hold(attempt, theta, v, g, rate, 0.0, "where mu = 0: plain gradient descent")
    hold(attempt, theta, v, 0 * g, rate, mu, "where the gradient is 0: it moves on, more slowly")

    theta, v = rng.normal(size=3), 0 * rng.normal(size=3)
    for _ in range(4):                                              # down a bowl: what comes out goes in again
        theta, v = hold(attempt, theta, v, 2 * theta, rate, mu, "in a row of steps")


def hold(attempt, theta, v, g, rate, mu, note=""):
    new = mu * v + g
    averaged, inside = mu * v + (1 - mu) * g, mu * v - rate * g
    return attempt.check("momentum", (theta, v, g, rate, mu), {"theta": theta - rate * new, "v": new}, {
        "the step is made with the gradient alone, not with the new velocity": {"theta": theta - rate * g},
        "the step is made with the old velocity; the new one comes first": {"theta": theta - rate * v},
        "the step goes uphill: it must be theta minus rate v": {"theta": theta + rate * new},
        "the gradient is added to the velocity as it is, not multiplied by 1 - mu": {
            "theta": theta - rate * averaged, "v": averaged},
        "the gradient has a minus in the velocity; the minus belongs in the step": {
            "theta": theta - rate * (mu * v - g), "v": mu * v - g},
        "the gradient has a minus in the velocity, and the step a plus; here the minus belongs in the step": {
            "theta": theta + rate * (mu * v - g)},
        "the rate is in the velocity, v = mu v - rate g; here it belongs in the step": {"theta": theta + inside, "v": inside},
        "the rate is in the velocity, v = mu v + rate g; here it belongs in the step": {
            "theta": theta - mu * v - rate * g, "v": mu * v + rate * g},
        "the rate is in both equations; it belongs only in the step": {"theta": theta - rate * (mu * v + rate * g)},
        "rate and mu are swapped": {"theta": theta - mu * (rate * v + g), "v": rate * v + g},
        "mu is missing in the velocity": {"theta": theta - rate * (v + g), "v": v + g},
        "the old v is returned; it must be the new one": {"v": v},
        "the results are in another order; it must be theta, v": {"theta": new, "v": theta - rate * new},
    }, note)
