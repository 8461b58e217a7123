"""Learning byte-pair encoding: the pair of neighbours that is most frequent becomes a token, again and again.

Sennrich et al. 2016, section 3.2. Every merge changes the counts of a few pairs only, those beside its places. So all distinct
pieces of the text lie end to end in one linked list, each pair knows its places there, and the pairs wait in a heap.
"""

from collections import Counter, defaultdict
from heapq import heapify, heappop, heappush

from ..ground.progress import progress
from ..ground.runtime import total_memory
from .bpe import CHARACTERS, END_OF_TEXT, BPETokenizer, usual_end
from .splitting import compiled

LEAST = 2                # what occurs only once is no pattern
LONGEST = 500            # bytes of a token: a line of dashes would double it with every merge, and no file may hold any text
MOST = 10_000_000        # bytes of distinct pieces that are learned from: far more than a shelf of books has
SHARE = 600              # or one byte for so many of RAM, if that is less: while a Chain is merged, each takes up to 230
SLOW = 2.0               # seconds after which a bar shows how far it is


def learn_bpe(text, size, rule="gpt2", special=(END_OF_TEXT,)):
    """A BPETokenizer of `size` tokens, or of fewer if no further pair of the text occurs twice.

    The special tokens come first, then the 256 bytes, then what is merged. ValueError if `size` is too small for the first two.
    """
    tokens = [*special, *sorted(CHARACTERS)]
    if size < len(tokens):
        raise ValueError(f"a vocabulary of {size} tokens is too small: the bytes and special tokens alone are {len(tokens)}")
    pieces = Counter(match[0] for part in without(text, special) for match in compiled(rule).finditer(part))
    merges = learned_merges(frequent(pieces), tokens, size)
    return BPETokenizer(tokens, merges, rule, special, end=usual_end(special))


def without(text, special):
    """The parts of a text between special tokens."""
    parts = [text]
    for sign in special:
        parts = [piece for part in parts for piece in part.split(sign)]
    return parts


def frequent(pieces):
    """The most frequent pieces, as many as there is room for: nearly always all."""
    room, chosen = min(MOST, total_memory() // SHARE), {}
    for piece, count in pieces.most_common():
        room -= len(piece.encode())
        if room < 0:
            break
        chosen[piece] = count
    return chosen


def learned_merges(pieces, tokens, size):
    """Pairs of tokens in the order in which they are merged; what they become is appended to `tokens`, until there are `size`.

    pieces      {piece: how often it occurs}
    Of pairs that are equally frequent, the one with the smaller ids comes first, as in the package `tokenizers`.
    """
    chain = Chain(pieces, {token: i for i, token in enumerate(tokens)})
    heap = [(-count, pair) for pair, count in chain.counts.items()]
    heapify(heap)
    merges = []
    with progress(total=size, initial=len(tokens), desc="learning tokens", unit="token", delay=SLOW, leave=False) as bar:
        while heap and len(tokens) < size:
            count, pair = heappop(heap)
            if -count != chain.counts[pair]:                        # it has become rarer since it was put there
                heappush(heap, (-chain.counts[pair], pair))
                continue
            if -count < LEAST:
                break
            left, right = (tokens[i] for i in pair)
            if len(left + right) > LONGEST:
                continue
            merges.append((left, right))
            tokens.append(left + right)
            for risen in chain.merge(pair, len(tokens) - 1):
                heappush(heap, (-chain.counts[risen], risen))
            bar.update()
    return merges


class Chain:
    """All distinct pieces as ids, end to end in a linked list, with the counts and the places of their pairs.

    ids         the id at each place; a merged id stands at the place of its first byte
    before      the place before each place, or None where a piece begins; `after` likewise
    weight      how often the piece around each place occurs in the text
    counts      {(id, id): how often it occurs in the text}
    places      {(id, id): places of its first part}; some may be out of date
    """

    def __init__(self, pieces, ids):
        self.ids, self.before, self.after, self.weight = [], [], [], []
        self.counts, self.places = Counter(), defaultdict(list)
        for piece, weight in pieces.items():
            first, content = len(self.ids), piece.encode()
            last = first + len(content) - 1
            for place, byte in enumerate(content, start=first):
                self.ids.append(ids[CHARACTERS[byte]])
                self.before.append(place - 1 if place > first else None)
                self.after.append(place + 1 if place < last else None)
                self.weight.append(weight)
            for place in range(first, last):
                self.count(place, +1)

    def count(self, place, sign):
        """Count the pair that begins at a place once more (+1) or less (-1), for each time its piece occurs. Returns the pair."""
        pair = self.ids[place], self.ids[self.after[place]]
        self.counts[pair] += sign * self.weight[place]
        if sign > 0:
            self.places[pair].append(place)
        return pair

    def merge(self, pair, both):
        """Put the id `both` in the place of every occurrence of a pair, from left to right. Returns the pairs that are new."""
        risen = set()
        for place in sorted(self.places.pop(pair)):
            right = self.after[place]
            if right is None or (self.ids[place], self.ids[right]) != pair:
                continue
            previous, following = self.before[place], self.after[right]
            for at in (previous, right if following is not None else None):
                if at is not None:
                    self.count(at, -1)
            self.ids[place], self.ids[right], self.after[place] = both, None, following
            if following is not None:
                self.before[following] = place
            for at in (previous, place if following is not None else None):
                if at is not None:
                    risen.add(self.count(at, +1))
        self.counts[pair] = 0
        return risen
