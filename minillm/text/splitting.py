r"""Rules that cut a text into pieces, such as words with the space before them. BPE (bpe.py) merges only within a piece.

Without them, frequent neighbours such as "of the" or "dog." would become tokens, and every word would have one for each mark
that can follow it (Radford et al. 2019, section 2.2). A rule is a regular expression that matches every text from end to end. The
rules are written as `tokenizer.json` has them, where \p{L} is any letter of Unicode, \p{N} any numeral and \s any white space.
Python's `re` does not know \p, and its \s has four control characters more: `compiled` puts ranges of characters in their place.
"""

import re
import unicodedata
from functools import cache

# "'s", "'t" ... as in "it's"; letters; numerals; other signs; white space, whose last space goes to the piece that follows.
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Before letters any one sign that is no numeral; ends of lines stay with the signs or spaces before them; at most 3 digits.
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")

RULES = {
    "gpt2": GPT2,
    # Each digit is cut out first, and what is between them is cut as by GPT-2: there, white space before a digit ends a text.
    "smollm2": GPT2.replace(r" ?\p{N}+", r"\p{N}").replace(r"(?!\S)", r"(?![^\s\p{N}])"),
    "llama3": LLAMA3,
    "qwen2": LLAMA3.replace("{1,3}", ""),
}
SPACE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"      # White_Space of Unicode, as ranges


@cache
def compiled(rule):
    """The rule of this name as a pattern of `re`."""
    ranges = {r"\p{L}": category("L"), r"\p{N}": category("N"), r"\s": SPACE}
    pattern, inside = "", False
    for part in re.split(r"(\\p\{.\}|\\.|[\[\]])", RULES[rule]):
        if part in ranges:
            part = ranges[part] if inside else f"[{ranges[part]}]"
        elif part == r"\S":
            part = f"[^{SPACE}]"
        elif part in ("[", "]"):
            inside = part == "["
        pattern += part
    return re.compile(pattern)


@cache
def category(letter):
    """All characters whose category of Unicode begins with this letter, as ranges within a class of `re`.

    What is a letter depends on the version of Unicode, and so of Python: a script that it does not know yet counts as signs. That
    changes where such a text is cut, not what its tokens say.
    """
    ranges, start = [], None
    for code in range(0x110001):
        member = code < 0x110000 and unicodedata.category(chr(code))[0] == letter
        if member and start is None:
            start = code
        elif not member and start is not None:
            ranges.append(rf"\U{start:08x}-\U{code - 1:08x}")
            start = None
    return "".join(ranges)
