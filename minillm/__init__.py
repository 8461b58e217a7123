"""minillm: a small GPT with every gradient written by hand, pretrained and fine-tuned before your eyes.

The package by floors, each of which knows only those below it (minillm/README.md is the map):

    commands               one file for each: its options, its help, what it calls and prints
    report, gallery        what they show of a run
    exercises              what the lessons ask, and how an answer is checked
    demo, live, bench      the whole story in one run, before a class, and how fast it is here
    phases, draw           pretrain, finetune; pictures
    surface                planes through weights, and the loss on them
    finetune               what trains, and what is inserted
    train                  optimizers, the loop, workers, evaluation, what is kept of a run
    text                   the toy world, tokenizers, batches, generation
    nn                     the layers: forward, derivation, backward
    files, processes       the one writer and reader of files, and forks that share work
    schema, interrupts     what a value from a file must be, and Ctrl-C
    progress, runtime      bars, and what the process needs before NumPy loads
"""

__version__ = "0.1.0"

import importlib
from typing import TYPE_CHECKING

from . import interrupts

interrupts.while_starting()

from . import runtime  # noqa: E402, F401  (before anything else loads NumPy: it tunes the process)

if TYPE_CHECKING:      # for whoever reads; at run time each comes when it is first asked for, since not all need all
    from .finetune.adapters import Adapters
    from .finetune.merge import merge
    from .finetune.methods import IA3, BottleneckAdapter, DoRA, Full, Head, LoRA, Frozen, PrefixTuning, PromptTuning, recipe_of
    from .finetune.report import trainable_table
    from .finetune.store import load, save_specialist
    from .nn import GPT, Config
    from .text.batches import DocumentBatches, StreamBatches, WorldBatches
    from .text.generate import generate, generate_batch
    from .text.tokenizer import CharTokenizer, WordTokenizer
    from .text.world import World
    from .train.checkpoint import save_model
    from .train.evaluate import evaluate_documents, evaluate_text, evaluate_world
    from .train.muon import Muon
    from .train.optimizers import SGD, AdamW
    from .train.samples import flawless
    from .train.schedule import warmup_cosine, warmup_linear
    from .train.trainer import Trainer

HOMES = {
    ".finetune.adapters": "Adapters", ".finetune.merge": "merge",
    ".finetune.methods": "BottleneckAdapter DoRA Full Head IA3 LoRA Partial PrefixTuning PromptTuning recipe_of",
    ".finetune.report": "trainable_table", ".finetune.store": "load save_specialist", ".nn": "Config GPT",
    ".text.batches": "DocumentBatches StreamBatches WorldBatches", ".text.generate": "generate generate_batch",
    ".text.tokenizer": "CharTokenizer WordTokenizer", ".text.world": "World", ".train.checkpoint": "save_model",
    ".train.evaluate": "evaluate_documents evaluate_text evaluate_world", ".train.muon": "Muon",
    ".train.optimizers": "AdamW SGD", ".train.samples": "flawless", ".train.schedule": "warmup_cosine warmup_linear",
    ".train.trainer": "Trainer"}
HOME_OF = {name: home for home, names in HOMES.items() for name in names.split()}
ROOMS = {"draw", "exercises", "finetune", "nn", "processes", "surface", "text", "train"}

__all__ = ["AdamW", "Adapters", "BottleneckAdapter", "CharTokenizer", "Config", "DoRA", "DocumentBatches", "Full", "GPT", "Head",
           "IA3", "LoRA", "Muon", "Partial", "PrefixTuning", "PromptTuning", "SGD", "StreamBatches", "Trainer",
           "WordTokenizer", "World", "WorldBatches", "__version__", "evaluate_documents", "evaluate_text",
           "evaluate_world", "flawless", "generate", "generate_batch", "load", "merge", "recipe_of", "save_model",
           "save_specialist", "trainable_table", "warmup_cosine", "warmup_linear"]


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
