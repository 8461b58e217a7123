"""A tokenizer for models that come without one: a text is the ids themselves."""

from ..ground import schema
from .tokenizer import Tokenizer


class IdTokenizer(Tokenizer):
    """The text of the ids 17, 4, 17 is "17 4 17"."""

    kind = unit = "id"
    form = schema.record({"n": schema.whole(1, 10_000_000)})

    def __init__(self, n):
        super().__init__(())
        self.tokens = range(n)

    def encode(self, text):
        """ValueError for a word that is no number below n."""
        for word in text.split():
            if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) < len(self)):
                raise ValueError(f"{word[:40]!r} is no id: this model came without a tokenizer, so a text is the numbers of its "
                                 f"tokens, 0 to {len(self) - 1}, with spaces between them")
        return [int(word) for word in text.split()]

    def to_json(self):
        return {"kind": self.kind, "n": len(self)}

    @classmethod
    def from_json(cls, json):
        return cls(json["n"])

    @staticmethod
    def join(ids):
        return " ".join(map(str, ids))
