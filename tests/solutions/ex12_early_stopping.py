def early_stopping(losses, patience):
    best = 0
    for look, loss in enumerate(losses):
        if loss < losses[best]:
            best = look
        elif look - best == patience:
            return best, look
    return best, len(losses) - 1


WRONG = [
    ("loss < losses[best]", "loss <= losses[best]", "not a new lowest"),
    ("look - best == patience", "look - best > patience", "too late"),
    ("look - best == patience", "look - best == patience - 1", "too early"),
    ("return best, look\n    return best, len(losses) - 1",
     "return look, best\n    return len(losses) - 1, best", "wrong order"),
    ("elif look - best == patience", "elif look and losses[look] > losses[look - 1] and patience == 1", "should be"),
    ("return best, ", "return losses.index(min(losses)), ", "never been measured"),
    ("return best, ", "return losses[best], ", "not its loss"),
    ("len(losses) - 1", "len(losses)", "the last look"),
    ("return best, len(losses) - 1", "return best, best + patience", "the last look"),
]
