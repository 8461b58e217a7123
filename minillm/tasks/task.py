"""The contract of a task: a text to learn, how to batch it, and how to tell how well it is known."""

from .evaluate import pooled, score_table


class Task:
    """What the commands, runs and pictures ask of whatever is learned. To add a task, write one of these and list it in TASKS.

    name        of what it teaches; learned: the domains of that
    tokenizer   of the texts
    world       the toy world that the texts are of, or None
    measure     what a model is judged by: "excess" over the floor, or "loss" where nobody knows the floor
    unseen      is it judged by texts that it does not teach?
    kinds       {kind: form}: what its JSON can call itself, and what else must be in it (ground/schema.py)
    """

    kinds = {}
    world = None
    measure = "loss"
    unseen = True

    def to_json(self, folder=None):
        """What a checkpoint in a folder has to remember, for `from_json`."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, json, tokenizer=None, workers=None, folder=None):
        """The inverse; tokenizer: of the model that the checkpoint holds."""
        raise NotImplementedError

    def batches(self, batch, context, seed=0):
        """A source of batches (text/batches.py). ValueError if the context does not suit the texts."""
        raise NotImplementedError

    def old_sequences(self, n):
        """n lists of ids such as it teaches, for when something else is learned after it."""
        raise NotImplementedError

    def probe(self, context):
        """A few texts (text/batches.py, Text), none longer than the context, that a loss surface is measured on."""
        raise NotImplementedError

    def score(self, model, split="test", n=200):
        """{domain: Score} of what it teaches and of what was known before, on up to n documents of each."""
        raise NotImplementedError

    def score_learned(self, model, split="test", n=200):
        """The Score of what it teaches, alone."""
        return self.score(model, split, n)[self.name]

    def validate(self, model):
        """A short look, for the history of a run: {"loss": ...} and what else is known of it."""
        return {"loss": self.score_learned(model, "validation").loss}

    def remarks(self, split, n):
        """Sentences that a reader of its scores should know."""
        return []

    def final_report(self, model):
        """What a training command says at its end: lines, and numbers for JSON."""
        scores = self.score(model, "validation", 100)
        lines = ["on validation texts, up to 100 of each kind:", *score_table(scores), *self.remarks("validation", 100)]
        return lines, {"validation_loss": pooled({name: scores[name] for name in self.learned}),
                       "domains": {name: vars(score) for name, score in scores.items()}}


def identity(json):
    """What a task is, wherever its data lie."""
    return {name: value for name, value in json.items() if name != "path"}
