"""How fast is BPE learned, and how fast does it encode, beside the package `tokenizers`?

    python tests/benchmarks/tokenizer.py [--text FILE] [--size 2048] [--rounds 5]

The first megabyte of a text (by default random words of the toy world): a vocabulary is learned of it, then it is encoded by a
tokenizer that has seen nothing yet, and by one that remembers its pieces. Both packages must give the same vocabulary and ids.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import report

from minillm.bench import seconds_of
from minillm.hub.tokenizer_file import write_tokenizer
from minillm.text.bpe import CHARACTERS, END_OF_TEXT, BPETokenizer
from minillm.text.bpe_learning import learn_bpe
from minillm.text.domains import VOCABULARY

QUICK = dict(size=400, rounds=1, length=50_000)


def measure(text=None, size=2048, rounds=5, length=1_000_000):
    text = (Path(text).read_text(encoding="utf-8") if text else words(length))[:length]
    learned = learn_bpe(text, size)
    times = {"minillm": [stages(lambda: learn_bpe(text, size), lambda: BPETokenizer(learned.tokens, learned.merges), text)
                         for _ in range(rounds)]}
    if report.installed("tokenizers", "tokenizers"):
        times["tokenizers"] = [beside(learned, text, size) for _ in range(rounds)]
    megabytes = len(text.encode()) / 1e6
    medians = {name: np.median(runs, axis=0) for name, runs in times.items()}
    return [{"contender": name, "MB": megabytes, "tokens": size, "learn s": learn, "first pass MB/s": megabytes / first,
             "again MB/s": megabytes / again} for name, (learn, first, again) in medians.items()]


def words(length):
    """A text of so many characters and a little more."""
    rng = np.random.default_rng(0)
    return " ".join(rng.choice(VOCABULARY, length // 3))


def stages(learn, new, text):
    """Seconds to learn, to encode with a tokenizer that is new, and with the same one again."""
    tokenizer = new()
    return [seconds_of(learn), *(seconds_of(lambda: tokenizer.encode(text)) for _ in range(2))]


def beside(learned, text, size):
    """The same stages with the package `tokenizers`."""
    from tokenizers import Tokenizer
    from tokenizers.trainers import BpeTrainer

    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(learned, Path(folder) / "tokenizer.json")
        read = lambda: Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))      # noqa: E731
        other, trained = read(), BpeTrainer(vocab_size=size, min_frequency=2, special_tokens=[END_OF_TEXT],
                                            initial_alphabet=CHARACTERS, show_progress=False)
        seconds = stages(lambda: other.train_from_iterator([text], trained), read, text)
        assert json.loads(other.to_str())["model"]["vocab"] == learned.ids and other.encode(text).ids == learned.encode(text)
    return seconds


def main():
    report.command(__doc__, measure, QUICK, text=dict(metavar="FILE", help="what to learn"),
                   size=dict(type=int, help="tokens to learn"), rounds=report.ROUNDS)


if __name__ == "__main__":
    main()
