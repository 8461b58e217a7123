"""The contract of a task: texts to learn, how to batch them, and how to measure how well a model has learned them."""

from .evaluate import pooled, score_table


class Task:
    """What the commands, runs and pictures need to know about a task. To add a task, write a subclass and list it in TASKS.

    name        of what is learned
    learned     the names of its domains
    tokenizer   of its texts
    world       the toy world that the texts come from, or None
    measure     what a model is judged by: "excess" over the floor, or "loss" if the floor is unknown
    unseen      is a model judged by texts that it was not trained on?
    kinds       {kind: form}: the values that "kind" can have in its JSON, and the form of that JSON (ground/schema.py)
    """

    kinds = {}
    world = None
    measure = "loss"
    unseen = True

    def to_json(self, folder=None):
        """What a checkpoint in a folder must save for `from_json`."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, json, tokenizer=None, workers=None, folder=None):
        """The inverse of `to_json`.   tokenizer: that of the model in the checkpoint"""
        raise NotImplementedError

    def batches(self, batch, context, seed=0):
        """A source of batches (text/batches.py). ValueError if the context does not suit the texts."""
        raise NotImplementedError

    def old_sequences(self, n):
        """n sequences of what is learned, for methods that need old data when a model learns something else afterwards."""
        raise NotImplementedError

    def probe(self, context):
        """A few texts (text/batches.py, Text), none longer than the context, for measuring a loss surface."""
        raise NotImplementedError

    def score(self, model, split="test", n=200):
        """{domain: Score} on what is learned and on what the base model had learned, on up to n documents of each."""
        raise NotImplementedError

    def score_learned(self, model, split="test", n=200):
        """The Score on what is learned alone."""
        return self.score(model, split, n)[self.name]

    def validate(self, model):
        """A quick evaluation for the history of a run: {"loss": ...}, and other figures that the task has."""
        return {"loss": self.score_learned(model, "validation").loss}

    def remarks(self, split, n):
        """Sentences that help to read the scores."""
        return []

    def final_report(self, model):
        """What a training command reports at its end: lines of text, and numbers for JSON."""
        scores = self.score(model, "validation", 100)
        lines = ["on validation texts, up to 100 of each kind:", *score_table(scores), *self.remarks("validation", 100)]
        return lines, {"validation_loss": pooled({name: scores[name] for name in self.learned}),
                       "domains": {name: vars(score) for name, score in scores.items()}}


def identity(json):
    """The JSON of a task without the path of its data: equal for equal tasks, wherever their data are."""
    return {name: value for name, value in json.items() if name != "path"}
