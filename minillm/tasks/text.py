"""The user's own text as a task."""

import codecs
import math
import os
from pathlib import Path

import numpy as np

from ..ground.files import CheckpointError, digest, read_bytes
from ..ground.runtime import total_memory
from ..ground.schema import record
from ..text.batches import StreamBatches, Text
from ..text.tokenizer import CharTokenizer
from .evaluate import evaluate_text
from .source import FILE, locate, portable_path
from .task import Task

CHARACTERS = 30_000         # the most different characters in a text; Chinese texts use about 8,000
PIECE = 1 << 20             # characters that are encoded at a time


class TextTask(Task):
    """The user's own text: the first nine tenths are the training split, the last tenth is the validation split."""

    kinds = {"text": record(FILE)}

    def __init__(self, path, tokenizer=None, workers=None):
        """ValueError if the file is missing, empty or not UTF-8, or has characters that `tokenizer` (of a base model) lacks."""
        text = read_text(path)
        self.path = Path(os.path.realpath(path))
        self.name, self.digest = self.path.stem, digest(path)
        self.tokenizer = tokenizer or vocabulary(text, path)
        self.workers = workers
        self.ids = ids_of(text, self.tokenizer)
        cut = int(0.9 * len(self.ids))
        self.train, self.validation = self.ids[:cut], self.ids[cut:]
        self.learned = [self.name]

    def to_json(self, folder=None):
        return {"kind": "text", "path": portable_path(self.path, folder), "digest": self.digest}

    @classmethod
    def from_json(cls, json, tokenizer=None, workers=None, folder=None):
        return cls(locate(json, folder), tokenizer, workers)

    def old_sequences(self, n):
        """n windows of the training split, at regular distances."""
        context = min(64, len(self.train) // 2)
        return [self.train[start:start + context].tolist() for start in np.linspace(0, len(self.train) - context, n, dtype=int)]

    def batches(self, batch, context, seed=0):
        if len(self.train) <= context or len(self.validation) < 2:
            raise ValueError(f"{self.path} has {len(self.ids)} {self.tokenizer.kind}s; nine tenths of them must be more than the "
                             f"context of {context}: give a longer text or a smaller --context")
        return StreamBatches(self.train, context, batch, seed)

    def probe(self, context=64):
        context = min(64, context)
        starts = range(0, min(8 * context, len(self.validation) - 1), context)
        return [Text(self.validation[i:i + context + 1].tolist(), given=0) for i in starts]

    def score(self, model, split="test", n=None):
        """{name: Score} on the validation split, always all of it."""
        return {self.name: evaluate_text(model, self.validation, self.workers)}

    def validate(self, model):
        """On the first part of the validation split, which is enough for a curve."""
        return {"loss": evaluate_text(model, self.validation[:20_000], self.workers).loss}

    def final_report(self, model):
        score = self.score_learned(model)
        characters = len(self.tokenizer.decode(self.validation[-score.tokens:]))
        bits = score.loss * (score.tokens / characters) / math.log(2)
        sentence = (f"validation loss {score.loss:.4f} nats = {bits:.3f} bits per character, on the last {characters:,d} "
                    "characters, which were not trained on")
        return [sentence], {"validation_loss": score.loss, "bits_per_character": bits}


def read_text(path):
    """A text file as a string. ValueError if it is not UTF-8 text; the message says what it looks like instead."""
    path = Path(path)
    most = total_memory() // 40                                       # reading a text takes up to 16 bytes per character
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
    """The most likely encoding of bytes that are not UTF-8 text."""
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
    """The tokenizer of the characters of a text. ValueError if there are far too many different ones."""
    n = len(set(text))
    if n > CHARACTERS:
        raise ValueError(f"{path} has {n:,d} different characters, and a model that reads character by character learns at most "
                         f"{CHARACTERS:,d}; is it a text?")
    return CharTokenizer.of(text)


def ids_of(text, tokenizer):
    """The ids of a text as a vector, encoded piece by piece: a list of all ids would take five times the RAM."""
    if tokenizer.kind != CharTokenizer.kind:
        return np.array(tokenizer.encode(text), np.int32)
    return np.concatenate([np.array(tokenizer.encode(text[i:i + PIECE]), np.int32) for i in range(0, len(text), PIECE)])
