def momentum(theta, v, g, rate, mu):
    v = mu * v + g
    return theta - rate * v, v


WRONG = [
    ("theta - rate * v, v", "theta - rate * g, v", "with the gradient alone"),
    ("    v = mu * v + g\n    return theta - rate * v, v", "    return theta - rate * v, mu * v + g", "with the old velocity"),
    ("mu * v + g", "mu * v + (1 - mu) * g", "as it is"),
    ("mu * v + g", "mu * v - g", "minus"),
    ("theta - rate * v, v", "theta + rate * v, v", "uphill"),
    ("mu * v + g\n    return theta - rate * v", "mu * v - rate * g\n    return theta + v", "the rate is in the velocity"),
    ("    v = mu * v + g", "    v *= mu\n    v += g", "has changed its input v"),
    ("    return theta - rate * v, v", "    theta -= rate * v\n    return theta, v", "has changed its input theta"),
]
