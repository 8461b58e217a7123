"""JSON with one thing in it wrong: each value and each key replaced by what nobody expects there."""

import json
from functools import cache

PLACE = "@@HERE@@"

NASTY = ["null", "true", "false", "-1", "0", "1", "2", "3", "0.5", "-0.0", "2.0", "1e400", "-1e400", "1e308", "5e-324", "1e6",
         "1000000", "10000000000", str(2**31), str(2**63), "-" + str(2**63), "1" + "0" * 400, "1" + "0" * 5000, "NaN", "Infinity",
         "-Infinity", '""', '"x"', '"1"', '"null"', '"../up"', '"/dev/zero"', '"\\ud800"', '"\\u0000"', '"\\n"', '"\\u001b[31m"',
         '"é"', "[]", "{}", "[[]]", "[1, 2, 3]", '["x", "x"]', '{"a": 1}', '[null]', "LONG", "DEEP LISTS", "DEEP OBJECTS", "MANY",
         "MANY KEYS"]


@cache
def raw(text):
    """The JSON itself of those that would fill pages."""
    return {"LONG": '"' + "a" * 200_000 + '"', "DEEP LISTS": "[" * 100_000 + "]" * 100_000, "MANY": "[" + "0," * 300_000 + "0]",
            "DEEP OBJECTS": '{"a":' * 100_000 + "1" + "}" * 100_000,
            "MANY KEYS": "{" + ",".join(f'"{i}":0' for i in range(100_000)) + "}"}.get(text, text)


def places(value, path=()):
    """Paths to all values in a value, of long lists only some."""
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*path, key))
    elif isinstance(value, list):
        for i in {0, 1, len(value) // 2, len(value) - 1} & set(range(len(value))):
            yield from places(value[i], (*path, i))


def get(value, path):
    for step in path:
        value = value[step]
    return value


def put(value, path, new):
    if not path:
        return new
    value = value.copy()
    value[path[0]] = put(value[path[0]], path[1:], new)
    return value


PARTS = ("n_head", "n_kv_head", "context", "activation", "rope_base", "norm_eps")     # of a Config: no weight shows them all


def free(path):
    """Whether what stands here may be something else in a valid file, which then means something else."""
    if path[:1] == ("config",):
        return len(path) == 1 or path[1] in PARTS
    return path and path[0] in ("tokenizer",
                                "task", "seed", "recipe", "history", "options", "steps_done", "result", "cell", "facts", "texts",
                                "checks",
                                "points", "residuals", "point_loss", "distances", "cosines", "barrier", "ends", "exercises",
                                "plan",
                                "seconds", "trainable_parameters", "total_parameters", "models", "remedy", "merged", "scratch")


def mutated_json(text, rng, meaning=None, free=free):
    """(words, bytes, meaning) of a JSON text with one place spoiled; meaning as in malformed.Case.

    free        tells of a path whether something else may stand there
    """
    value = json.loads(text)
    way = rng.choice(["value"] * 9 + ["key", "key", "gone", "gone", "twice", "more", "text"])
    if way == "text":
        words, made = rng.choice([
            ("empty", b""), ("blank", b"  \n"), ("cut", text.encode()[:rng.randrange(len(text))]), ("not UTF-8",
                                                                                                    b"\xff\xfe" + text.encode()),
            ("UTF-16", text.encode("utf-16")), ("with a byte order mark", b"\xef\xbb\xbf" + text.encode()), ("twice",
                                                                                                             text.encode() * 2),
            ("with a comma", text.encode().rstrip()[:-1] + b",}"), ("deep", b"[" * 200_000), ("with NUL", text.encode() + b"\0"),
            ("null", b"null"), ("a list", b"[" + text.encode() + b"]"), ("a number", b"1"), ("a long number",
                                                                                             b"1" + b"0" * 6000)])
        return words, made, "same"
    path = rng.choice(by_depth(value, rng))
    named = ".".join(map(str, path)) or "all of it"
    fate = meaning or ("free" if free(path) else "same")
    if way == "value" or not path or not isinstance(path[-1], str):
        new = rng.choice(NASTY)
        return f"{named} = {new[:30]}", json.dumps(put(value, path, PLACE)).replace(f'"{PLACE}"', raw(new)).encode(), fate
    inner, parent = get(value, path), get(value, path[:-1])
    if way == "gone":
        left = put(value, path[:-1], {k: v for k, v in parent.items() if k != path[-1]})
        return f"without {named}", json.dumps(left).encode(), fate
    if way == "more":
        grown = put(value, path[:-1], parent | {"more": rng.choice([1, None, "x"])})
        return f"one key more beside {named}", json.dumps(grown).encode(), fate
    if way == "key":
        new = rng.choice(["", "x", path[-1] + "x", path[-1].upper(), "__class__", "self", "a" * 1000, "\ud800", "0", "../x"])
        renamed = {new if k == path[-1] else k: v for k, v in parent.items()}
        return f"key {named} renamed to {new[:20]!r}", json.dumps(put(value, path[:-1], renamed)).encode(), fate
    new = rng.choice(["null", "7", '"x"', json.dumps(inner)])
    doubled = json.dumps(put(value, path[:-1], parent | {PLACE: 0})).replace(f'"{PLACE}": 0', f"{json.dumps(path[-1])}: {new}")
    return f"{named} twice, also as {new[:20]}", doubled.encode(), fate


def by_depth(value, rng):
    """Paths, of each depth about as many, so that a long vocabulary does not drown the rest."""
    groups = {}
    for path in places(value):
        groups.setdefault((len(path), path[:1]), []).append(path)
    return rng.choice(list(groups.values()))
