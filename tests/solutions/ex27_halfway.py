def interpolate(before, after, t):
    return {name: before[name] + t * (after[name] - before[name]) for name in before}


def halfway(before, after, excess_new, share):
    first, last = excess_new(before), excess_new(after)
    for t in [k / 20 for k in range(20)]:
        e = excess_new(interpolate(before, after, t))
        if (first - e) / (first - last) >= share:
            return t
    return 1.0


WRONG = [
    ("before[name] + t * (after[name] - before[name])", "after[name] + t * (before[name] - after[name])", "are swapped"),
    ("before[name] + t * (after[name] - before[name])", "t * (after[name] - before[name])", "before must be added"),
    ("(first - e) / (first - last)", "(first - e) / first", "e(1) is left out"),
    ("k / 20 for k in range(20)", "k / 10 for k in range(10)", "are the steps 0.05"),
    ("(first - e) / (first - last) >= share", "(e - last) / (first - last) <= share", "not yet learned is compared"),
    ("            return t", "            return 1 - t", "counted from after"),
    ("k / 20 for k in range(20)", "k / 20 for k in range(20, -1, -1)", "always the last t"),
    ("excess_new(before)", "excess_new(0)", "not a set of weights"),
    ("{name: before[name] + t * (after[name] - before[name]) for name in before}",
     "[before[name] + t * (after[name] - before[name]) for name in before]", "dictionary"),
]
