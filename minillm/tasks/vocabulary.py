"""Vocabularies that a text can get: what --tokenizer names, and how each is made from the text."""

import json
from dataclasses import asdict, dataclass, fields

from ..ground.arrays import encoded
from ..ground.files import digest_of, share_of_limits
from ..ground.schema import one_of, record, text, whole
from ..text.bpe_learning import learn_bpe
from ..text.tokenizer import CharTokenizer

TRAINING = 0.9              # of a text, the share from the beginning that is learned; the rest is kept apart
MOST_CHARACTERS = 30_000    # different ones in a text; Chinese texts use about 8,000
SMALLEST, LARGEST = 257, 262_144      # vocabularies of BPE: the bytes and a sign for the end of a text alone; Gemma's
MOST_OF_FILE = 0.5      # of what is read of a file besides its arrays, the share for tokens; the rest is for the history of a run


@dataclass(frozen=True)
class Characters:
    """The characters of the text, all of it: one that is only in the validation split must be known as well."""

    kind = "char"

    def learn(self, text, path):
        """A CharTokenizer. ValueError if there are far too many different characters."""
        n = len(set(text))
        if n > MOST_CHARACTERS:
            raise ValueError(f"{path} has {n:,d} different characters, and a model that reads character by character learns at "
                             f"most {MOST_CHARACTERS:,d}; is it a text? If so, --tokenizer bpe can read it")
        return CharTokenizer.of(text)


@dataclass(frozen=True)
class BPE:
    """Byte-level BPE, learned from the training split. It has fewer tokens than `size` if no further pair occurs twice."""

    kind = "bpe"
    size: int = 2048

    def __post_init__(self):
        if not SMALLEST <= self.size <= LARGEST:
            raise ValueError(f"the option size of bpe is {self.size}, but must be from {SMALLEST} (all bytes, and the sign for "
                             f"the end of a text) to {LARGEST:,d}")

    def learn(self, text, path):
        """A BPETokenizer. ValueError if its tokens are so long that no file of a model could hold them."""
        tokenizer = learn_bpe(text[:int(TRAINING * len(text))], self.size)
        if share_of_limits(encoded(tokenizer.to_json(), indent=1)) > MOST_OF_FILE:
            raise ValueError(f"the {len(tokenizer):,d} tokens learned from {path} are too long to be saved with a model; choose "
                             "a smaller size= of bpe")
        return tokenizer


USUAL = Characters()
VOCABULARIES = {kind.kind: kind for kind in (Characters, BPE)}
FORM = record({"kind": one_of(*VOCABULARIES), "size?": whole(SMALLEST, LARGEST), "digest?": text(100)}, exact=True)      # in JSON


def vocabulary_json(vocabulary, tokenizer):
    """A vocabulary and, since it may depend on the version of Unicode, a digest of the tokenizer that was learned."""
    digest = digest_of([json.dumps(tokenizer.to_json()).encode()])
    return {"kind": vocabulary.kind} | asdict(vocabulary) | {"digest": digest}


def vocabulary_from_json(value):
    """The inverse of `vocabulary_json`, for a value of that form."""
    kind = VOCABULARIES[value["kind"]]
    return kind(**{field.name: value[field.name] for field in fields(kind) if field.name in value})
