"""tokenizer.json, the file of Hugging Face's package `tokenizers`: what minillm reads of it, and what it writes.

A file is a chain: a normalizer changes the text, a pre-tokenizer cuts it into pieces, a model makes tokens of each piece, a
post-processor adds special tokens at both ends. Each has many kinds. Read are byte-level BPE and what minillm writes itself; of
all else that could change an id, the first is named in an error: a file is never read as something other than it is.
"""

import json

from ..ground import schema
from ..ground.files import JSON_BYTES, CheckpointError, parsed, read_bytes, write_text
from ..ground.schema import flag, many, maybe, record, table, text, whole
from ..text.bpe import CHARACTERS, MERGE, TOKEN, BPETokenizer, pair_of, usual_end
from ..text.splitting import RULES
from ..text.tokenizer import GLUED, CharTokenizer, IdTokenizer, Tokenizer, WordTokenizer

PART = maybe(record({"type": text(100)}))      # of the chain
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")
ADDED = record({"id": whole(0, 10_000_000), "content": TOKEN} | {f"{name}?": flag for name in FLAGS})
FILE = record({"model": record({"type?": text(100)}), "added_tokens?": maybe(many(ADDED)), "normalizer?": PART,
               "pre_tokenizer?": PART, "post_processor?": PART, "decoder?": PART, "truncation?": maybe(table(schema.anything)),
               "padding?": maybe(table(schema.anything))})
VOCABULARY = table(whole(0, 10_000_000))
PAIR = many(TOKEN, 2, 2)      # a merge as newer files have it; older ones have "a b"
BPE = record({"vocab": VOCABULARY, "merges": many(lambda merge, where: (MERGE if isinstance(merge, str) else PAIR)(merge, where)),
              "ignore_merges?": maybe(flag), "byte_fallback?": maybe(flag), "fuse_unk?": maybe(flag),
              "unk_token?": maybe(TOKEN)})
WORD_LEVEL = record({"vocab": VOCABULARY})
SHAPES = (["Sequence"], ["SpecialToken", "Sequence"], ["Sequence", "SpecialToken"],       # of a template: the text, and signs
          ["SpecialToken", "Sequence", "SpecialToken"])
PUT = table(record({"ids": many(whole(0, 10_000_000), 1, 1)}))                           # what a template puts for its signs
CHANGES_IDS = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")      # of a BPE model, where they are set


def byte_level(use_regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


PRE_TOKENIZERS = {rule: sequence(split(pattern), byte_level(False)) for rule, pattern in RULES.items()} | {
    "gpt2": byte_level(True), "smollm2": sequence({"type": "Digits", "individual_digits": True}, byte_level(True))}

# Of the two simple tokenizers: how a text is cut (`\s` lacks four characters at which Python cuts as well), and put together.
MARKS = "".join(sorted(GLUED))
SIMPLE = {
    WordTokenizer: (split(rf"[{MARKS}]|[^\s\x1c-\x1f{MARKS}]+", "Removed", invert=True),
                    {"type": "Sequence", "decoders": [{"type": "WordPiece", "prefix": " ", "cleanup": False}, *(
                        {"type": "Replace", "pattern": {"String": f" {mark}"}, "content": mark} for mark in MARKS)]}),
    CharTokenizer: (split(r"[\s\S]"), {"type": "Fuse"})}


# Writing.

def write_tokenizer(tokenizer, path):
    """Write any tokenizer as a tokenizer.json that gives the same ids, for the same texts. ValueError if there is only ids."""
    if isinstance(tokenizer, IdTokenizer):
        raise ValueError("this model came without a tokenizer, so there is none to write")
    write_text(path, json.dumps(content_of(tokenizer), ensure_ascii=False, indent=1) + "\n")


def content_of(tokenizer):
    """The content of its file."""
    file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None}
    if isinstance(tokenizer, BPETokenizer):
        return file | bpe_parts(tokenizer)
    pre_tokenizer, decoder = SIMPLE[type(tokenizer)]
    unknown = "<unk>"      # a file must name the token for what is unknown; since none has this name, that stays an error
    while unknown in tokenizer.ids:
        unknown = f"<{unknown}>"
    return file | {"pre_tokenizer": pre_tokenizer, "post_processor": template(tokenizer), "decoder": decoder,
                   "model": {"type": "WordLevel", "vocab": tokenizer.ids, "unk_token": unknown}}


def bpe_parts(tokenizer):
    """The parts of the file of a BPETokenizer."""
    added = [{"id": tokenizer.ids[sign], "content": sign, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for sign in sorted(tokenizer.special, key=tokenizer.ids.get)]
    return {"added_tokens": added, "normalizer": {"type": "NFC"} if tokenizer.nfc else None,
            "pre_tokenizer": PRE_TOKENIZERS[tokenizer.rule], "post_processor": template(tokenizer), "decoder": byte_level(True),
            "model": {"type": "BPE", "dropout": None, "unk_token": tokenizer.unknown, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "ignore_merges": tokenizer.whole, "vocab": tokenizer.ids, "merges": tokenizer.merges}}


def template(tokenizer):
    """The post-processor that puts the sign of the beginning before a text, if the tokenizer has one."""
    if tokenizer.begin is None:
        return None
    sign = tokenizer.tokens[tokenizer.begin]
    begin, first, second = {"SpecialToken": {"id": sign, "type_id": 0}}, *({"Sequence": {"id": x, "type_id": 0}} for x in "AB")
    return {"type": "TemplateProcessing", "single": [begin, first], "pair": [begin, first, second],
            "special_tokens": {sign: {"id": sign, "ids": [tokenizer.begin], "tokens": [sign]}}}


# Reading.

def read_tokenizer(path) -> Tokenizer:
    """The tokenizer in a tokenizer.json. CheckpointError names what is broken, or what minillm does not know."""
    file = parsed(read_bytes(path, JSON_BYTES, "tokenizer.json"), path)
    try:
        FILE(file, "it")
        for name in ("truncation", "padding"):
            if file.get(name) is not None:
                raise ValueError(f"it has a {name}, which would change texts")
        kind = file["model"].get("type", "BPE" if "merges" in file["model"] else "WordLevel")
        if kind == "BPE":
            return read_bpe(file)
        if kind == "WordLevel":
            return read_simple(file)
        raise ValueError(f"its model is {kind[:40]}, where minillm knows byte-level BPE, and WordLevel as it writes it")
    except ValueError as error:
        raise CheckpointError(f"{path} is no tokenizer.json that minillm can use: {error}") from None


def read_bpe(file):
    """The BPETokenizer in the content of a file. ValueError names the first thing that is unknown."""
    model = BPE(file["model"], "model")
    for name in CHANGES_IDS:
        if model.get(name):
            raise ValueError(f"its model has a {name}, which minillm does not know")
    rule = rule_of(file.get("pre_tokenizer"))
    normalizer = (file.get("normalizer") or {}).get("type")
    if normalizer not in (None, "NFC"):
        raise ValueError(f"its normalizer is {normalizer[:40]}; minillm knows none, or NFC")
    tokens, special = all_tokens(model["vocab"], file.get("added_tokens") or [], normalizer)
    begin, end = signs_of(file.get("post_processor"), tokens)
    decoder = (file.get("decoder") or byte_level(True))["type"]
    if decoder != "ByteLevel":
        raise ValueError(f"its decoder is {decoder[:40]}, with which other texts would come back than those of its bytes")
    merges = [pair_of(merge) if isinstance(merge, str) else merge for merge in model["merges"]]
    for name in ("byte_fallback", "fuse_unk"):
        if model.get(name) and not model["vocab"].keys() >= set(CHARACTERS):
            raise ValueError(f"its vocabulary lacks some bytes, and its model has {name}, which minillm does not know")
    return BPETokenizer(tokens, merges, rule, special, begin, end or usual_end(special), model.get("unk_token"),
                        bool(model.get("ignore_merges")), bool(normalizer))


def rule_of(pre_tokenizer):
    """The name of the rule by which a pre-tokenizer cuts. ValueError if it is none of the rules that are known."""
    several = pre_tokenizer and pre_tokenizer["type"] == "Sequence"
    parts = pre_tokenizer.get("pretokenizers") if several else [pre_tokenizer]
    parts = [completed(part) for part in parts] if isinstance(parts, list) else []
    for rule, known in PRE_TOKENIZERS.items():
        if parts == known.get("pretokenizers", [known]):
            return rule
    if any(part.get("add_prefix_space") for part in parts):
        raise ValueError("its pre-tokenizer has add_prefix_space, with which a text would not come back as it was")
    kinds = ", ".join(str(part.get("type"))[:20] for part in parts[:5]) or "none"
    raise ValueError(f"its pre-tokenizer ({kinds}) cuts texts by a rule that is none of {', '.join(RULES)}")


def completed(part):
    """A part of a pre-tokenizer with what it leaves to defaults; `trim_offsets` changes no id."""
    if not isinstance(part, dict):
        return {}
    if part.get("type") == "ByteLevel":
        return {"use_regex": True} | part | {"trim_offsets": True}
    return part


def all_tokens(vocabulary, added, normalizer):
    """All tokens in the order of their ids, and those that are special.

    ValueError if one is no token that a file of minillm could hold, and if an id is missing or taken twice.
    """
    known = dict(vocabulary)
    for token in added:
        sign = token["content"]
        for name in FLAGS[:3]:
            if token.get(name):
                raise ValueError(f"its token {sign[:40]!r} has {name}, which minillm does not know")
        if known.setdefault(sign, len(known)) != token["id"]:
            raise ValueError(f"its token {sign[:40]!r} has the id {token['id']}, but is number {known[sign]}")
    if len({token.get("normalized", False) for token in added}) > 1 or normalizer and any(t.get("normalized") for t in added):
        raise ValueError("some of its added tokens are looked for after the text was normalized, which minillm does not do")
    tokens = many(TOKEN)(sorted(known, key=known.get), "its vocabulary")
    if "" in known:
        raise ValueError("one of its tokens is empty, so it stands for nothing")
    if [known[token] for token in tokens] != list(range(len(tokens))):
        raise ValueError(f"the ids of its {len(tokens)} tokens are not the numbers from 0 on")
    return tokens, [token["content"] for token in added]


def signs_of(post_processor, tokens):
    """The signs that a post-processor puts before and after a text; None for one that it does not put."""
    parts = post_processor.get("processors") if post_processor and post_processor["type"] == "Sequence" else [post_processor]
    begin = end = None
    for part in many(PART, most=100)(parts, "post_processor"):
        if part is None or part["type"] == "ByteLevel":
            continue
        if part["type"] != "TemplateProcessing":
            raise ValueError(f"its post-processor is {part['type'][:40]}, which minillm does not know")
        single = many(table(table(schema.anything)), most=100)(part.get("single"), "single")
        kinds = [next(iter(piece), None) for piece in single]
        signs = [TOKEN(piece["SpecialToken"].get("id"), "single") for piece in single if "SpecialToken" in piece]
        if kinds not in SHAPES:
            raise ValueError("its post-processor adds more than one sign at an end of a text, which minillm does not do")
        if signs and (begin, end) != (None, None):          # of two that add signs, `tokenizers` follows the first alone
            raise ValueError("its post-processor has two templates that add signs, of which minillm knows one")
        for sign, what in PUT(part.get("special_tokens", {}), "special_tokens").items():
            [i] = what["ids"]
            if sign in signs and tokens[i:i + 1] != [sign]:
                raise ValueError(f"its post-processor puts the id {i} for {sign[:40]!r}, which has another")
        begin, end = (signs[0] if kinds[0] == "SpecialToken" else begin), (signs[-1] if kinds[-1] == "SpecialToken" else end)
    return begin, end


def read_simple(file):
    """The word or character tokenizer in the content of a file that minillm has written."""
    vocabulary = WORD_LEVEL(file["model"], "model")["vocab"]
    for kind, (pre_tokenizer, _) in SIMPLE.items():
        if file.get("pre_tokenizer") == pre_tokenizer:
            tokenizer = kind(all_tokens(vocabulary, [], None)[0])
            if file == content_of(tokenizer):
                return tokenizer
    raise ValueError("its model is WordLevel, of which minillm reads only what it has written")
