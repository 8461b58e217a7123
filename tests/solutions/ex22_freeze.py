from fnmatch import fnmatch


def step(weights, grads, patterns, rate, decay):
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in weights):
            raise ValueError(f"the pattern {pattern} fits no name")
    trains = {name: any(fnmatch(name, pattern) for pattern in patterns) for name in weights}
    return {name: W - rate * (grads[name] + decay * W) if trains[name] else W for name, W in weights.items()}


WRONG = [
    ("W - rate * (grads[name] + decay * W) if trains[name] else W", "W - rate * (grads.get(name, 0) + decay * W)",
     "the decay still changes"),
    (" + decay * W", "", "the decay is missing"),
    ("(grads[name] + decay * W)", "grads[name] - decay * W", "not multiplied by the rate"),
    ("any(fnmatch(name, pattern) for pattern in patterns)", "all(fnmatch(name, pattern) for pattern in patterns)",
     "one match is enough"),
    ("    return {name: W - rate * (grads[name] + decay * W) if trains[name] else W for name, W in weights.items()}",
     "    weights = dict(weights)\n    for pattern in patterns:\n        for name, W in weights.items():\n"
     "            if fnmatch(name, pattern):\n"
     "                weights[name] = W - rate * (grads[name] + decay * W)\n    return weights",
     "makes two steps"),
    ("            raise ValueError(f\"the pattern {pattern} fits no name\")", "            pass", "nothing was raised"),
    ("fits no name\")", "\") if False else ValueError('no')", "the message should contain the pattern"),
    (" else W for name", " else W + 1e-13 for name", "to the last bit"),
]
