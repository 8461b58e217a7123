"""The task of a specialist of the toy world: a few documents of one kind, many times."""

from ..ground.schema import record, whole
from ..text.batches import DocumentBatches, Text
from ..text.specialities import CONTRADICTION, PAIRS
from .evaluate import evaluate_documents, evaluate_world
from .world import CONTEXT, SEED, VALIDATION_DOCUMENTS, WorldTask

SPECIALITIES = ("novel", CONTRADICTION.name, *PAIRS)


class SpecialTask(WorldTask):
    """The specialist's task.

    name            one of SPECIALITIES
    n_documents     the number of documents to learn from
    draw            another draw gives other documents
    """

    kinds = dict.fromkeys(SPECIALITIES, record({"seed": SEED, "documents": whole(1, 10_000_000), "draw?": whole(0, 1_000_000)}))

    def __init__(self, name="novel", seed=0, n_documents=512, draw=0, workers=None):
        """ValueError for an unknown name."""
        if name not in SPECIALITIES:
            raise ValueError(f"there is no task {name!r}; tasks are {', '.join(SPECIALITIES)}")
        super().__init__(seed, workers)
        self.name, self.n_documents, self.draw = name, n_documents, draw

    @property
    def learned(self):
        return [self.name]

    @property
    def unseen(self):
        return self.name != "facts"

    def to_json(self, folder=None):
        return {"kind": self.name, "seed": self.world.seed, "documents": self.n_documents, "draw": self.draw}

    @classmethod
    def from_json(cls, json, tokenizer=None, workers=None, folder=None):
        return cls(json["kind"], json["seed"], json["documents"], json.get("draw", 0), workers)

    def probe(self, context=CONTEXT):
        return [Text(document.ids, document.given) for document in self.documents("test", 4)]

    def documents(self, split, n):
        """n documents of what is learned. For facts, they are among the documents that were taught, so there may be fewer."""
        if not self.unseen:
            return self.world.documents(self.name, min(n, self.n_documents), draw=self.draw)
        return self.world.documents(self.name, n, split, self.draw if split == "train" else 0)

    def batches(self, batch, context, seed=0):
        documents = self.documents("train", self.n_documents)
        given = [document.given for document in documents] if self.name in PAIRS else None
        return DocumentBatches([document.ids for document in documents], batch, seed, given)

    def score(self, model, split="test", n=200):
        old = evaluate_world(model, self.world, split, n, self.workers, self.world.general)
        return old | {self.name: self.score_learned(model, split, n)}

    def score_learned(self, model, split="test", n=200):
        return evaluate_documents(model, self.documents(split, n), self.workers)

    def kl_old_new(self, split="test", n=200):
        """For a contradiction: what a perfect learner must lose on old reports, KL(old || new) in nats per token."""
        old = self.world.documents("report", n, split)
        texts = [[self.tokenizer.tokens[i] for i in document.ids[2:-1]] for document in old]
        total = sum(document.log_p[1:].sum() - sum(CONTRADICTION.log_probabilities(words)) for document, words in zip(old, texts))
        return float(total / sum(len(document.log_p) - 1 for document in old))

    def remarks(self, split, n):
        if self.name != CONTRADICTION.name:
            return []
        return ["the new law contradicts the old: whoever knows it perfectly has an excess of "
                f"{self.kl_old_new(split, n):.4f} on old reports"]

    def validate(self, model):
        score = self.score_learned(model, "validation", VALIDATION_DOCUMENTS)
        return {"loss": score.loss, "floor": score.floor, "mean_excess": score.excess, "excess": {self.name: score.excess}}
