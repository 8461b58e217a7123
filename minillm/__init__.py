"""minillm: a small GPT with every gradient written by hand, pretrained and fine-tuned before your eyes.

The package by floors, each of which knows only those below it (minillm/README.md is the map):

    commands               one file for each: its options, its help, what it calls and prints
    report, gallery        what they show of a run
    exercises              what the lessons ask, and how an answer is checked
    demo, live, bench      the whole story in one run, before a class, and how fast it is here
    draw                   pictures
    hub                    models and adapters as folders of transformers and peft
    surface                planes through weights, and the loss on them
    runs                   pretraining and fine-tuning from their inputs to a file; any saved model, read again
    finetune               what trains, and what is inserted
    train                  optimizers, the loop, workers, what is kept of a run
    tasks                  what can be learned, and how well it was
    inference              generation, token by token
    text                   the toy world, tokenizers, batches
    gradcheck              every gradient against finite differences
    nn                     the layers: forward, derivation, backward
    ground                 files, processes, Ctrl-C, progress bars: what is not part of the story
"""

__version__ = "0.1.0"

import importlib
from typing import TYPE_CHECKING

from .ground import interrupts

interrupts.while_starting()

from .ground import runtime  # noqa: E402, F401  (before anything else loads NumPy: it tunes the process)

if TYPE_CHECKING:      # for whoever reads; at run time each comes when it is first asked for, since not all need all
    from .finetune.adapter_file import save_specialist
    from .finetune.adapters import Adapters
    from .finetune.merge import merge
    from .finetune.methods import IA3, BottleneckAdapter, DoRA, Frozen, Full, Head, LoRA, PrefixTuning, PromptTuning, recipe_of
    from .finetune.recipe import Recipe
    from .finetune.remedies import EWC, L2SP, Interpolation, Replay, remedy_of
    from .finetune.summary import trainable_table
    from .ground.files import CheckpointError
    from .hub.folders import export, from_pretrained
    from .hub.tokenizer_file import read_tokenizer, write_tokenizer
    from .inference.generate import generate, generate_batch
    from .inference.kv_cache import KVCache
    from .nn import GPT, Config, CrossEntropy, Module, Parameter
    from .runs.saved import load
    from .tasks import PairTask, SpecialTask, Task, TextTask, WorldTask
    from .tasks.evaluate import evaluate_documents, evaluate_text, evaluate_world
    from .tasks.samples import flawless
    from .text.batches import DocumentBatches, StreamBatches, WorldBatches
    from .text.bpe import BPETokenizer
    from .text.bpe_learning import learn_bpe
    from .text.tokenizer import CharTokenizer, WordTokenizer
    from .text.world import World
    from .train.checkpoint import fingerprint, save_model
    from .train.fit import Interrupted, fit
    from .train.optimizers import SGD, AdamW, Muon
    from .train.schedule import warmup_cosine, warmup_linear
    from .train.trainer import Diverged, Trainer

HOMES = {
    ".finetune.adapter_file": "save_specialist", ".finetune.adapters": "Adapters", ".finetune.merge": "merge",
    ".finetune.methods": "BottleneckAdapter DoRA Frozen Full Head IA3 LoRA PrefixTuning PromptTuning recipe_of",
    ".finetune.recipe": "Recipe", ".finetune.remedies": "EWC Interpolation L2SP Replay remedy_of",
    ".finetune.summary": "trainable_table", ".ground.files": "CheckpointError", ".hub.folders": "export from_pretrained",
    ".hub.tokenizer_file": "read_tokenizer write_tokenizer",
    ".inference.generate": "generate generate_batch", ".inference.kv_cache": "KVCache",
    ".nn": "Config CrossEntropy GPT Module Parameter", ".runs.saved": "load",
    ".tasks": "PairTask SpecialTask Task TextTask WorldTask",
    ".tasks.evaluate": "evaluate_documents evaluate_text evaluate_world", ".tasks.samples": "flawless",
    ".text.batches": "DocumentBatches StreamBatches WorldBatches", ".text.bpe": "BPETokenizer", ".text.bpe_learning": "learn_bpe",
    ".text.tokenizer": "CharTokenizer WordTokenizer", ".text.world": "World",
    ".train.checkpoint": "fingerprint save_model", ".train.fit": "Interrupted fit",
    ".train.optimizers": "AdamW Muon SGD", ".train.schedule": "warmup_cosine warmup_linear",
    ".train.trainer": "Diverged Trainer"}
HOME_OF = {name: home for home, names in HOMES.items() for name in names.split()}
ROOMS = {"draw", "exercises", "finetune", "gradcheck", "ground", "hub", "inference", "nn", "runs", "surface", "tasks", "text",
         "train"}

__all__ = ["AdamW", "Adapters", "BPETokenizer", "BottleneckAdapter", "CharTokenizer", "CheckpointError", "Config",
           "CrossEntropy", "Diverged", "DoRA", "DocumentBatches", "EWC", "Frozen", "Full", "GPT", "Head", "IA3", "Interpolation",
           "Interrupted", "KVCache", "L2SP", "LoRA", "Module", "Muon", "PairTask", "Parameter", "PrefixTuning", "PromptTuning",
           "Recipe", "Replay", "SGD", "SpecialTask", "StreamBatches", "Task", "TextTask", "Trainer", "WordTokenizer", "World",
           "WorldBatches", "WorldTask", "__version__", "evaluate_documents", "evaluate_text", "evaluate_world", "export",
           "fingerprint", "fit", "flawless", "from_pretrained", "generate", "generate_batch", "learn_bpe", "load", "merge",
           "read_tokenizer", "recipe_of", "remedy_of", "save_model", "save_specialist", "trainable_table", "warmup_cosine",
           "warmup_linear", "write_tokenizer"]


def __getattr__(name):
    """PEP 562: called for a name that is not here yet."""
    if name in ROOMS:
        return importlib.import_module(f".{name}", __name__)
    if name not in HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = getattr(importlib.import_module(HOME_OF[name], __name__), name)
    return globals()[name]


def __dir__():
    return sorted({*globals(), *__all__, *ROOMS})
