"""Texts of all kinds that Unicode allows, for the tests of tokenizers."""

import unicodedata
from functools import cache

WORDS = [
    "the", "The", "mill", "it's", "IT'S", "they'll", "I'd", "we've", "you’re", "'s", "''", "don't", "été", "naïve",
    "Straße", "Привет", "мир", "שלום", "مرحبا", "你好", "世界", "ह\u093fन\u094dद\u0940", "ไทย", "한국어"]
SPACES = [
    " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", " \n", "\n ", "\xa0", "\u2003", "\u3000", "\x85", "\x1c",
    "\x1f", "\u2028", "\u200b", "\ufeff", "\x0b", "\x0c"]
SIGNS = [
    ".", ",", ":", ";", "?", "!", "-", "'", "’", "\"", "(", ")", "[", "]", "{", "}", "<", ">", "|", "/", "\\", "_",
    "@", "#", "$", "%", "^", "&", "*", "+", "=", "~", "`", "…", "—", "“", "”", "...", "!!\n", "->", "<|", "|>",
    "<|endoftext|>", "<|im_start|>"]
NUMERALS = [
    "0", "7", "42", "2026", "3.14", "1,000", "½", "²", "Ⅷ", "①", "٣", "৭", "𝟘", "㊿", "一二三", "12a", "a12"]
MARKS = [
    "e\u0301", "\u0301", "a\u0323\u0307", "\u0307\u0323", "👩\u200d👩\u200d👧\u200d👦", "👍🏽", "🇨🇭", "❤\ufe0f", "\u202e",
    "\u200d", "�", "\x00", "\x7f", "\U0010ffff", "\ue000", "ſ", "'ſ", "ŀ", "ﬁ", "İ", "K"]
NASTY = [
    "", " ", "  ", "\n", "\r", "\r\n", "\x00", "\x00\x00\x00", "\x7f", "a", "'", "''s", "'S", "'LL", "’s",
    "it's it'S it' s", "  a", "a  ", " a b  c   d", "\n\n\na\n\n b \n", "a\r\rb\r\n\r\nc", "\t\ta\t b\t",
    "\xa0a\xa0\xa0b", "\u3000你\u3000\u3000好", "a\x85b\x85\x85 c", "a\x1cb\x1d\x1e\x1f c", "1 22 333 4444 55555  6",
    "  1", "a1b2 c3", "½²Ⅷ①٣৭𝟘", " ½ ² Ⅷ", "____a_b__", "e\u0301\u0301\u0301 e", "\u0301\u0301a", " \u0301",
    "\u202eabc\u202c", "👩\u200d👩\u200d👧\u200d👦👩\u200d👩\u200d👧\u200d👦 👍🏽🇨🇭", "\U0010ffff\U0010fffe\ue000",
    "\u200b\u200b a\u200b", "\ufeffa", "�\ufffe", "𝒳𝒴𝓏 𐍈 𒀀", "שלום עולם ۱۲۳", "<|endoftext|>",
    "a<|endoftext|><|endoftext|> b", "<|endoftext", "<<|endoftext|>>", "<|im_start|>user\nhi<|im_end|>\n", "a" * 500,
    " " * 500 + "a", "\n" * 300, "ab" * 300 + "!?" * 300, "'s" * 100, "ſ'ſ 'ſa K", "!\n\n?\r\n.\n a",
    "a\n \n  \n   b"]


@cache
def assigned():
    """All characters that this Python's version of Unicode knows."""
    return [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]


def any_text(rng, longest=40):
    """A random text: words, spaces, signs, numerals, marks and characters of all scripts, next to each other in any order."""
    kinds = [WORDS, SPACES, SIGNS, NUMERALS, MARKS, assigned()]
    chosen = rng.choice(6, size=int(rng.integers(0, longest)), p=[0.3, 0.3, 0.12, 0.1, 0.08, 0.1])
    return "".join(kinds[kind][int(rng.integers(len(kinds[kind])))] for kind in chosen)


def any_texts(rng, n):
    return [any_text(rng) for _ in range(n)]
