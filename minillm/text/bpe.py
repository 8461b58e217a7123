"""Byte-level byte-pair encoding (BPE): every text can be written, and frequent words are one token.

A text is cut into pieces (splitting.py), and each piece into the bytes of its UTF-8. Then two neighbours are merged into one
token, again and again, in the order in which the pairs were learned (bpe_learning.py): "t h e" -> "th e" -> "the". Sennrich et
al. 2016 merge characters, Radford et al. 2019 bytes: there are only 256, so nothing is ever unknown.
"""

import re
import unicodedata
from heapq import heapify, heappop, heappush
from itertools import chain, pairwise

from ..ground import schema
from .splitting import RULES, compiled
from .tokenizer import END, Tokenizer

END_OF_TEXT = "<|endoftext|>"
ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", END)      # what the end of a text is called in the vocabularies of others
NEVER = (float("inf"), None)
LONG = 40               # symbols of a piece from which on `merged_long` is faster
TOKEN, MERGE = schema.text(1000), schema.text(2001)      # in JSON; a merge is two tokens and a space
CACHED = 1 << 16        # pieces whose ids are remembered,
SHORT = 40              # if they have at most so many characters


def characters_of_bytes():
    """GPT-2's table: one visible character for each byte, by which the bytes of a token are written in files.

    A byte that is a visible character of Latin-1 stands for itself; the others, in order, are the characters from 256 on.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in visible]
    return [chr(byte) if byte in visible else chr(256 + others.index(byte)) for byte in range(256)]


CHARACTERS = characters_of_bytes()
BYTES = {character: byte for byte, character in enumerate(CHARACTERS)}


def merged(ids, merges):
    """The ids of a piece after all merges: again and again the pair that was learned first, and of equal ones the leftmost.

    merges      {(id, id): (rank, id of both together)}
    """
    ids = list(ids)
    while len(ids) > 1:
        (_, both), i = min((merges.get(pair, NEVER), i) for i, pair in enumerate(pairwise(ids)))
        if both is None:
            break
        ids[i:i + 2] = [both]
    return ids


def merged_long(ids, merges):
    """The same in time n log n instead of n^2: the pairs wait in a heap, and the ids are a linked list.

    An id stays at the place of its first byte. A pair in the heap is out of date if its place now holds something else; since
    every pair has its own rank, a rank that is no longer right tells.
    """
    n = len(ids)
    ids, before, after = list(ids), list(range(-1, n - 1)), list(range(1, n + 1))
    heap = [(merges[pair][0], i) for i, pair in enumerate(pairwise(ids)) if pair in merges]
    heapify(heap)

    def pair_at(i):
        return merges.get((ids[i], ids[after[i]]), NEVER) if i >= 0 and after[i] < n else NEVER

    while heap:
        rank, i = heappop(heap)
        right = after[i]
        if ids[i] is None or pair_at(i)[0] != rank:
            continue
        ids[i], ids[right] = pair_at(i)[1], None
        after[i] = after[right]
        if after[i] < n:
            before[after[i]] = i
        for place in (before[i], i):
            if pair_at(place) != NEVER:
                heappush(heap, (pair_at(place)[0], place))
    return [i for i in ids if i is not None]


class BPETokenizer(Tokenizer):
    """Tokens are strings of bytes, written with one visible character a byte (`CHARACTERS`): " mill" is "Ġmill".

    merges      pairs of tokens (left, right) in the order in which they were learned; left + right is a token as well
    rule        name of the rule that cuts texts into pieces (RULES in splitting.py)
    special     tokens that are no bytes but signs, such as <|endoftext|>; in a text they are found before all else
    begin, end  the signs of the beginning and the end of a text, or None
    unknown     the token in the place of a byte that the vocabulary lacks, or None: such bytes are left out. (One that was
                learned here lacks none, but SmolLM2's, say, lacks some rare ones.)
    whole       is a piece that is a token as it is never merged? (Llama 3: `ignore_merges`)
    nfc         are texts first brought to Unicode's form NFC? Then é gives the same ids as e with an accent, and comes back as é
    ValueError if a token is no string of bytes, or a merge leads to none.
    """

    kind, unit = "bpe", "BPE token"
    form = schema.record({"kind": schema.one_of(kind), "tokens": schema.many(TOKEN, least=1), "merges": schema.many(MERGE),
                          "rule": schema.one_of(*RULES), "special": schema.many(TOKEN), "begin": schema.maybe(TOKEN),
                          "end": schema.maybe(TOKEN), "unknown": schema.maybe(TOKEN), "whole": schema.flag, "nfc": schema.flag},
                         exact=True)

    def __init__(self, tokens, merges, rule="gpt2", special=(), begin=None, end=None, unknown=None, whole=False, nfc=False):
        super().__init__(tokens)
        self.special, self.merges = list(special), [tuple(pair) for pair in merges]
        self.rule, self.unknown, self.whole, self.nfc = rule, unknown, whole, nfc
        for sign in [*self.special, *filter(None, (begin, end, unknown))]:
            if not sign or sign not in self.ids:
                raise ValueError(f"the special token {sign[:40]!r} is not in the vocabulary")
        self.begin, self.end = self.ids.get(begin), self.ids.get(end)
        signs = set(self.special)
        self.bytes = [token.encode() if token in signs else bytes_of_token(token) for token in self.tokens]
        self.byte_ids = [self.ids.get(character, self.ids.get(unknown)) for character in CHARACTERS]
        self.newline = self.byte_ids[ord("\n")]
        self.ranks = {}
        for rank, (left, right) in enumerate(self.merges):
            missing = next((token for token in (left, right, left + right) if token not in self.ids or token in signs), None)
            if missing is not None:
                raise ValueError(f"the merge of {left[:40]!r} and {right[:40]!r} needs {missing[:40]!r}, which is no token")
            self.ranks[self.ids[left], self.ids[right]] = rank, self.ids[left + right]
        longest_first = sorted(self.special, key=len, reverse=True)
        self._signs = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None
        self._cache = {}

    def to_json(self):
        def name(i):
            return None if i is None else self.tokens[i]

        return {"kind": self.kind, "tokens": self.tokens, "merges": [" ".join(pair) for pair in self.merges], "rule": self.rule,
                "special": self.special, "begin": name(self.begin), "end": name(self.end), "unknown": self.unknown,
                "whole": self.whole, "nfc": self.nfc}

    @classmethod
    def from_json(cls, json):
        return cls(**{name: value for name, value in json.items() if name != "kind"}
                   | {"merges": [pair_of(merge) for merge in json["merges"]]})

    def encode(self, text):
        """The ids of a text. ValueError only if it holds half a character (a lone surrogate), which no file of text can."""
        return list(chain.from_iterable(self.in_parts(text)))

    def in_parts(self, text):
        rule, remembered = compiled(self.rule), self._cache
        for i, part in enumerate(self._signs.split(text) if self._signs else [text]):
            if i % 2:
                yield [self.ids[part]]
                continue
            for match in rule.finditer(unicodedata.normalize("NFC", part) if self.nfc else part):
                piece = match[0]
                ids = remembered.get(piece)
                if ids is None:
                    ids = self.ids_of_piece(piece)
                    if len(piece) <= SHORT:
                        if len(remembered) >= CACHED:
                            remembered.clear()
                        remembered[piece] = ids
                yield ids

    def ids_of_piece(self, piece):
        """The ids of a piece."""
        try:
            content = piece.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the text holds half a character, {piece[error.start]!r}, which stands for nothing alone") from None
        if self.whole:
            known = self.ids.get("".join(CHARACTERS[byte] for byte in content))
            if known is not None:
                return [known]
        ids = [self.byte_ids[byte] for byte in content if self.byte_ids[byte] is not None]
        return (merged if len(ids) < LONG else merged_long)(ids, self.ranks)

    def bytes_of(self, ids):
        return b"".join([self.bytes[i] for i in ids])

    def decode(self, ids):
        """The text of ids. Where they begin or end within a character, or belong to none, there is U+FFFD in its place."""
        return self.bytes_of(ids).decode(errors="replace")


def bytes_of_token(token):
    """The bytes that a token's characters stand for. ValueError if one of them stands for none."""
    try:
        return bytes(BYTES[character] for character in token)
    except KeyError as error:
        raise ValueError(f"the token {token[:40]!r} is not of bytes: {error.args[0]!r} stands for no byte") from None


def usual_end(special):
    """The sign among special tokens that usually means the end of a text, or None."""
    return next((sign for sign in ENDS if sign in special), None)


def pair_of(merge):
    """A merge as a file writes it, "left right", as a pair. ValueError if it is none."""
    left, space, right = merge.partition(" ")
    if not (left and right) or " " in right:
        raise ValueError(f"the merge {merge[:40]!r} is not of two tokens with a space between them")
    return left, right
