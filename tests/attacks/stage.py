"""Tiny runs of every kind, made by the commands themselves: what is mutated, killed and resumed.

Each part is a folder of its own:
    w    a toy-world model and a specialist by each method       t    a model of a text, a specialist, texts and pairs
    r    a run of two of those specialists                       s    the same with kept surfaces
    e    a demo                                                  d    the same with its gallery
    c    a comparison                                            b    a workbook
    l    a Llama of a text, read by BPE, and specialists         h    folders of transformers and peft of those
    m    the same, larger, with its folder, and a longer text
    cut  two runs that were killed half-way
"""

import importlib.util
import json
import os
import random
import shutil
import struct
from pathlib import Path

from ground import forked

HUB = importlib.util.find_spec("safetensors") is not None       # without it there are neither h nor m

TINY = ["--layers", "1", "--heads", "2", "--width", "8", "--context", "112", "--batch", "4"]
SHORT = ["--steps", "3", "--documents", "8", "--batch", "4", "--workers", "1"]
METHODS = ["full", "frozen", "adapter:bottleneck=2", "lora:rank=2", "ia3", "dora:rank=1", "head", "prefix:tokens=2",
           "prompt:tokens=2"]
COMPARE = ["compare", "--base", "w/pretrained.npz", "--methods", "full", "lora:rank=2", "--seeds", "1", "--rates", "1", "--steps",
           "2", "--batch", "2", "--documents", "4", "--test-documents", "2", "--samples", "1", "--no-scratch", "--workers", "1",
           "--out", "c"]
DEMO = ["demo", "--quick", "--out", "d", "--plots", "p", "--workers", "1"]

LLAMA = ["--arch", "llama", "--kv-heads", "1", "--tokenizer", "bpe:size=280"]
PEFT = ["lora:rank=2", "dora:rank=1", "ia3", "prefix:tokens=2,gate=no", "prompt:tokens=2"]       # what peft has, too
FOLDERS = {"llama": "l/pretrained", "words": "w/pretrained", "characters": "t/pretrained"} | {
    name: f"l/{name}" for name in ("lora", "dora", "ia3", "prefix", "prompt")}

WORDS = "the quick brown fox jumps over the lazy dog and runs home "


def tiny_demo():
    """In a fork: let `demo --quick` take a second instead of half a minute."""
    from minillm import demo
    from tiny.sitecustomize import shorten_demo
    shorten_demo(demo)


def cut_after(saves):
    """In a fork: end it as if killed, right after its unfinished run has been saved so often."""
    left = [saves]

    def watched(move):
        def moved(source, target, *args, **more):
            move(source, target, *args, **more)
            if str(target).endswith(".training.npz"):
                left[0] -= 1
                if not left[0]:
                    os._exit(137)
        return moved
    os.replace, os.rename = watched(os.replace), watched(os.rename)


class Stage:
    """The parts, made when they are first asked for."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def need(self, *parts):
        for part in parts:
            if not (self.folder / part).exists():
                getattr(self, f"make_{part}")()
        return self

    def run(self, *argv, before=None, code=0):
        result = forked(argv, self.folder, 120, before)
        if result.code != code:
            raise SystemExit(f"the stage cannot be set: minillm {' '.join(argv)} ended with {result.code}\n{result.err}")

    def copy(self, box, *parts):
        """Put copies of some parts into a folder."""
        for part in parts:
            self.need(part)
            shutil.copytree(self.folder / part, Path(box) / part, symlinks=True)

    def make_w(self, methods=METHODS):
        self.run("pretrain", *TINY, "--steps", "6", "--workers", "1", "--out", "w")
        for method in methods:
            self.run("finetune", "--base", "w/pretrained.npz", *SHORT, "--method", method)

    def make_t(self):
        folder = self.folder / "t"
        folder.mkdir()
        (folder / "book.txt").write_text(WORDS * 12)
        (folder / "letters.txt").write_text(("dog and fox " * 4 + WORDS) * 6)
        pairs = [{"prompt": f"the fox {word} ", "completion": "and runs home"} for word in WORDS.split() * 3]
        (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
        worlds = [{"prompt": "<story> one sunny day", "completion": f"{name} took the rope"} for name in ("anna", "ben",
                                                                                                          "clara") * 8]
        (folder / "worlds.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in worlds))
        self.run("pretrain", *TINY[:6], "--context", "64", "--batch", "2", "--steps", "3", "--workers", "1", "--text",
                 "t/book.txt",
                 "--out", "t")
        self.run("finetune", "--base", "t/pretrained.npz", "--method", "adapter:bottleneck=2", "--text", "t/letters.txt", *SHORT)

    def make_l(self, methods=PEFT):
        self.need("t")
        self.run("pretrain", *TINY[:6], *LLAMA, "--context", "64", "--batch", "2", "--steps", "3", "--workers", "1", "--text",
                 "t/book.txt", "--out", "l")
        for method in methods:
            self.run("finetune", "--base", "l/pretrained.npz", "--method", method, "--text", "t/letters.txt", *SHORT)

    def make_h(self, names=tuple(FOLDERS)):
        self.need("w", "t", "l")
        for name in names:
            self.run("export", f"{FOLDERS[name]}.npz", "--out", f"h/{name}")
        in_shards(self.folder / "h/llama", self.folder / "h/shards")
        self.run("import", "h/llama", "--ids", "--out", "h/ids.npz")

    def make_m(self):
        (self.folder / "m").mkdir()
        (self.folder / "m" / "book.txt").write_text(long_text())
        for name, seed in (("pretrained", "1"), ("other", "2")):
            self.run("pretrain", "--layers", "4", "--heads", "2", "--width", "128", *LLAMA[:2], "--rope-base", f"{seed}00",
                     "--context", "32", "--batch", "1", "--steps", "1", "--seed", seed, "--workers", "1", "--text",
                     "m/book.txt", "--tokenizer", "bpe:size=500", "--out", "m/run")
            shutil.move(self.folder / "m/run/pretrained.npz", self.folder / f"m/{name}.npz")
        shutil.rmtree(self.folder / "m/run")
        self.run("export", "m/pretrained.npz", "--out", "m/folder")
        self.run("export", "m/other.npz", "--out", "o")
        shutil.move(self.folder / "o", self.folder / "m/earlier")

    def make_cut(self):
        self.need("w")
        cut = lambda: cut_after(2)
        self.run("pretrain", *TINY, "--steps", "7", "--save-every", "2", "--workers", "1", "--out", "cut", before=cut, code=137)
        self.run("finetune", "--base", "w/pretrained.npz", *SHORT[2:], "--steps", "7", "--save-every", "2", "--method",
                 "lora:rank=2",
                 "--out", "cut", before=cut, code=137)

    def make_r(self):
        self.need("w")
        (self.folder / "r").mkdir()
        for name in ("pretrained", "full", "full.trajectory", "lora", "lora.trajectory"):
            shutil.copy(self.folder / "w" / f"{name}.npz", self.folder / "r")

    def make_s(self):
        self.need("r")
        shutil.copytree(self.folder / "r", self.folder / "s")
        self.run("surface", "s", "--grid", "3", "--plots", "p", "--workers", "1")
        self.run("surface", "s", "--view", "line", "--models", "pretrained", "full", "--plots", "p", "--workers", "1")
        self.run("report", "s", "--grid", "3", "--documents", "2", "--samples", "1", "--workers", "1", "--out", "p/report.html")

    def make_c(self):
        self.need("w")
        self.run(*COMPARE)

    def make_e(self):
        self.run(*["e" if word == "d" else word for word in DEMO], before=tiny_demo)

    def make_d(self):
        self.need("e")
        shutil.copytree(self.folder / "e", self.folder / "d")
        self.run("gallery", "d", "--plots", "p", "--grid", "3", "--workers", "2")

    def make_b(self):
        for argv in (["lesson", "1", "--start"], ["hint", "1"], ["check", "1", "--seed", "1"]):
            self.run(*argv, "--workbook", "b", code=1 if argv[0] == "check" else 0)
        (self.folder / "b" / "slow.py").write_text("import time\ntime.sleep(1.5)\n")


def long_text(words=60_000):
    """A text of many words, so that learning BPE from it takes a while."""
    rng = random.Random(1)
    lexicon = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 12))) for _ in range(5000)]
    return " ".join(rng.choices(lexicon, k=words))


def in_shards(folder, new):
    """A copy of a folder of transformers whose weights are in two files, with a list of what is where."""
    shutil.copytree(folder, new)
    content = (new / "model.safetensors").read_bytes()
    n, = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + n])
    header.pop("__metadata__")
    names, places = sorted(header), {}
    for i, mine in enumerate((names[::2], names[1::2]), start=1):
        shard, body, entries = f"model-0000{i}-of-00002.safetensors", b"", {}
        for name in mine:
            piece = content[8 + n:][slice(*header[name]["data_offsets"])]
            entries[name] = header[name] | {"data_offsets": [len(body), len(body) + len(piece)]}
            body, places[name] = body + piece, shard
        text = json.dumps(entries).encode()
        (new / shard).write_bytes(struct.pack("<Q", len(text)) + text + body)
    (new / "model.safetensors").unlink()
    index = {"metadata": {"total_size": sum(header[name]["data_offsets"][1] - header[name]["data_offsets"][0] for name in names)},
             "weight_map": places}
    (new / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
