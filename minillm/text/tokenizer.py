"""Tokenizers: text <-> lists of ids."""

from ..ground import schema

PAD, BEGIN, END = "<pad>", "<begin>", "<end>"
GLUED = set(".,:?!")      # punctuation: no space before it
PART = 1 << 20            # characters that are encoded at a time


def form_of_tokens(kind):
    """The form of the JSON of a tokenizer of this kind that is a list of tokens and no more."""
    return schema.record({"kind": schema.one_of(kind), "tokens": schema.many(schema.text(1000), least=1)})


class Tokenizer:
    """A fixed list of tokens; the id of a token is its index in the list.

    The first two kinds below differ in how they cut a text into tokens: `split`, and `join`, its inverse. A third is in bpe.py.

    kind                    the name of the tokenizer in a file
    unit                    what one of its tokens is called
    form                    of its JSON (ground/schema.py)
    begin, end, newline     the ids of the signs of a text's beginning and end, and of the end of a line; None if there is none
    """

    kind = unit = form = None

    def __init__(self, tokens):
        self.tokens = list(tokens)
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.begin, self.end, self.newline = (self.ids.get(sign) for sign in (BEGIN, END, "\n"))

    def __len__(self):
        return len(self.tokens)

    def encode(self, text):
        """The ids of a text. ValueError names the words or characters that are not in the vocabulary."""
        tokens = self.split(text)
        unknown = [token for token in dict.fromkeys(tokens) if token not in self.ids]
        if unknown:
            others = f", and {len(unknown) - 1} more {self.unit}s of this text are not: {unknown[1:8]}" if unknown[1:] else ""
            hint = f"; write {unknown[0].lower()!r}" if unknown[0].lower() in self.ids else ""
            raise ValueError(f"{unknown[0]!r} is not in the vocabulary of this model ({len(self)} {self.unit}s){hint}{others}")
        return [self.ids[token] for token in tokens]

    def in_parts(self, text):
        """The same ids, list by list: of a long text, a list of all ids would take five times the RAM of a vector."""
        yield self.encode(text)

    def to_json(self):
        """All that `tokenizer_from_json` needs to rebuild the tokenizer."""
        return {"kind": self.kind, "tokens": self.tokens}

    @classmethod
    def from_json(cls, json):
        return cls(json["tokens"])

    def decode(self, ids):
        return self.join([self.tokens[i] for i in ids])

    def bytes_of(self, ids):
        """The UTF-8 of the text that ids stand for. Of single ids it need not be a text: a character may have several tokens."""
        return self.decode(ids).encode()


class WordTokenizer(Tokenizer):
    """Words and punctuation marks are separate tokens: "the mill ." and "the mill." are the same three tokens."""

    kind = unit = "word"
    form = form_of_tokens(kind)

    @staticmethod
    def split(text):
        for mark in GLUED:
            text = text.replace(mark, f" {mark} ")
        return text.split()

    @staticmethod
    def join(words):
        text = ""
        for word in words:
            text += word if word in GLUED or not text else " " + word
        return text


class CharTokenizer(Tokenizer):
    """Every character of a text is a token."""

    kind = unit = "character"
    form = form_of_tokens(kind)

    @classmethod
    def of(cls, text):
        return cls(sorted(set(text)))

    def in_parts(self, text):
        return (self.encode(text[i:i + PART]) for i in range(0, len(text), PART))

    @staticmethod
    def split(text):
        return text

    @staticmethod
    def join(characters):
        return "".join(characters)


class IdTokenizer(Tokenizer):
    """For a model that comes without a tokenizer: a text is the ids themselves, with spaces between them, "17 4 17"."""

    kind = unit = "id"
    form = schema.record({"kind": schema.one_of(kind), "n": schema.whole(1, 10_000_000)})

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
