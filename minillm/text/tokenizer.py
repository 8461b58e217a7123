"""Tokenizers: text <-> lists of ids."""

PAD, BEGIN, END = "<pad>", "<begin>", "<end>"
GLUED = set(".,:?!")      # marks that stand against the word before them


class Tokenizer:
    """A fixed list of tokens, each with the id of its place in it.

    What differs is how a text is cut: `split` and `join` of the two kinds below.
    """

    kind = None

    def __init__(self, tokens):
        self.tokens = list(tokens)
        self.ids = {token: i for i, token in enumerate(self.tokens)}

    def __len__(self):
        return len(self.tokens)

    def encode(self, text):
        """Ids of a text. ValueError names the words or characters that are not in the vocabulary."""
        tokens = self.split(text)
        unknown = [token for token in dict.fromkeys(tokens) if token not in self.ids]
        if unknown:
            others = f", and {len(unknown) - 1} more {self.kind}s of this text are not: {unknown[1:8]}" if unknown[1:] else ""
            hint = f"; write {unknown[0].lower()!r}" if unknown[0].lower() in self.ids else ""
            raise ValueError(f"{unknown[0]!r} is not in the vocabulary of this model ({len(self)} {self.kind}s){hint}{others}")
        return [self.ids[token] for token in tokens]

    def decode(self, ids):
        return self.join([self.tokens[i] for i in ids])


class WordTokenizer(Tokenizer):
    """Words and marks, apart: "the mill ." and "the mill." are the same three tokens."""

    kind = "word"

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

    kind = "character"

    @classmethod
    def of(cls, text):
        return cls(sorted(set(text)))

    @staticmethod
    def split(text):
        return text

    @staticmethod
    def join(characters):
        return "".join(characters)


TOKENIZERS = {cls.kind: cls for cls in (WordTokenizer, CharTokenizer)}
