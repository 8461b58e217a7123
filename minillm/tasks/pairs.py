"""A person's own pairs of a prompt and its completion, as a task."""

import json
import os
from pathlib import Path

import numpy as np

from ..ground.files import digest
from ..ground.schema import flag, maybe, record, whole
from ..text.batches import DocumentBatches, Text
from ..text.tokenizer import BEGIN, END
from .evaluate import Score, token_log_p
from .source import FILE, locate, portable_path
from .task import Task
from .text import read_text


class PairTask(Task):
    """A JSONL file, on each line {"prompt": ..., "completion": ...}: the completion is learned, the prompt is given.

    The last tenth of the lines, and at least one, is kept to judge by.
    """

    kinds = {"pairs": record(FILE | {"skip?": flag, "context?": maybe(whole(1, 10_000_000))})}

    def __init__(self, path, tokenizer, workers=None, skip=False, context=None):
        """ValueError names the line that cannot be used; with `skip` such lines are left out, and `skipped` says which."""
        content = read_text(path)
        self.path = Path(os.path.realpath(path))
        self.name, self.learned, self.digest = self.path.stem, [self.path.stem], digest(path)
        self.tokenizer, self.workers, self.skip, self.context = tokenizer, workers, skip, context
        self.skipped, pairs = [], []
        for number, line in enumerate(content.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                pairs.append(self.encode(line))
            except ValueError as error:
                if not skip:
                    raise ValueError(f"{path}, line {number}: {error}; mend it, or leave out such lines with "
                                     "--skip-bad") from None
                self.skipped.append(f"line {number}: {error}")
        if len(pairs) < 2:
            raise ValueError(f"{path} has {len(pairs)} pairs that can be used, but two are needed: to learn, and to judge by")
        cut = min(len(pairs) - 1, int(0.9 * len(pairs)))
        self.train, self.validation = pairs[:cut], pairs[cut:]

    def encode(self, line):
        """One line -> ids, and how many of the targets are given. ValueError says what is wrong."""
        try:
            pair = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"this is not JSON ({error.msg} at character {error.pos + 1})") from None
        except (ValueError, RecursionError):
            raise ValueError("this is JSON with a number too long, or nested too deeply, to be read") from None
        if not isinstance(pair, dict) or not all(isinstance(pair.get(key), str) for key in ("prompt", "completion")):
            raise ValueError('a line must be an object with two texts, {"prompt": ..., "completion": ...}')
        if not pair["completion"].strip():
            raise ValueError("the completion is empty; there is nothing to learn from it")
        known = self.tokenizer.ids
        prompt = [known[begin] for begin in (BEGIN,) if begin in known] + self.tokenizer.encode(pair["prompt"])
        said = self.tokenizer.encode(pair["completion"]) + [known[end] for end in (END, "\n") if end in known][:1]
        if not prompt:
            raise ValueError("the prompt is empty, and this model has no sign for the beginning of a text")
        if self.context and len(prompt + said) > self.context + 1:
            raise ValueError(f"the pair has {len(prompt + said)} tokens, but the model reads at most {self.context + 1}")
        return prompt + said, len(prompt) - 1

    def to_json(self, folder=None):
        return {"kind": "pairs", "path": portable_path(self.path, folder), "digest": self.digest, "skip": self.skip,
                "context": self.context}

    @classmethod
    def from_json(cls, json, tokenizer=None, workers=None, folder=None):
        return cls(locate(json, folder), tokenizer, workers, json.get("skip", False), json.get("context"))

    def old_sequences(self, n):
        """n of the pairs, for when something else is learned after them."""
        return [self.train[i % len(self.train)][0] for i in range(n)]

    def fitting(self, pairs, context):
        """ValueError if a pair is too long for a model, or the two lists (ids, given) of all."""
        longest = max(len(ids) - 1 for ids, _ in pairs)
        if longest > context:
            raise ValueError(f"a pair of {self.path} has {longest + 1} tokens, but the model reads at most {context + 1}")
        return [ids for ids, _ in pairs], [given for _, given in pairs]

    def batches(self, batch, context, seed=0):
        ids, given = self.fitting(self.train, context)
        return DocumentBatches(ids, batch, seed, given)

    def probe(self, context=64):
        return [Text(*pair) for pair in self.validation[:4]]

    def score(self, model, split="test", n=None):
        """{name: Score}, with the share of completions that are right from the first word to the end."""
        ids, given = self.fitting(self.validation, model.config.context)
        rows = [(row[n:], right[n:]) for (row, right), n in zip(token_log_p(model, ids, self.workers), given)]
        tokens = sum(len(row) for row, _ in rows)
        loss = float(-sum(row.sum() for row, _ in rows) / tokens)
        return {self.name: Score(loss, tokens, accuracy=float(np.mean([right.all() for _, right in rows])))}
