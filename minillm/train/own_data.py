"""A person's own data: a text to go on with, or pairs of a prompt and its completion."""

import json
from pathlib import Path

import numpy as np

from ..text.batches import DocumentBatches, StreamBatches, Text
from ..text.tokenizer import BEGIN, END, CharTokenizer
from .evaluate import Score, evaluate_text, token_log_p


class TextTask:
    """A person's own text: the first nine tenths to learn from, the last tenth to be judged by."""

    unseen = True

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

        self.learned = [self.name]

    def facts(self):
        return {"kind": "text", "path": str(self.path)}

    def old_documents(self, n):
        """n windows of it, for when something else is learned after it."""
        context = min(64, len(self.train) // 2)
        return [self.train[start:start + context].tolist() for start in np.linspace(0, len(self.train) - context, n, dtype=int)]

    def batches(self, batch, context, seed=0):
        if len(self.train) <= context or len(self.validation) < 2:
            raise ValueError(f"{self.path} has {len(self.ids)} characters; nine tenths of them must be more than the context of "
                             f"{context}: give a longer text or a smaller --context")
        return StreamBatches(self.train, context, batch, seed)

    def probe(self, context=64):
        context = min(64, context)
        starts = range(0, min(8 * context, len(self.validation) - 1), context)
        return [Text(self.validation[i:i + context + 1].tolist(), given=0) for i in starts]

    def score(self, model, split="test", documents=None):
        """{name: Score}; a text has one split that is not trained on, and is judged by all of it."""
        return {self.name: evaluate_text(model, self.validation, self.workers)}

    def validate(self, model):
        """On the first part of what is kept apart: enough for a curve."""
        return {"loss": evaluate_text(model, self.validation[:20_000], self.workers).loss}


def read_text(path):
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
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


class PairTask:
    """A JSONL file, on each line {"prompt": ..., "completion": ...}: the completion is learned, the prompt is given.

    The last tenth of the lines, and at least one, is kept to judge by.
    """

    unseen = True

    def __init__(self, path, tokenizer, workers=None, skip=False, context=None):
        """ValueError names the line that cannot be used; with `skip` such lines are left out, and `skipped` says which."""
        self.path = Path(path).resolve()
        self.name, self.learned = self.path.stem, [self.path.stem]
        self.tokenizer, self.workers, self.skip, self.context = tokenizer, workers, skip, context
        self.skipped, pairs = [], []
        for number, line in enumerate(read_text(path).split("\n"), start=1):
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

    def facts(self):
        return {"kind": "pairs", "path": str(self.path), "skip": self.skip, "context": self.context}

    def old_documents(self, n):
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

    def score(self, model, split="test", documents=None):
        """{name: Score}, with the share of completions that are right from the first word to the end."""
        ids, given = self.fitting(self.validation, model.config.context)
        rows = [(row[n:], right[n:]) for (row, right), n in zip(token_log_p(model, ids, self.workers), given)]
        tokens = sum(len(row) for row, _ in rows)
        loss = float(-sum(row.sum() for row, _ in rows) / tokens)
        return {self.name: Score(loss, tokens, accuracy=float(np.mean([right.all() for _, right in rows])))}

    def validate(self, model):
        return {"loss": self.score(model)[self.name].loss}
