"""The user's own pairs of prompt and completion as a task."""

import json
import os
from pathlib import Path

import numpy as np

from ..ground.files import digest
from ..ground.schema import flag, maybe, record, whole
from ..text.batches import DocumentBatches, Text
from .evaluate import Score, token_log_p
from .source import FILE, locate, portable_path
from .task import Task
from .text import read_text


class PairTask(Task):
    """A JSONL file with {"prompt": ..., "completion": ...} on each line: the completion is learned, the prompt is given.

    The last tenth of the pairs, but at least one, is the validation split.
    """

    kinds = {"pairs": record(FILE | {"skip?": flag, "context?": maybe(whole(1, 10_000_000))})}

    def __init__(self, path, tokenizer, workers=None, skip=False, context=None):
        """ValueError names the first line that cannot be used; with `skip`, such lines are left out and listed in `skipped`."""
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
                    raise ValueError(f"{path}, line {number}: {error}; fix it, or leave out such lines with "
                                     "--skip-bad") from None
                self.skipped.append(f"line {number}: {error}")
        if len(pairs) < 2:
            raise ValueError(f"{path} has {len(pairs)} pairs that can be used, but two are needed: to learn, and to judge by")
        cut = min(len(pairs) - 1, int(0.9 * len(pairs)))
        self.train, self.validation = pairs[:cut], pairs[cut:]

    def encode(self, line):
        """One line -> its ids, and how many of its targets are given. ValueError says what is wrong with the line."""
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
        tokenizer = self.tokenizer
        prompt = [i for i in (tokenizer.begin,) if i is not None] + tokenizer.encode(pair["prompt"])
        completion = tokenizer.encode(pair["completion"]) + [i for i in (tokenizer.end, tokenizer.newline) if i is not None][:1]
        if not prompt:
            raise ValueError("the prompt is empty, and this model has no sign for the beginning of a text")
        if self.context and len(prompt + completion) > self.context + 1:
            raise ValueError(f"the pair has {len(prompt + completion)} tokens, but the model reads at most {self.context + 1}")
        return prompt + completion, len(prompt) - 1

    def to_json(self, folder=None):
        return {"kind": "pairs", "path": portable_path(self.path, folder), "digest": self.digest, "skip": self.skip,
                "context": self.context}

    @classmethod
    def from_json(cls, json, tokenizer=None, workers=None, folder=None):
        return cls(locate(json, folder), tokenizer, workers, json.get("skip", False), json.get("context"))

    def old_sequences(self, n):
        """The ids of n of the pairs, repeated if there are fewer."""
        return [self.train[i % len(self.train)][0] for i in range(n)]

    def unzipped(self, pairs, context):
        """Pairs (ids, given) as two lists. ValueError if a pair is too long for the model's context."""
        longest = max(len(ids) - 1 for ids, _ in pairs)
        if longest > context:
            raise ValueError(f"a pair of {self.path} has {longest + 1} tokens, but the model reads at most {context + 1}")
        return [ids for ids, _ in pairs], [given for _, given in pairs]

    def batches(self, batch, context, seed=0):
        sequences, given = self.unzipped(self.train, context)
        return DocumentBatches(sequences, batch, seed, given)

    def probe(self, context=64):
        return [Text(*pair) for pair in self.validation[:4]]

    def score(self, model, split="test", n=None):
        """{name: Score} on the validation split; its accuracy is the share of completions that are entirely right."""
        sequences, given = self.unzipped(self.validation, model.config.context)
        rows = [(row[n:], right[n:]) for (row, right), n in zip(token_log_p(model, sequences, self.workers), given)]
        tokens = sum(len(row) for row, _ in rows)
        loss = float(-sum(row.sum() for row, _ in rows) / tokens)
        return {self.name: Score(loss, tokens, accuracy=float(np.mean([right.all() for _, right in rows])))}
