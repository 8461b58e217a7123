"""A person's own data: a text to go on with, or pairs of a prompt and its completion."""

import codecs
import json
import os
from pathlib import Path

import numpy as np

from ..files import CheckpointError, digest, read_bytes
from ..runtime import memory
from ..text.batches import DocumentBatches, StreamBatches, Text
from ..text.tokenizer import BEGIN, END, CharTokenizer
from .evaluate import Score, evaluate_text, token_log_p

CHARACTERS = 30_000         # different ones in a text that is learned character by character; Chinese has some 8,000 in use
PIECE = 1 << 20             # characters that are turned into ids at a time


class TextTask:
    """A person's own text: the first nine tenths to learn from, the last tenth to be judged by."""

    unseen = True

    def __init__(self, path, tokenizer=None, workers=None):
        """ValueError for a file that is missing, empty, no UTF-8, or has characters that `tokenizer` (of a base model) lacks."""
        text = read_text(path)
        self.path = Path(os.path.realpath(path))
        self.name, self.digest = self.path.stem, digest(path)
        self.tokenizer = tokenizer or vocabulary(text, path)
        self.workers = workers
        self.ids = ids_of(text, self.tokenizer)
        cut = int(0.9 * len(self.ids))
        self.train, self.validation = self.ids[:cut], self.ids[cut:]
        self.learned = [self.name]

    def facts(self, folder=None):
        return {"kind": "text", "path": place(self.path, folder), "digest": self.digest}

    def old_sequences(self, n):
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

    def score(self, model, split="test", n=None):
        """{name: Score}; a text has one split that is not trained on, and is judged by all of it."""
        return {self.name: evaluate_text(model, self.validation, self.workers)}

    def validate(self, model):
        """On the first part of what is kept apart: enough for a curve."""
        return {"loss": evaluate_text(model, self.validation[:20_000], self.workers).loss}


def read_text(path):
    """A text file as a string. ValueError for what is none, in a sentence that says what it looks like instead."""
    path = Path(path)
    most = memory() // 40                                       # a text takes up to 16 bytes a character while it is read
    try:
        content = read_bytes(path, most, "text file")
    except CheckpointError as error:
        raise ValueError(str(error)) from None
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start} is {content[error.start]:#04x}): it looks like "
                         f"{looks_like(content)}; save it as UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{path} is not UTF-8 text (byte {content.index(0)} is 0x00): it looks like {looks_like(content)}; save "
                         "it as UTF-8")
    if len(set(text)) < 2:
        raise ValueError(f"{path} is {'empty' if not text else 'one character over and over'}; there is nothing to learn from it")
    return text


def looks_like(content):
    """The encoding that bytes which are no UTF-8 text most likely have."""
    for mark, name in ((codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"),
                       (codecs.BOM_UTF16_BE, "UTF-16")):
        if content.startswith(mark):
            return name
    head = content[:4096]
    zeros = head.count(0)
    if zeros > len(head) // 3:
        even = head[::2].count(0)
        if max(even, zeros - even) > 0.9 * zeros and zeros < 0.6 * len(head):
            return "UTF-16"
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    if controls > len(head) // 100:
        return "no text at all"
    return "Windows-1252" if any(0x80 <= byte < 0xA0 for byte in content[:1 << 20]) else "Latin-1 (ISO 8859-1)"


def vocabulary(text, path):
    """The tokenizer of the characters of a text. ValueError for far too many."""
    n = len(set(text))
    if n > CHARACTERS:
        raise ValueError(f"{path} has {n:,d} different characters, and a model that reads character by character learns at most "
                         f"{CHARACTERS:,d}; is it a text?")
    return CharTokenizer.of(text)


def ids_of(text, tokenizer):
    """The ids of a text as a vector, made piece by piece: a list of them takes five times the memory."""
    if tokenizer.kind != CharTokenizer.kind:
        return np.array(tokenizer.encode(text), np.int32)
    return np.concatenate([np.array(tokenizer.encode(text[i:i + PIECE]), np.int32) for i in range(0, len(text), PIECE)])


def place(path, folder):
    """A path as a file in `folder` remembers it: relative if it lies within or beside it, so that both can move together."""
    return str(path if folder is None else relative(path, folder))


def relative(path, folder):
    path, folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    for up, parent in enumerate([folder, *folder.parents][:3]):
        if path.is_relative_to(parent):
            return Path(*[".."] * up) / path.relative_to(parent)
    return path


def candidates(facts, folder):
    """The files that may be the data of a model in a folder."""
    folder, name = Path(folder or ""), Path(facts["path"]).name
    return [path for path in dict.fromkeys((folder / facts["path"], folder / name, Path(name))) if os.path.isfile(path)]


def locate(facts, folder):
    """The file with the data that a model remembers (`facts`): where it was then, beside the model, or here.

    A file that is not, to the bit, the one that was learned from is not taken. ValueError if there is none.
    """
    there = candidates(facts, folder)
    if not there:
        raise ValueError(f"there is no file {Path(folder or '') / facts['path']}; put it there, or beside the model")
    for path in there:
        if facts.get("digest") in (None, digest(path)):
            return path
    raise ValueError(f"{there[0]} has changed since the model learned from it; put back what it was")


class PairTask:
    """A JSONL file, on each line {"prompt": ..., "completion": ...}: the completion is learned, the prompt is given.

    The last tenth of the lines, and at least one, is kept to judge by.
    """

    unseen = True

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

    def facts(self, folder=None):
        return {"kind": "pairs", "path": place(self.path, folder), "digest": self.digest, "skip": self.skip,
                "context": self.context}

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

    def validate(self, model):
        return {"loss": self.score(model)[self.name].loss}
