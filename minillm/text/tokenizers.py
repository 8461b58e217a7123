"""The table of all tokenizers, and how one is rebuilt from the JSON in a file."""

from ..ground import schema
from .bpe import BPETokenizer
from .tokenizer import CharTokenizer, IdTokenizer, WordTokenizer

TOKENIZERS = {tokenizer.kind: tokenizer for tokenizer in (WordTokenizer, CharTokenizer, BPETokenizer, IdTokenizer)}


def tokenizer_form(value, where):
    """The form of any tokenizer's JSON (ground/schema.py): that of its kind."""
    kind = schema.record({"kind": schema.one_of(*TOKENIZERS)})(value, where)["kind"]
    return TOKENIZERS[kind].form(value, where)


def tokenizer_from_json(json):
    """The inverse of `Tokenizer.to_json`, for all kinds. ValueError if the parts contradict each other."""
    return TOKENIZERS[json["kind"]].from_json(json)
