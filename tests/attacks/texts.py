"""Texts, pairs and paths that nobody should give to a program: what is in them, and what stands in the place of a file."""

import os
from functools import cache

from documents import mutated_json
from stage import WORDS

PAIR = '{"prompt": "the fox ", "completion": "runs home"}'


@cache
def million_characters():
    return "".join(chr(i) for i in range(32, 0x110000) if not 0xD800 <= i < 0xE000)[:1_000_000]


def long_line(rng):
    return WORDS.replace(" ", "_") * 20_000


TEXTS = {       # (words, what makes the bytes, meaning)
    "empty": (lambda rng: b"", "broken"),
    "one character": (lambda rng: b"a", "broken"),
    "two characters": (lambda rng: b"ab", "free"),
    "one character, often": (lambda rng: b"a" * 3000, "free"),
    "only newlines": (lambda rng: b"\n" * 3000, "free"),
    "random bytes": (lambda rng: rng.randbytes(rng.choice([10, 1000, 50_000])), "broken"),
    "UTF-16": (lambda rng: (WORDS * 12).encode("utf-16"), "broken"),
    "UTF-16 without a mark": (lambda rng: (WORDS * 12).encode("utf-16-le"), "free"),
    "UTF-32": (lambda rng: (WORDS * 12).encode("utf-32"), "broken"),
    "UTF-8 with a mark": (lambda rng: b"\xef\xbb\xbf" + (WORDS * 12).encode(), "free"),
    "Latin-1": (lambda rng: ("Käse für Jürgen, süß. " * 60).encode("latin-1"), "broken"),
    "cp1252": (lambda rng: ("“It’s – good”, he said… " * 60).encode("cp1252"), "broken"),
    "one wrong byte": (lambda rng: spoiled_somewhere((WORDS * 12).encode(), b"\xff", rng), "broken"),
    "NUL inside": (lambda rng: spoiled_somewhere((WORDS * 12).encode(), b"\0" * rng.randint(1, 9), rng), "free"),
    "surrogates in UTF-8": (lambda rng: spoiled_somewhere((WORDS * 12).encode(), b"\xed\xa0\x80", rng), "broken"),
    "overlong UTF-8": (lambda rng: spoiled_somewhere((WORDS * 12).encode(), b"\xc0\x80", rng), "broken"),
    "CRLF": (lambda rng: (WORDS + "\r\n").encode() * 12, "free"),
    "lone CR": (lambda rng: (WORDS + "\r").encode() * 12, "free"),
    "odd line ends": (lambda rng: (WORDS + "\u2028\x0b\x0c\x85").encode() * 12, "free"),
    "control characters": (lambda rng: bytes(range(1, 32)) * 60, "free"),
    "a line of a megabyte": (lambda rng: long_line(rng).encode(), "free"),
    "a million characters, all different": (lambda rng: million_characters().encode(), "free"),
    "50,000 characters, all different": (lambda rng: million_characters()[:50_000].encode(), "free"),
    "an .npz": (lambda rng: b"PK\3\4" + rng.randbytes(900), "broken"),
    "combining characters": (lambda rng: ("e\u0301\u0323" * 900).encode(), "free"),
    "right to left": (lambda rng: ("\u202eabc\u202c שלום " * 100).encode(), "free"),
    "emoji": (lambda rng: ("👩‍👩‍👧‍👦🏳️‍🌈" * 100).encode(), "free"),
    "private and unassigned": (lambda rng: ("\ue000\uffff\U0010ffff" * 300).encode(), "free"),
    "<begin> and <end> in it": (lambda rng: ("<begin><pad><end> " * 60).encode(), "free")}

LINES = [       # of JSONL; each alone between good ones
    "", " ", "{", "}", "[]", "null", "1", '"x"', "{}", '{"prompt": "a"}', '{"completion": "a"}',
    '{"prompt": 1, "completion": "a"}',
    '{"prompt": "a", "completion": null}', '{"prompt": ["a"], "completion": "a"}', '{"prompt": "", "completion": ""}',
    '{"prompt": "the ", "completion": ""}', '{"prompt": "", "completion": "fox"}',
    '{"prompt": "a", "completion": "a", "more": 1}',
    '{"prompt": "a", "prompt": "b", "completion": "c"}', '{"prompt": "\\ud800", "completion": "a"}',
    '{"prompt": "\\u0000", "completion": "a"}', '{"prompt": "ÄÖ ЖЩ", "completion": "漢字"}', "{'prompt': 'a', 'completion': 'b'}",
    '{"prompt": "a", "completion": "b"} trailing', '{"prompt": "a", "completion": "b"},',
    '{"prompt": NaN, "completion": Infinity}',
    '{"prompt": 1' + "0" * 400 + ', "completion": "a"}', '{"prompt": 1' + "0" * 6000 + ', "completion": "a"}',
    '{"prompt": 1e400, "completion": "a"}', "[" * 100_000, '{"a":' * 100_000, '{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}",
    '{"prompt": "' + "the " * 100_000 + '", "completion": "fox"}', '{"prompt": "fox", "completion": "' + "the " * 100_000 + '"}',
    '\ufeff{"prompt": "the ", "completion": "fox"}', '{"prompt": "the", "completion": "fox"}\r', "\x1b[31mred", "\u2028",
    "// comment"]


def spoiled_somewhere(data, junk, rng):
    at = rng.randrange(len(data))
    return data[:at] + junk + data[at:]


def spoiled_text(rng):
    words = rng.choice(list(TEXTS))
    make, meaning = TEXTS[words]
    return words, make(rng), meaning


def spoiled_pairs(good, rng):
    """(words, bytes, meaning) of JSONL; `good` are the lines of a file that can be used."""
    way = rng.choice(["line", "line", "line", "line", "json", "whole", "encoding", "end", "few"])
    if way == "line":
        line = rng.choice(LINES)
        kept = good[:]
        kept.insert(rng.choice([0, len(kept) // 2, len(kept)]), line)
        return f"a line {line[:40]!r}", ("\n".join(kept) + "\n").encode("utf-8", "surrogatepass"), "free"
    if way == "json":
        words, line, _ = mutated_json(PAIR, rng)
        return f"a line with {words}", b"\n".join([*(text.encode() for text in good), line, b""]), "free"
    if way == "encoding":
        words = rng.choice(["utf-16", "utf-32", "utf-8-sig", "cp500"])
        return f"in {words}", "\n".join(good).encode(words), "free"
    if way == "end":
        end = rng.choice(["", "\n\n\n", "\r\n", "\0", "\x1a"])
        return f"ending with {end!r}", ("\n".join(good) + end).encode(), "free"
    if way == "few":
        n = rng.choice([1, 2, 3])
        return f"only {n} lines", ("\n".join(good[:n]) + "\n").encode(), "free"
    words, data, _ = spoiled_text(rng)
    return f"not JSON, {words}", data, "broken"


# What may stand where a file is expected. Each makes it at `path`.

def folder(path):
    path.mkdir()


def fifo(path):
    os.mkfifo(path)


def link_to(target):
    return lambda path: path.symlink_to(target)


def loop(path):
    path.symlink_to(path.name)


def loop_of_two(path):
    path.symlink_to(path.name + "2")
    path.with_name(path.name + "2").symlink_to(path.name)


def socket(path):
    import socket
    here = os.getcwd()
    os.chdir(path.parent)           # the address of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(path.name)
    finally:
        os.chdir(here)


def forbidden(path):
    path.write_bytes(b"secret")
    path.chmod(0)


PLACES = {"a folder": folder, "a FIFO": fifo, "a link to /dev/zero": link_to("/dev/zero"),
          "a link to /dev/null": link_to("/dev/null"),
          "a link to itself": loop, "a loop of two links": loop_of_two, "a dangling link": link_to("nowhere"),
          "a link to a folder": link_to("."), "a socket": socket, "a link to /dev/full": link_to("/dev/full"),
          "a link to /dev/tty": link_to("/dev/tty"), "a link to /proc/self/mem": link_to("/proc/self/mem"),
          "a link to /proc/self/maps": link_to("/proc/self/maps"), "a link to /dev/stdin": link_to("/dev/stdin")}

PATHS = ["", " ", ".", "..", "/", "/dev/zero", "/dev/null", "/dev/full", "/dev/stdin", "/dev/urandom", "/proc/self/mem",
         "nowhere", "no/where", "a" * 300, "a/" * 3000, "~", "~/x", "*", "-", "--", "-x", "new\nline", "tab\t", "\x1b[31m", "é",
         "💥", "x\udcff", "con", "a" * 254 + ".npz", "$HOME", "`id`", "%s", "{}", "\\", "http://example.org/x.npz",
         "file:///etc/passwd", "/etc/passwd", "/root", "w", "w/", "w/.", "w/../w", "w/pretrained.npz/", "w/pretrained.npz/x",
         "w/pretrained", "t/book.txt"]
