"""Tasks: a text to learn, how to batch it, and how to tell how well it is known."""

from pathlib import Path

import numpy as np

from ..text.batches import DocumentBatches, StreamBatches, WorldBatches
from ..text.tokenizer import CharTokenizer
from ..text.world import World
from .evaluate import evaluate_text, evaluate_world, mean_excess, pooled

CONTEXT = 112              # holds the longest document of the world
VALIDATION_DOCUMENTS = 24  # of each domain: a look now and then, cheap enough to take often


class WorldTask:
    """The general domains of the toy world, ever new documents."""

    name = "general"

    def __init__(self, seed=0, workers=None):
        self.world = World(seed)
        self.tokenizer = self.world.tokenizer
        self.workers = workers

    def facts(self):
        return {"kind": "world", "seed": self.world.seed}

    def batches(self, batch, context, seed=0):
        """ValueError if the model's context is too short for the world's documents: half a document has no floor."""
        if context < CONTEXT:
            raise ValueError(f"the documents of the toy world need a context of {CONTEXT}, not {context}")
        return WorldBatches(self.world, batch)

    def probe(self, context=CONTEXT):
        """A few documents, none longer than the context, that a loss surface is measured on."""
        return [document.ids for name in self.world.general for document in self.world.documents(name, 1, "test")]

    def score(self, model, split="test", documents=200):
        """{domain: Score}"""
        return evaluate_world(model, self.world, split, documents, self.workers)

    def validate(self, model, domains=None):
        """For the history of a run: loss, floor and mean excess over the domains it learns, and the excess of each."""
        domains = domains or self.world.general
        scores = evaluate_world(model, self.world, "validation", VALIDATION_DOCUMENTS, self.workers, domains)
        return {"loss": pooled(scores), "floor": pooled(scores, "floor"),
                "mean_excess": mean_excess(scores, list(scores)),
                "excess": {name: score.excess for name, score in scores.items()}}


class NovelTask(WorldTask):
    """A few novels, again and again: the specialist's task."""

    name = "novel"

    def __init__(self, seed=0, documents=64, workers=None):
        super().__init__(seed, workers)
        self.documents = documents

    def facts(self):
        return {"kind": "novel", "seed": self.world.seed, "documents": self.documents}

    def probe(self, context=CONTEXT):
        return [document.ids for document in self.world.documents(self.world.special, 4, "test")]

    def batches(self, batch, context, seed=0):
        novels = self.world.documents(self.world.special, self.documents, "train")
        return DocumentBatches([document.ids for document in novels], batch, seed)

    def validate(self, model):
        return super().validate(model, [self.world.special])


class TextTask:
    """A person's own text: the first nine tenths to learn from, the last tenth to be judged by."""

    def __init__(self, path, tokenizer=None, workers=None):
        """ValueError for a file that is missing, empty, no UTF-8, or has characters that `tokenizer` (of a base model) lacks."""
        self.path = Path(path).resolve()
        self.name = self.path.stem
        text = read_text(path)
        self.tokenizer = tokenizer or CharTokenizer.of(text)
        self.workers = workers
        self.ids = np.array(self.tokenizer.encode(text))
        cut = int(0.9 * len(self.ids))
        self.train, self.validation = self.ids[:cut], self.ids[cut:]

    def facts(self):
        return {"kind": "text", "path": str(self.path)}

    def batches(self, batch, context, seed=0):
        if len(self.train) <= context or len(self.validation) < 2:
            raise ValueError(f"{self.path} has {len(self.ids)} characters; nine tenths of them must be more than the context of "
                             f"{context}: give a longer text or a smaller --context")
        return StreamBatches(self.train, context, batch, seed)

    def probe(self, context=64):
        context = min(64, context)
        starts = range(0, min(8 * context, len(self.validation) - 1), context)
        return [self.validation[i:i + context + 1].tolist() for i in starts]

    def score(self, model, split="test", documents=None):
        """{name: Score}; a text has one split that is not trained on, and is judged by all of it."""
        return {self.name: evaluate_text(model, self.validation, self.workers)}

    def validate(self, model):
        """On the first part of what is kept apart: enough for a curve."""
        return {"loss": evaluate_text(model, self.validation[:20_000], self.workers).loss}


def read_text(path):
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder, not a text file") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start} is {byte:#04x}); save it as UTF-8") from None
    if len(set(text)) < 2:
        raise ValueError(f"{path} is {'empty' if not text else 'one character over and over'}; there is nothing to learn from it")
    return text


def task_of(facts, tokenizer=None, workers=None):
    """The task that a checkpoint remembers (its `facts`)."""
    if facts["kind"] == "text":
        return TextTask(facts["path"], tokenizer, workers)
    if facts["kind"] == "novel":
        return NovelTask(facts["seed"], facts["documents"], workers)
    return WorldTask(facts["seed"], workers)
