"""Tasks: a text to learn, how to batch it, and how to tell how well it is known.

A task has
    name, tokenizer
    learned                          the domains of which it teaches
    unseen                           is it judged by texts that it does not teach?
    facts(folder)                    what a checkpoint in a folder has to remember of it, for `task_from_json`
    batches(batch, context, seed)    a source of batches (text/batches.py)
    probe(context)                   a few texts (text/batches.py, Text), for a loss surface
    score(model, split, documents)   {domain: Score}, of what it teaches and of what was known before
    validate(model)                  a short look, for the history of a run
"""

from ..schema import flag, maybe, one_of, record, text, whole
from ..text.batches import DocumentBatches, Text, WorldBatches
from ..text.specialities import CONTRADICTION, PAIRS
from ..text.world import World
from .evaluate import evaluate_documents, evaluate_world, mean_excess, pooled
from .own_data import PairTask, TextTask, locate

CONTEXT = 112              # holds the longest document of the world
VALIDATION_DOCUMENTS = 24  # of each domain: a look now and then, cheap enough to take often


class WorldTask:
    """The general domains of the toy world, ever new documents."""

    name = "general"
    unseen = True

    def __init__(self, seed=0, workers=None):
        self.world = World(seed)
        self.tokenizer = self.world.tokenizer
        self.workers = workers

    @property
    def learned(self):
        return self.world.general

    def facts(self, folder=None):
        return {"kind": "world", "seed": self.world.seed}

    def batches(self, batch, context, seed=0):
        """ValueError if the model's context is too short for the world's documents: half a document has no floor."""
        if context < CONTEXT:
            raise ValueError(f"the documents of the toy world need a context of {CONTEXT}, not {context}")
        return WorldBatches(self.world, batch)

    def probe(self, context=CONTEXT):
        """A few documents, none longer than the context, that a loss surface is measured on."""
        return [Text(document.ids, document.given) for name in self.world.general
                for document in self.world.documents(name, 1, "test")]

    def score(self, model, split="test", n=200):
        """{domain: Score}"""
        return evaluate_world(model, self.world, split, documents, self.workers)

    def old_sequences(self, n):
        """n documents of what is known before a speciality is learned, as ids: such as pretraining has seen."""
        return self.world.mixed_ids(n, 3)

    def validate(self, model):
        """For the history of a run: loss, floor and mean excess over the domains it learns, and the excess of each."""
        scores = evaluate_world(model, self.world, "validation", VALIDATION_DOCUMENTS, self.workers, self.learned)
        return {"loss": pooled(scores), "floor": pooled(scores, "floor"),
                "mean_excess": mean_excess(scores, list(scores)),
                "excess": {name: score.excess for name, score in scores.items()}}


SPECIALITIES = ("novel", CONTRADICTION.name, *PAIRS)

# The facts of a task, as they must be in a file.
SEED, FILE = whole(0, 2 ** 32 - 1), {"path": text(4096), "digest?": text(100)}
FORMS = {"world": record({"seed": SEED}), "text": record(FILE),
         "pairs": record(FILE | {"skip?": flag, "context?": maybe(whole(1, 10_000_000))})} | dict.fromkeys(
    SPECIALITIES, record({"seed": SEED, "documents": whole(1, 10_000_000), "draw?": whole(0, 1_000_000)}))


class SpecialTask(WorldTask):
    """A few documents of one kind, again and again: the specialist's task.

    name        one of SPECIALITIES
    documents   how many
    draw        which: another draw gives others
    """

    def __init__(self, name="novel", seed=0, documents=64, draw=0, workers=None):
        """ValueError for a name that is none."""
        if name not in SPECIALITIES:
            raise ValueError(f"there is no task {name!r}; tasks are {', '.join(SPECIALITIES)}")
        super().__init__(seed, workers)
        self.name, self.documents, self.draw = name, documents, draw

    @property
    def learned(self):
        return [self.name]

    @property
    def unseen(self):
        return self.name != "facts"

    def facts(self, folder=None):
        return {"kind": self.name, "seed": self.world.seed, "documents": self.documents, "draw": self.draw}

    def probe(self, context=CONTEXT):
        return [Text(document.ids, document.given) for document in self.documents("test", 4)]

    def special(self, split, n):
        """n documents of what is learned. What is to be known by heart are the very facts that were taught, and no more."""
        if not self.unseen:
            return self.world.documents(self.name, min(n, self.documents), draw=self.draw)
        return self.world.documents(self.name, n, split, self.draw if split == "train" else 0)

    def batches(self, batch, context, seed=0):
        documents = self.documents("train", self.documents)
        given = [document.given for document in documents] if self.name in PAIRS else None
        return DocumentBatches([document.ids for document in documents], batch, seed, given)

    def score(self, model, split="test", n=200):
        old = evaluate_world(model, self.world, split, documents, self.workers, self.world.general)
        return old | {self.name: evaluate_documents(model, self.documents(split, documents), self.workers)}

    def kl_old_new(self, split="test", documents=200):
        """Of a contradiction: what a perfect learner must lose on old reports, KL(old || new) in nats a token."""
        old = self.world.documents("report", documents, split)
        words = [[self.tokenizer.tokens[i] for i in document.ids[2:-1]] for document in old]
        lost = sum(document.log_p[1:].sum() - sum(CONTRADICTION.log_probabilities(text)) for document, text in zip(old, words))
        return float(lost / sum(len(document.log_p) - 1 for document in old))

    def validate(self, model):
        score = evaluate_documents(model, self.documents("validation", VALIDATION_DOCUMENTS), self.workers)
        return {"loss": score.loss, "floor": score.floor, "mean_excess": score.excess, "excess": {self.name: score.excess}}


def task_from_json(facts, tokenizer=None, workers=None, folder=None):
    """The task that a checkpoint in a folder remembers (its `facts`). ValueError if they are none, or if its data are gone."""
    kind = record({"kind": one_of(*FORMS)})(facts, "task")["kind"]
    FORMS[kind](facts, "task")
    if kind in ("text", "pairs"):
        path = locate(facts, folder)
        if kind == "text":
            return TextTask(path, tokenizer, workers)
        return PairTask(path, tokenizer, workers, facts.get("skip", False), facts.get("context"))
    if kind == "world":
        return WorldTask(facts["seed"], workers)
    return SpecialTask(kind, facts["seed"], facts["documents"], facts.get("draw", 0), workers)


def identity(facts):
    """What a task is, wherever its data lie."""
    return {name: value for name, value in facts.items() if name != "path"}
