def early_stopping(losses, patience):
    best = 0
    for look, loss in enumerate(losses):
        if loss < losses[best]:
            best = look
        elif look - best == patience:
            return best, look
    return best, len(losses) - 1


WRONG = [
    ("loss < losses[best]", "loss <= losses[best]", "no new lowest"),
    ("look - best == patience", "look - best > patience", "too late"),
    ("look - best == patience", "look - best == patience - 1", "too early"),
    ("return best, look\n", "return look, best\n", "should be"),
    ("elif look - best == patience", "elif look and losses[look] > losses[look - 1] and patience == 1", "should be"),
]
