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
        """Ids of a text. ValueError names the first word or character that is not in the vocabulary."""
        try:
            return [self.ids[token] for token in self.split(text)]
        except KeyError as unknown:
            raise ValueError(f"{unknown.args[0]!r} is not in the vocabulary of this model "
                             f"({len(self)} {self.kind}s)") from None

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
