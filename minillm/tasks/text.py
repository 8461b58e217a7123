"""The user's own text as a task."""

import codecs
import math
import os
from itertools import chain
from pathlib import Path

import numpy as np

from ..ground.files import CheckpointError, digest, read_bytes
from ..ground.runtime import total_memory
from ..ground.schema import record
from ..text.batches import StreamBatches, Text
from .evaluate import evaluate_text
from .source import FILE, locate, portable_path
from .task import Task
from .vocabulary import FORM, TRAINING, USUAL, vocabulary_from_json, vocabulary_json


class TextTask(Task):
    """The user's own text: the first nine tenths are the training split, the last tenth is the validation split."""

    kinds = {"text": record(FILE | {"tokenizer?": FORM})}

    def __init__(self, path, tokenizer=None, workers=None, vocabulary=USUAL):
        """The text in a file, as the ids of `tokenizer`, that of a base model; without one, of a `vocabulary` that is learned.

        ValueError if the file is missing, empty or not UTF-8, or has characters that the tokenizer lacks.
        """
        text = read_text(path)
        self.path = Path(os.path.realpath(path))
        self.name, self.digest = self.path.stem, digest(path)
        self.vocabulary = vocabulary if tokenizer is None else USUAL
        self.tokenizer = vocabulary.learn(text, path) if tokenizer is None else tokenizer
        self.workers = workers
        self.ids = ids_of(text, self.tokenizer)
        cut = end_of_training(self.ids, self.tokenizer)
        self.train, self.validation = self.ids[:cut], self.ids[cut:]
        self.learned = [self.name]

    def to_json(self, folder=None):
        json = {"kind": "text", "path": portable_path(self.path, folder), "digest": self.digest}
        if self.vocabulary != USUAL:                                          # the usual one goes without saying
            json["tokenizer"] = vocabulary_json(self.vocabulary, self.tokenizer)
        return json

    @classmethod
    def from_json(cls, json, tokenizer=None, workers=None, folder=None):
        learned = tokenizer is None and "tokenizer" in json
        return cls(locate(json, folder), tokenizer, workers, vocabulary_from_json(json["tokenizer"]) if learned else USUAL)

    def old_sequences(self, n):
        """n windows of the training split, at regular distances."""
        context = min(64, len(self.train) // 2)
        return [self.train[start:start + context].tolist() for start in np.linspace(0, len(self.train) - context, n, dtype=int)]

    def batches(self, batch, context, seed=0):
        if len(self.train) <= context or len(self.validation) < 2:
            raise ValueError(f"{self.path} has {len(self.ids)} {self.tokenizer.unit}s; nine tenths of them must be more than the "
                             f"context of {context}: give a longer text, or take a model with a smaller context")
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
        told, bits = loss_of_text(score, self.validation, self.tokenizer)
        return [f"validation {told}, which were not trained on"], {"validation_loss": score.loss} | bits


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


def ids_of(text, tokenizer):
    """The ids of a text as a vector."""
    return np.fromiter(chain.from_iterable(tokenizer.in_parts(text)), np.int32)


def end_of_training(ids, tokenizer):
    """The number of ids in the training split: as many as nine tenths of the characters hold whole.

    Of the characters, not of the ids: so all tokenizers are judged by the same text, to within a token.
    """
    ends = np.array([n_characters(tokenizer.bytes_of([i])) for i in range(len(tokenizer))])[ids].cumsum()
    return int(np.searchsorted(ends, int(TRAINING * ends[-1]), side="right")) if len(ids) else 0


def n_characters(content):
    """The number of characters that begin in bytes of UTF-8: all bytes begin one, except those from 10000000 to 10111111."""
    return len(content) - np.count_nonzero(np.frombuffer(content, np.uint8) >> 6 == 0b10)


def loss_of_text(score, ids, tokenizer):
    """The loss on a text per token, per character and per byte: in words, and {figure: bits}.

    The more a token says, the harder it is to guess. So tokenizers can only be compared by the loss on the same text, shared out
    among its characters or bytes.   score: of all ids, of which those count that were guessed
    """
    counted = tokenizer.bytes_of(ids[-score.tokens:].tolist())
    numbers = {"token": score.tokens, "character": n_characters(counted), "byte": len(counted)}
    nats = {unit: score.loss * score.tokens / max(1, n) for unit, n in numbers.items()}      # 0: the end of a single character
    bits = {unit: loss / math.log(2) for unit, loss in nats.items()}
    told = (f"loss {nats['token']:.4f} nats per token, {nats['character']:.4f} per character and {nats['byte']:.4f} per byte (in "
            f"bits {bits['token']:.3f}, {bits['character']:.3f} and {bits['byte']:.3f}), on the last "
            f"{numbers['character']:,d} characters")
    return told, {f"bits_per_{unit}": loss for unit, loss in bits.items()}
