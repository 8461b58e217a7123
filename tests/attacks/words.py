"""Command lines that nobody should type: each option of each command with values that cannot be, paths that lead astray, and
options that exclude each other."""

import os
import stat

from stage import COMPARE, DEMO, HUB, TINY

# A quick run of each command that works; what is put behind it wins.
WORKS = {
    "pretrain": [*TINY, "--steps", "1", "--workers", "1", "--out", "o"],
    "finetune": ["--base", "w/pretrained.npz", "--steps", "1", "--documents", "4", "--batch", "2", "--workers", "1", "--out",
                 "o"],
    "inspect": ["w/pretrained.npz", "--method", "lora:rank=2", "--workers", "1"],
    "merge": ["w/lora.npz", "--out", "o/merged.npz"],
    "compare": COMPARE[1:],
    "evaluate": ["w/lora.npz", "--documents", "2", "--samples", "1", "--workers", "1"],
    "generate": ["w/lora.npz", "--tokens", "3", "--workers", "1"],
    "surface": ["s", "--view", "line", "--models", "pretrained", "full", "--plots", "p", "--workers", "1"],
    "sharpness": ["w/full.npz", "--top", "1", "--workers", "1"],
    "report": ["s", "--grid", "3", "--documents", "2", "--samples", "1", "--workers", "1"],
    "lesson": ["1", "--workbook", "b"],
    "check": ["1", "b/ex01_squared_error.py", "--workbook", "b"],
    "hint": ["1", "--workbook", "b"],
    "progress": ["--workbook", "b"],
    "bench": ["--size", "lesson", "--seconds", "0.1", "--workers", "1"],
    "demo": DEMO[1:],
    "gradcheck": [],
    "import": ["h/llama", "--out", "o.npz"],
    "export": ["l/lora.npz", "--out", "o"],
}
PARTS = {"compare": "wc", "surface": "ws", "report": "s", "lesson": "b", "check": "b", "hint": "b", "progress": "b", "bench": "",
         "demo": "",
         "gradcheck": "", "pretrain": "t", "import": "hl", "export": "hlt"}      # of the stage that are copied; others: w and t
if not HUB:
    del WORKS["import"], WORKS["export"]
SLOW = ("gradcheck", "demo", "bench")            # some seconds where they work: tried less often

NUMBERS = ("seed", "workers", "layers", "heads", "width", "context", "batch", "accumulate", "steps", "save-every", "lr",
           "documents", "seeds", "rates", "test-documents", "samples", "grid", "top", "tokens", "temperature", "top-k", "top-p",
           "count", "level", "seconds", "kv-heads", "hidden", "rope-base")
OPTIONS = {
    "pretrain": "seed workers layers heads width context text batch accumulate steps save-every optimizer lr out tokenizer arch "
                "norm positions mlp activation biases kv-heads hidden rope-base kv-heads hidden rope-base",
    "finetune": "seed workers base method remedy task documents text pairs batch accumulate steps save-every optimizer lr out "
                "name",
    "inspect": "base method batch context optimizer workers checkpoint",
    "merge": "base out checkpoint",
    "compare": "workers base methods remedies task documents text pairs seeds rates steps batch test-documents samples out",
    "evaluate": "workers base documents samples task text pairs checkpoint",
    "generate": "seed workers base prompt tokens temperature top-k top-p count checkpoint",
    "surface": "seed workers view models grid plots folder",
    "sharpness": "seed workers base top checkpoint",
    "report": "seed workers models out documents samples grid folder",
    "lesson": "seed workbook which",
    "check": "seed workbook which file",
    "hint": "level workbook which",
    "progress": "workbook",
    "bench": "workers size seconds",
    "demo": "seed workers out plots",
    "gradcheck": "seed",
    "import": "folder out base context",
    "export": "checkpoint out base",
}
FLAGS = ["--json", "--resume", "--skip-bad", "--trainable", "--dark", "--quick", "--live", "--start", "--run", "--no-scratch",
         "--untied", "--ids", "--unknown", "-x", "--", "--help", "extra", ""]
POSITIONAL = ("checkpoint", "folder", "which", "file")

VALUES = ["", " ", "-1", "0", "-0", "1e400", "1" + "0" * 400, "1" + "0" * 5000, "nan", "inf", "-inf", "1e308", "5e-324", "0x10",
          "1_000", "１", "1.0", "1.5", "true", "None", "é", "x\ny", "\x1b[31m", "a" * 100_000, "../up", "1 2", "1,2", "+3", "--",
          "-", "9999999", "10000001", "4294967296", "1e-9", "1e7", "\udcff", "2", "7"]
WORDS = ["", " ", "x", "full", "FULL", "-1", "0", "../up", "a" * 100_000, "é", "\udcff", "x\ny", "\x1b[31m", "novel", "sgd",
         "pca", "three", "full full", "pretrained", "nowhere", "*", "<novel>", "<nobody>", "next", "list", "99", "1e400",
         "1" + "0" * 5000, "softmax", "16", "nan", "llama", "rmsnorm", "rotary", "swiglu", "relu", "none", "gpt2",
         "LLAMA", "gelu"]
TOKENIZERS = ["", " ", "bpe", "bpe:", "bpe:size", "bpe:size=", "bpe:size=0", "bpe:size=-1", "bpe:size=256", "bpe:size=257",
              "bpe:size=2e3", "bpe:size=99999999", "bpe:size=1" + "0" * 400, "bpe:size=nan", "bpe:size=300,size=301",
              "bpe:rule=gpt2", "bpe:size=300,", "BPE", "char", "char:size=3", "char:", "word", "id", "byte", "bpe:SIZE=300",
              "bpe=300", "é",
              "x\ny", "a" * 100_000, "\udcff", "\x1b[31m", "bpe:size=３００", "bpe:size=3_00", "bpe:special=x"]
READ = ["", " ", ".", "..", "/dev/zero", "/dev/null", "/dev/full", "/dev/urandom", "/proc/self/mem", "nowhere", "no/where",
        "a" * 300, "a/" * 3000, "~", "~/x", "*", "-", "new\nline", "tab\t", "\x1b[31m", "é", "💥", "x\udcff", "%s", "{}", "\\",
        "/etc/passwd", "w", "w/", "w/pretrained.npz/", "w/pretrained.npz/x", "w/pretrained", "t/book.txt", "w/pretrained.npz",
        "w/full.npz", "w/lora.npz", "w/lora.trajectory.npz", "t/pretrained.npz", "t/pairs.jsonl", "t/worlds.jsonl",
        "l/pretrained.npz", "l/lora.npz", "l/prefix.npz", "h/llama", "h/words", "h/shards", "h/lora", "h/ids.npz", "h",
        "h/llama/config.json",
        "h/llama/model.safetensors", "h/llama/", "h/../h/llama", "only_read", "loop", "dangling", "to_folder", "fifo", "file"]
WRITE = ["", " ", ".", "nowhere", "a" * 300, "a/" * 3000, "~", "*", "-", "new\nline", "\x1b[31m", "é", "💥", "x\udcff", "file",
         "file/x", "fifo", "null", "full", "loop", "dangling", "to_folder", "to_file", "only_read", "file.npz", "fifo.npz",
         "null.npz", "loop.npz", "to_file.npz", "to_folder.npz", "folder.npz", "w/pretrained.npz", "w/lora.npz", "../up/x",
         "h/llama", "h/lora", "h/llama/config.json", "h/llama/model.safetensors", "h", "l", "l/pretrained.npz",
         "h/llama/x/y"]
METHODS = {"full": "decay gradual", "frozen": "train", "head": "norm", "adapter": "blocks bottleneck places form scale norms",
           "lora": "blocks rank alpha targets rs", "dora": "blocks rank alpha targets rs", "ia3": "blocks targets",
           "prefix": "blocks tokens gate", "prompt": "tokens start"}
REMEDIES = {"none": "x", "replay": "share", "l2sp": "strength", "ewc": "strength documents", "wise": "keep"}
SPEC_VALUES = ["", "0", "-1", "1", "2", "99999999", "10000000", "1" + "0" * 400, "nan", "inf", "-inf", "1e308", "5e-324", "0.5",
               "1.5", "yes", "no", "maybe", "true", "all", "last", "x", "0+0", "0+99", "q+q", "q+zz", "+", "*", "[", "[a", "(",
               "blocks.*", "é", "a" * 10_000, "attn", "mlp+mlp", "parallel", "x\ny", "block-0", "block--1", "block-99", "last-0",
               "last-99", "last--1", "words", "random", "\x1b[31m"]
SPECS = ["", " ", ":", "lora:", "lora:rank", "lora:rank=", "lora:=2", "lora:rank=2,rank=3", "lora:rank=2,", "lora:,rank=2",
         "lora=2", "LORA", "lora:rank=2:alpha=1", " lora", "lora ", "lora,adapter", "lora+adapter", "nobody", "none", "full:full",
         "replay", "wise", "lora:rank=2=3", "é", "a" * 100_000, "x\ny", "lora:RANK=2", "lora:blocks=", "__class__",
         "lora:__class__=1", "lora:apply=1", "lora:method=full", "full:method=lora", "bitfit:train=last", "pfeiffer:places=attn",
         "ulmfit:decay=0", "\udcff"]

COMBINATIONS = [    # (command, words, must be refused)
    ("finetune", ["--text", "t/book.txt", "--pairs", "t/pairs.jsonl"], True),
    ("finetune", ["--text", "t/book.txt", "--task", "mood"], True),
    ("finetune", ["--text", ""], True), ("finetune", ["--pairs", ""], True), ("pretrain", ["--text", ""], True),
    ("evaluate", ["--text", ""], True), ("evaluate", ["--pairs", ""], True), ("compare", ["--text", ""], True),
    ("compare", ["--pairs", ""], True),
    ("evaluate", ["--text", "t/book.txt", "--pairs", "t/worlds.jsonl"], True),
    ("evaluate", ["--task", "novel", "--pairs", "t/worlds.jsonl"], True), ("evaluate", ["--task", "novel", "--text",
                                                                                        "t/book.txt"], True),
    ("finetune", ["--name", "../up"], True), ("finetune", ["--name", "/tmp/up"], True), ("finetune", ["--name", "a/b"], True),
    ("finetune", ["--name", ".."], True), ("finetune", ["--name", ""], True), ("finetune", ["--name", "pretrained", "--out", "w"],
                                                                               True),
    ("finetune", ["--name", "."], True), ("finetune", ["--name", "x\0y"], True),
    ("merge", ["--out", "."], True), ("merge", ["--out", "w"], True), ("merge", ["--out", ""], True), ("merge", ["--out",
                                                                                                                 "w/lora.npz"],
                                                                                                                 True),
    ("merge", ["--out", "w/pretrained.npz"], True), ("merge", ["--out", "null"], True), ("merge", ["--out", "fifo"], True),
    ("merge", ["--out", "loop.npz"], True),
    ("report", ["--out", "."], True), ("report", ["--out", ""], True), ("report", ["--out", "null"], True), ("report", ["--out",
                                                                                                                        "fifo"],
                                                                                                                        True),
    ("report", ["--out", "loop"], True),
    ("pretrain", ["--out", "file"], True), ("pretrain", ["--out", ""], True), ("pretrain", ["--out", "null"], True),
    ("pretrain", ["--out", "fifo"], True), ("pretrain", ["--out", "loop"], True), ("pretrain", ["--out", "file/x"], True),
    ("pretrain", ["--resume"], True), ("finetune", ["--resume"], True),
    ("pretrain", ["--width", "7"], True), ("pretrain", ["--heads", "3"], True), ("pretrain", ["--accumulate", "5"], False),
    ("pretrain", ["--text", "t/book.txt", "--context", "100000"], True), ("pretrain", ["--text", "w/pretrained.npz"], True),
    ("surface", ["--models", "full"], True), ("surface", ["--models", "full", "full"], True), ("surface", ["--models", "nobody",
                                                                                                           "full"], True),
    ("surface", ["--view", "three", "--models", "pretrained"], True), ("surface", ["--view", "three", "--models", "full"], False),
    ("surface", ["--plots", "file"], True), ("surface", ["--plots", ""], True), ("surface", ["--plots", "fifo"], True),
    ("report", ["--models", "nobody"], True), ("report", ["--models", "pretrained"], False), ("report", ["--models", "../w/full"],
                                                                                              True),
    ("surface", ["--models", "pretrained", "../w/full"], True),
    ("lesson", ["--start", "--run"], True), ("lesson", ["--workbook", "file"], False), ("progress", ["--workbook", "file"], True),
    ("check", ["--workbook", "file"], True), ("hint", ["--workbook", "file"], True), ("lesson", ["--start", "--workbook", "file"],
                                                                                      True),
    ("lesson", ["--start", "--workbook", ""], True), ("progress", ["--workbook", "b/progress.json"], True),
    ("generate", ["--prompt", "nobody knows this word"], True), ("generate", ["--prompt", "the " * 5000], False),
    ("generate", ["--prompt", "\udcff"], True), ("generate", ["--temperature", "5e-324"], False), ("generate", ["--temperature",
                                                                                                                "1e308"], False),
    ("generate", ["--top-p", "5e-324"], False), ("generate", ["--top-k", "9999999"], False),
    ("finetune", ["--lr", "1e308"], False), ("finetune", ["--lr", "5e-324"], False), ("pretrain", ["--lr", "1e308"], False),
    ("pretrain", ["--lr", "1e308", "--optimizer", "sgd"], False), ("finetune", ["--lr", "1e30", "--steps", "9"], False),
    ("finetune", ["--lr", "1e308", "--steps", "9", "--optimizer", "muon"], False),
    ("compare", ["--methods", "full", "full"], False), ("compare", ["--remedies", "none", "none"], False),
    ("pretrain", ["--arch", "llama", "--heads", "8"], True), ("pretrain", ["--kv-heads", "3"], True),
    ("pretrain", ["--kv-heads", "4"], True), ("pretrain", ["--kv-heads", "0"], True), ("pretrain", ["--hidden", "0"], True),
    ("pretrain", ["--rope-base", "100"], True), ("pretrain", ["--arch", "llama", "--rope-base", "0"], True),
    ("pretrain", ["--arch", "llama", "--rope-base", "1e12"], False),
    ("pretrain", ["--arch", "llama", "--rope-base", "1e-9"], True),
    ("pretrain", ["--arch", "llama", "--activation", "relu"], True),
    ("pretrain", ["--mlp", "swiglu", "--activation", "relu"], True),
    ("pretrain", ["--positions", "rotary", "--width", "6"], True), ("pretrain", ["--tokenizer", "bpe"], True),
    ("pretrain", ["--tokenizer", "char"], True), ("pretrain", ["--arch", "llama", "--hidden", "1", "--untied"], False),
    ("pretrain", ["--text", "t/book.txt", "--tokenizer", "bpe:size=256"], True),
    ("pretrain", ["--text", "t/book.txt", "--tokenizer", "bpe:size=99999999"], False),
    ("pretrain", ["--text", "t/book.txt", "--tokenizer", "char:size=9"], True),
    ("pretrain", ["--text", "t/book.txt", "--tokenizer", "bpe:size=300", "--context", "3000"], True),
    ("pretrain", ["--arch", "llama", "--norm", "layernorm", "--mlp", "mlp", "--activation", "relu", "--biases", "mlp"], False),
    ("finetune", ["--method", "ia3", "--arch", "llama"], True), ("compare", ["--methods"], True), ("bench", ["--size"], True),
    ("bench", ["--size", "lesson", "lesson"], False),
]

COMBINATIONS += [
    ("import", ["--base", "l/pretrained.npz"], True), ("import", ["=h/lora"], True), ("import", ["=h/lora", "--ids"], True),
    ("import", ["=h/lora", "--base", "l/pretrained.npz", "--context", "9"], True), ("import", ["--context", "65"], True),
    ("import", ["=h/lora", "--base", "l/pretrained.npz", "--out", "l/pretrained.npz"], True),
    ("import", ["--context", "0"], True),
    ("import", ["=h/lora", "--base", "l/lora.npz"], True), ("import", ["=h/lora", "--base", "h/ids.npz"], False),
    ("import", ["=h/lora", "--base", "h/llama"], True), ("import", ["=h/lora", "--base", "nowhere"], True),
    ("import", ["=h/prefix", "--base", "l/pretrained.npz", "--ids"], True), ("import", ["--out", "h/llama/o.npz"], False),
    ("import", ["--out", "h/llama"], True), ("import", ["--out", "h/llama/model.safetensors"], True),
    ("import", ["--out", ""], True),
    ("import", ["--out", "h/llama/config.json"], True), ("import", ["--out", "file"], True), ("import", ["--out", "null"], True),
    ("import", ["--out", "fifo.npz"], True), ("import", ["--out", "loop.npz"], True), ("import", ["--out", "."], True),
    ("import", ["--out", "to_file.npz"], True), ("import", ["--out", "only_read/x/y.npz"], False), ("import", ["=h"], True),
    ("import", ["=h/llama/config.json"], True), ("import", ["=l/pretrained.npz"], True), ("import", ["=t"], True),
    ("import", ["=h/words", "--context", "9"], False), ("import", ["=h/ids.npz"], True), ("import", ["=fifo"], True),
    ("export", ["--out", "h/llama"], True), ("export", ["--out", "h/lora"], False), ("export", ["--out", "h"], True),
    ("export", ["--out", "l"], True), ("export", ["--out", "."], True), ("export", ["--out", ""], True),
    ("export", ["=h/llama"], True),
    ("export", ["--out", "file"], True), ("export", ["--out", "fifo"], True), ("export", ["--out", "null"], True),
    ("export", ["--out", "loop"], True), ("export", ["--out", "file/x"], True), ("export", ["--out", "to_file"], True),
    ("export", ["--out", "to_folder"], False), ("export", ["--out", "folder.npz"], False), ("export", ["--out", "o/p/q"], False),
    ("export", ["=h/ids.npz", "--out", "h/llama"], True), ("export", ["=h/ids.npz"], False), ("export", ["=t/adapter.npz"], True),
    ("export", ["=t/pretrained.npz", "--out", "h/llama"], False), ("export", ["=t/pretrained.npz", "--out", "h/lora"], True),
    ("export", ["--base", "h/ids.npz"], False), ("export", ["--base", "l/lora.npz"], True),
    ("export", ["--base", "l/pretrained.npz"], False),
    ("export", ["=l/lora.trajectory.npz"], True), ("export", ["=t/book.txt"], True)] if HUB else []


def odd_places(box):
    """What WRITE points to. Devices are made here: nobody writes to those of the machine."""
    (box / "file").write_text("a file\n")
    (box / "file.npz").write_text("not one of ours\n")
    (box / "target").write_text("the target of a link\n")
    (box / "target_folder").mkdir()
    (box / "folder.npz").mkdir()
    (box / "only_read").mkdir()
    (box / "only_read").chmod(0o555)
    for end in ("", ".npz"):
        os.mkfifo(box / f"fifo{end}")
        (box / f"loop{end}").symlink_to(f"loop{end}")
        (box / f"to_file{end}").symlink_to("target")
        (box / f"to_folder{end}").symlink_to("target_folder")
        try:
            os.mknod(box / f"null{end}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            os.mknod(box / f"full{end}", stat.S_IFCHR | 0o666, os.makedev(1, 7))
        except OSError:         # only the superuser can
            pass
    (box / "dangling").symlink_to("nowhere/at/all")


def command_line(rng):
    """(kind, words, argv, parts of the stage, meaning) of one command line."""
    way = rng.choice(["value"] * 6 + ["spec"] * 3 + ["combination"] * 3 + ["two", "flag"])
    if way == "combination":
        command, words, refuse = rng.choice(COMBINATIONS)
        return line("options that do not fit", command, words, "broken" if refuse else "free")
    if way == "spec":
        command = rng.choice(["finetune", "finetune", "finetune", "inspect", "compare"])
        remedy = command != "inspect" and rng.random() < 0.3
        known = REMEDIES if remedy else METHODS
        name = rng.choice(list(known))
        spec = rng.choice(SPECS) if rng.random() < 0.3 else f"{name}:{rng.choice(known[name].split())}={rng.choice(SPEC_VALUES)}"
        option = ("--remedies" if remedy else "--methods") if command == "compare" else "--remedy" if remedy else "--method"
        return line("recipes and remedies", command, [option, spec])
    command = rng.choice([name for name in WORKS if name not in SLOW] * 4 + list(SLOW))
    if way == "flag":
        return line("flags", command, rng.sample(FLAGS, rng.randint(1, 2)))
    words = [word for _ in range(1 if way == "value" else 2) for word in option_with_value(command, rng)]
    return line("one option" if way == "value" else "two options", command, words)


def option_with_value(command, rng):
    name = rng.choice(OPTIONS[command].split())
    if name in POSITIONAL:
        return [f"={rng.choice(WORDS if name == 'which' else READ)}"]           # takes the place of the first word
    if name in NUMBERS:
        value = rng.choice(VALUES)
    elif name in ("text", "pairs", "base"):
        value = rng.choice(READ)
    elif name == "tokenizer":
        return ["--text", "t/book.txt", f"--tokenizer={rng.choice(TOKENIZERS)}"]
    elif name in ("out", "plots", "workbook"):
        value = rng.choice(WRITE)
    elif name in ("method", "methods", "remedy", "remedies"):
        value = rng.choice(SPECS)
    else:
        value = rng.choice(WORDS)
    return rng.choice([[f"--{name}", value], [f"--{name}={value}"]])


def line(kind, command, words, meaning="free"):
    argv = list(WORKS[command])
    for word in words:
        if word.startswith("="):
            argv[:1] = [word[1:]]
        else:
            argv.append(word)
    shown = " ".join(word if len(word) < 60 else f"{word[:30]}...({len(word)})" for word in words)
    return f"words/{kind}", f"{command} ... {shown!r}", [command, *argv], PARTS.get(command, "wt"), meaning
