"""The toy world as a task: what a generalist learns."""

from ..ground.schema import record, whole
from ..text.batches import Text, WorldBatches
from ..text.world import World
from .evaluate import evaluate_world, mean_excess, pooled
from .task import Task

CONTEXT = 112              # holds the longest document of the world
VALIDATION_DOCUMENTS = 24  # of each domain: few enough to evaluate often during training
SEED = whole(0, 2 ** 32 - 1)


class WorldTask(Task):
    """The general domains of the toy world, with new documents in every batch."""

    name = "general"
    measure = "excess"
    kinds = {"world": record({"seed": SEED})}

    def __init__(self, seed=0, workers=None):
        self.world = World(seed)
        self.tokenizer = self.world.tokenizer
        self.workers = workers

    @property
    def learned(self):
        return self.world.general

    def to_json(self, folder=None):
        return {"kind": "world", "seed": self.world.seed}

    @classmethod
    def from_json(cls, json, tokenizer=None, workers=None, folder=None):
        return cls(json["seed"], workers)

    def batches(self, batch, context, seed=0):
        """ValueError if the model's context is too short for the world's documents: only whole documents have a floor."""
        if context < CONTEXT:
            raise ValueError(f"the documents of the toy world need a context of {CONTEXT}, not {context}")
        return WorldBatches(self.world, batch)

    def probe(self, context=CONTEXT):
        return [Text(document.ids, document.given) for name in self.world.general
                for document in self.world.documents(name, 1, "test")]

    def score(self, model, split="test", n=200):
        return evaluate_world(model, self.world, split, n, self.workers)

    def old_sequences(self, n):
        return self.world.mixed_ids(n, 3)

    def validate(self, model):
        """Loss, floor and mean excess over the domains that are learned, and the excess of each."""
        scores = evaluate_world(model, self.world, "validation", VALIDATION_DOCUMENTS, self.workers, self.learned)
        return {"loss": pooled(scores), "floor": pooled(scores, "floor"),
                "mean_excess": mean_excess(scores, list(scores)),
                "excess": {name: score.excess for name, score in scores.items()}}
