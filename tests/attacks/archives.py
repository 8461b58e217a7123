"""Spoiled .npz files: a zip archive put together by hand, so that every byte of it can be wrong."""

import io
import json
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from documents import mutated_json

STORED, DEFLATED = 0, 8
GB = 2**30


@dataclass(frozen=True)
class Member:
    name: str
    raw: bytes              # as it stands in the file, compressed or not
    size: int               # of the content
    crc: int
    method: int = STORED
    flags: int = 0


def member(name, content, method=STORED):
    squeezed = content
    if method == DEFLATED:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        squeezed = packer.compress(content) + packer.flush()
    return Member(name, squeezed, len(content), zlib.crc32(content), method)


@cache
def repeated(unit, times):
    """unit * times, deflated, without ever being in memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(unit) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(times):
        crc = zlib.crc32(unit, crc)
    return piece * times + zlib.compressobj(9, zlib.DEFLATED, -15).flush(), len(unit) * times, crc


def bomb(name, unit=b"\0" * 2**20, size=2 * GB, head=b"", tail=b""):
    """A member of some KB that becomes `size` bytes: head, many units, tail."""
    raw, length, crc = repeated(unit, size // len(unit))
    if head or tail:
        first = zlib.compressobj(9, zlib.DEFLATED, -15)
        head_raw = first.compress(head) + first.flush(zlib.Z_FULL_FLUSH)
        crc = crc_of_three(head, unit, size // len(unit), tail)
        last = zlib.compressobj(9, zlib.DEFLATED, -15)
        raw = head_raw + raw[:-2] + last.compress(tail) + last.flush()
        length += len(head) + len(tail)
    return Member(name, raw, length, crc, DEFLATED)


@cache
def crc_of_three(head, unit, times, tail):
    crc = zlib.crc32(head)
    for _ in range(times):
        crc = zlib.crc32(unit, crc)
    return zlib.crc32(tail, crc)


def archive(members, comment=b"", before=b""):
    """The bytes of a zip file."""
    out, directory, at = [before], [], len(before)
    for m in members:
        name = m.name.encode("utf-8", "surrogateescape")
        fields = struct.pack("<HHHHHIIIHH", 20, m.flags, m.method, 0, 33, m.crc, len(m.raw), m.size & 0xFFFFFFFF, len(name), 0)
        out += [b"PK\3\4", fields, name, m.raw]
        directory.append(b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, at) + name)
        at += 4 + len(fields) + len(name) + len(m.raw)
    directory = b"".join(directory)
    end = struct.pack("<HHHHIIH", 0, 0, len(members) & 0xFFFF, len(members) & 0xFFFF, len(directory), at, len(comment))
    return b"".join(out) + directory + b"PK\5\6" + end + comment


def contents(data):
    """{name: content} of a zip file."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(parts):
    return archive([member(name, content, DEFLATED if name == "meta.json" else STORED) for name, content in parts.items()])


# .npy

def npy(array, fortran=False, version=(1, 0)):
    """The bytes of an .npy file, whatever the array holds."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": fortran, "shape": array.shape}
    data = array.tobytes("F" if fortran else "C") if array.dtype != object else b"cos\nsystem\n(S'touch pwned'\ntR."
    return npy_of(repr(header), data, version)


def npy_of(header, data, version=(1, 0)):
    text = header.encode("latin1", "replace") if isinstance(header, str) else header
    size = struct.pack("<H", len(text) + 1 & 0xFFFF) if version == (1, 0) else struct.pack("<I", len(text) + 1)
    return b"\x93NUMPY" + bytes(version) + size + text + b"\n" + data


def array_of(content):
    return np.load(io.BytesIO(content), allow_pickle=False)


# What is done to an array. Each returns (words, bytes of the .npy, meaning); meaning as in malformed.Case.

CASTS = [("<f8", "same"), (">f4", "same"), ("<f2", "free"), ("longdouble", "same"), ("?", "same"), ("<i4", "same"),
         ("<i8", "same"), ("u1", "same"), ("<c8", "same"), ("<U8", "broken"), ("S8", "broken")]
HEADERS = ["", "{}", "[]", "None", "1", "{'descr': '<f4'}", "__import__('os').system('touch pwned')", "{" * 3000, "(" * 9000,
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), 'more': 1}",
           "{'descr': '<f4', 'fortran_order': 1, 'shape': (2, 2)}", "{'descr': '<f4', 'fortran_order': False, 'shape': [2, 2]}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2.0, 2)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2)}",
           "{'descr': None, 'fortran_order': False, 'shape': (2, 2)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (9" + "9" * 400 + ",)}",
           "{'descr': 'O', 'fortran_order': False, 'shape': (2,)}",
           "{'descr': ('<f4', (99999, 99999)), 'fortran_order': False, 'shape': (2,)}",
           "{'descr': 'V0', 'fortran_order': False, 'shape': (2,)}",
           "{'descr': 'U1000000000', 'fortran_order': False, 'shape': (2,)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 900,
           "{'descr': [('a', '<f4'), ('a', '<f4')], 'fortran_order': False, 'shape': (2,)}", "\0" * 100, "é" * 50]


def spoiled_array(content, rng):
    array = array_of(content)
    header_end = 10 + struct.unpack("<H", content[8:10])[0]
    data = content[header_end:]
    way = rng.choice(["cast", "cast", "dtype", "shape", "shape", "huge", "header", "order", "cut", "longer", "number", "number",
                      "version",
                      "resized", "swapped"])
    if way == "cast":
        dtype, meaning = rng.choice(CASTS)
        with np.errstate(all="ignore"):
            return f"cast to {dtype}", npy(array.astype(dtype)), meaning
    if way == "dtype":
        descr = rng.choice(["'<i4'", "'>f4'", "'<f2'", "'<M8[s]'", "'<m8[us]'", "'<U1'", "'S4'", "'V4'", "'|b1'", "'<c8'",
                            "'<f8'", "'O'",
                            "[('a', '<f4')]", "[('a', '<f2'), ('b', '<f2')]", "('<f2', (2,))", "'<f4,<f4'", "''", "'x9'",
                            "'<f40'", "7"])
        return (f"bytes called {descr}", npy_of(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {array.shape}}}", data),
                "free" if descr in ("'<i4'", "'>f4'") else "broken")
    if way == "shape":
        shape = rng.choice([array.shape[::-1], (array.size,), (1, *array.shape), (*array.shape, 1), (), (0,), (0,
                                                                                                               *array.shape[1:]),
                                                                                                               (1,),
                            (-1,), (array.size // 2, 2), (2, array.size // 2), tuple(n + 1 for n in array.shape),
                            (1,) * 40 + array.shape, (1,) * 32])
        same = shape == array.shape
        return f"shape {shape}"[:60], npy_of(header_of(array, shape), data), "same" if same else "broken"
    if way == "huge":
        shape = rng.choice([(10**9, 10**9), (2**40,), (10**10,), (3 * 10**8,), (2**63,), (2**32, 2**32), (10**6, 10**6)])
        return f"a shape of {shape} over {len(data)} bytes", npy_of(header_of(array, shape), data), "broken"
    if way == "header":
        header = rng.choice(HEADERS)
        return f"header {header[:60]!r}", npy_of(header, data), "broken"
    if way == "order":
        return "Fortran order", npy(array, fortran=True), "same"
    if way == "cut":
        return "last bytes missing", content[:len(content) - rng.randint(1, max(1, len(data)))], "broken"
    if way == "longer":
        return "bytes behind the end", content + bytes(rng.randint(1, 64)), "same"
    if way == "number":
        value = rng.choice([np.nan, np.inf, -np.inf, 1e38, -3e38, 1e30])
        if array.dtype.kind != "f" or not array.size:
            value = rng.choice([-1, 2**62])
        spoiled = array.copy()
        with np.errstate(all="ignore"):
            spoiled.reshape(-1)[rng.randrange(array.size) if rng.random() < 0.5 else slice(None)] = value
        return f"numbers of {value}", npy(spoiled), "free" if np.isfinite(value) else "not finite"
    if way == "version":
        version = rng.choice([(0, 0), (2, 0), (3, 0), (4, 0), (9, 9), (255, 255)])
        right = version in ((2, 0), (3, 0))
        return f".npy version {version}", npy_of(header_of(array), data, version), "same" if right else "broken"
    if way == "resized":
        shape = tuple(max(0, n + rng.choice([-1, 0, 1])) for n in array.shape)
        return f"resized to {shape}", npy(np.resize(array, shape)), "same" if shape == array.shape else "broken"
    return "first bytes wrong", rng.randbytes(rng.randint(1, 12)) + content[12:], "broken"


def header_of(array, shape=None):
    return repr({"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False,
                 "shape": array.shape if shape is None else shape})


# What is done to the archive.

def spoiled_archive(data, rng):
    """(words, bytes, meaning) of a whole .npz that was spoiled in one way."""
    parts = contents(data)
    arrays = [name for name in parts if name != "meta.json"]
    way = rng.choice(["cut", "cut", "flip", "flip", "flip", "overwritten", "dropped", "added", "duplicate", "renamed", "order",
                      "compressed", "comment", "prefix", "flags", "names", "sizes", "foreign", "crc"])
    if way == "cut":
        at = rng.randrange(len(data))
        return f"cut at byte {at} of {len(data)}", data[:at], "broken"
    if way == "flip":
        at, bit = rng.randrange(len(data)), rng.randrange(8)
        return f"bit {bit} of byte {at} flipped", data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1:], "same"
    if way == "overwritten":
        at, n = rng.randrange(len(data)), rng.randint(1, 400)
        return f"{n} bytes at {at} overwritten", data[:at] + rng.choice([bytes(n), rng.randbytes(n)]) + data[at + n:], "same"
    if way == "dropped":
        gone = rng.choice(list(parts))
        return f"without {gone}", packed({name: content for name, content in parts.items() if name != gone}), "broken"
    if way == "added":
        name, content = rng.choice([("more.npy", npy(np.zeros(3, "f4"))), ("README", b"hello"), ("x.npy", b"no array"), ("", b""),
                                    ("a/b.npy", npy(np.zeros(3, "f4"))), ("meta.json.npy", npy(np.zeros(3, "f4"))),
                                    ("model/x.npy", npy(np.zeros(3, "f4")))])
        return f"with {name!r} added", packed(parts | {name: content}), "same"
    if way == "duplicate":
        twice = rng.choice(list(parts))
        other = rng.choice([b"", b"{}", parts[twice][:-1] + b"\x7f", npy(np.ones(3, "f4"))])
        members = [member(name, content) for name, content in parts.items()]
        members.insert(rng.choice([0, len(members)]), member(twice, other))
        return f"{twice} twice, with other content", archive(members), "same"
    if way == "renamed":
        old = rng.choice(list(parts))
        new = rng.choice([old.upper(), f"x{old}", old + " ", old.removesuffix(".npy"), "../" + old, "/" + old, old.replace(".",
                                                                                                                           "/"),
                                                                                                                           "é.npy",
                          rng.choice(list(parts))])
        return f"{old} renamed to {new!r}", packed({new if name == old else name: content for name, content in parts.items()}), \
            "same" if new in (old, old.removesuffix(".npy")) else "broken"
    if way == "order":
        names = list(parts)
        rng.shuffle(names)
        return "members in another order", packed({name: parts[name] for name in names}), "same"
    if way == "compressed":
        kind = rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", kind) as out:
            for name, content in parts.items():
                out.writestr(name, content)
        return f"compressed by method {kind}", file.getvalue(), "same"
    if way in ("comment", "prefix"):
        junk = rng.choice([b"x" * 100, b"\0" * 70_000, data])
        members = [member(name, content) for name, content in parts.items()]
        made = archive(members, comment=junk[:65_535]) if way == "comment" else rng.choice([junk + data, archive(members,
                                                                                                                 before=junk)])
        return f"{len(junk)} bytes {'behind' if way == 'comment' else 'before'} the archive", made, "same"
    if way == "flags":
        flag = rng.choice([1, 0x41, 0x20, 0x2000, 0x800])      # encrypted, strongly, patched data, masked, UTF-8
        members = [replace(member(name, content), flags=flag) for name, content in parts.items()]
        return f"zip flags {flag:#x}", archive(members), "same"
    if way == "names":
        name = rng.choice(["", "a" * 60_000, "\0", "\udcff.npy", "dir/", "..", "new\nline.npy", "\x1b[31mred.npy"])
        return f"a member named {name[:20]!r}", archive([*(member(n, c) for n, c in parts.items()), member(name, b"x")]), "same"
    if way == "sizes":
        name = rng.choice(list(parts))
        wrong = rng.choice([0, 1, 2**31, 2**32 - 1])
        return f"{name} said to have {wrong} bytes", archive([
            replace(member(n, c), size=wrong) if n == name else member(n, c) for n, c in parts.items()]), "same"
    if way == "crc":
        name = rng.choice(list(parts))
        return f"wrong checksum of {name}", archive([
            replace(member(n, c), crc=7) if n == name else member(n, c) for n, c in parts.items()]), "broken"
    words, made = rng.choice([
        ("nothing at all", b""), ("one byte", b"P"), ("text", b"hello\n" * 50), ("an .npy", npy(np.zeros(9))), ("an empty zip",
                                                                                                                archive([])),
        ("gzip", b"\x1f\x8b" + bytes(100)), ("zeros", bytes(5000)), ("only a meta.json",
                                                                     packed({"meta.json": parts["meta.json"]})),
        ("70,000 members", archive([member(f"{i}.npy", b"") for i in range(70_000)] + [member("meta.json", parts["meta.json"])])),
        ("np.savez", saved(full=np.zeros(3))), ("an object array", saved(theta=np.array([{}], dtype=object))),
        ("arrays in a folder", packed({f"x/{name}": content for name, content in parts.items()})),
        ("all arrays empty", packed({name: npy(np.zeros(0, "f4")) if name in arrays else parts[name] for name in parts}))])
    return words, made, "broken"


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def one_array(data, rng):
    parts = contents(data)
    name = rng.choice([name for name in parts if name.endswith(".npy")])
    words, content, meaning = spoiled_array(parts[name], rng)
    return f"{name}: {words}", packed(parts | {name: content}), meaning


def all_arrays(data, rng):
    """Every array cast alike."""
    parts = contents(data)
    dtype, meaning = rng.choice(CASTS)
    cast = {name: npy(array_of(content).astype(dtype)) for name, content in parts.items() if name.endswith(".npy")}
    return f"all arrays cast to {dtype}", packed(parts | cast), meaning


def meta_edited(data, rng):
    parts = contents(data)
    words, text, meaning = mutated_json(parts["meta.json"].decode(), rng)
    return f"meta.json: {words}", packed(parts | {"meta.json": text}), meaning


def bombs(data, rng):
    """Archives that are small, and whose content is not."""
    parts = contents(data)
    arrays = [name for name in parts if name.endswith(".npy")]
    members = {name: member(name, content) for name, content in parts.items()}
    name = rng.choice(arrays)
    head = npy_of(header_of(np.zeros(1, "f4"), (GB // 2,)), b"")
    words, spoiled = rng.choice([
        ("2 GB of spaces before meta.json", lambda: members | {"meta.json": bomb("meta.json", b" " * 2**20,
                                                                                 tail=parts["meta.json"])}),
        ("a meta.json of 300 MB of lists", lambda: members | {"meta.json": bomb("meta.json", b"[]," * 2**18, 300 * 2**20, b"[",
                                                                                b"1]")}),
        ("a key of 2 GB in meta.json", lambda: members | {"meta.json": bomb("meta.json", b"a" * 2**20, head=b'{"',
                                                                            tail=b'":1}')}),
        ("a member more, of 2 GB", lambda: members | {"more": bomb("more")}),
        ("an array more, of 2 GB", lambda: members | {"more.npy": bomb("more.npy", head=head)}),
        (f"{name} of 2 GB", lambda: members | {name: bomb(name, head=head)}),
        ("an .npy header of 2 GB", lambda: members | {name: bomb(
            name, b" " * 2**20, head=b"\x93NUMPY\2\0" + struct.pack("<I", 2 * GB - 1) + b"{")}),
        ("an .npy header of 60 MB", lambda: members | {name: bomb(
            name, b" " * 2**20, 60 * 2**20, head=b"\x93NUMPY\2\0" + struct.pack("<I", 60 * 2**20) + b"{", tail=b"}")}),
        ("bytes behind an array, 2 GB", lambda: members | {name: bomb(name, head=parts[name])})])
    return words, archive(spoiled().values()), "same"


WAYS = {"bytes": (spoiled_archive, 5), "array": (one_array, 4), "arrays": (all_arrays, 1), "meta": (meta_edited, 7),
        "bomb": (bombs, 0.4)}


def reversed_shapes(data, rng):
    """An adapter whose shapes stand in another order, or are not what they say."""
    parts = contents(data)
    meta = json.loads(parts["meta.json"])
    shapes = list(meta["shapes"].items())
    way = rng.choice(["reversed", "shuffled", "transposed", "flat", "merged", "negative", "strings", "list", "floats", "bools"])
    meaning = "broken"
    if way == "reversed":
        shapes = shapes[::-1]
    elif way == "shuffled":
        rng.shuffle(shapes)
    elif way == "transposed":
        shapes = [(name, shape[::-1]) for name, shape in shapes]
    elif way == "flat":
        shapes = [(name, [int(np.prod(shape))]) for name, shape in shapes]
    elif way == "merged":
        shapes = [(shapes[0][0], [sum(int(np.prod(shape)) for _, shape in shapes)])]
    elif way == "negative":
        shapes = [(name, [-n for n in shape]) for name, shape in shapes]
    elif way == "strings":
        shapes = [(name, "".join(map(str, shape))) for name, shape in shapes]
    elif way == "floats":
        shapes, meaning = [(name, [float(n) for n in shape]) for name, shape in shapes], "same"
    elif way == "bools":
        shapes, meaning = [(name, [True if n == 1 else n for n in shape]) for name, shape in shapes], "same"
    meta["shapes"] = [[name, shape] for name, shape in shapes] if way == "list" else dict(shapes)
    if json.dumps(meta) == json.dumps(json.loads(parts["meta.json"])) or way in ("reversed", "shuffled", "transposed", "flat"):
        meaning = "same"
    return f"shapes {way}", packed(parts | {"meta.json": json.dumps(meta).encode()}), meaning
