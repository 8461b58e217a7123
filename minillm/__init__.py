"""minillm: a small GPT with every gradient written by hand, pretrained and fine-tuned before your eyes.

The package by floors, each of which knows only those below it (minillm/README.md is the map):

    cli            commands
    report         one page about a run
    exercises      what the lessons ask, and how an answer is checked
    gallery        every kind of picture from one run
    demo, live     the whole story in one run; a run that a class watches
    bench          how fast it is here
    phases, draw   pretrain, finetune; pictures
    surface        planes through weights, and the loss on them
    finetune       what trains, and what is inserted
    train          optimizers, the loop, workers, evaluation, files
    text           the toy world, tokenizers, batches, generation
    nn             the layers: forward, derivation, backward
    processes      forked workers, and the memory that they share
    runtime        what the process needs before NumPy loads
"""

__version__ = "0.1.0"

from . import runtime  # noqa: E402, F401, I001  (first: it tunes the process before NumPy loads)
from .finetune.adapters import Adapters
from .finetune.merge import merge
from .finetune.methods import IA3, BottleneckAdapter, DoRA, Full, Head, LoRA, Partial, PrefixTuning, PromptTuning, recipe_of
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
from .train.schedule import warmup_cosine, warmup_linear
from .train.trainer import Trainer

__all__ = ["AdamW", "Adapters", "BottleneckAdapter", "CharTokenizer", "Config", "DoRA", "DocumentBatches", "Full", "GPT", "Head",
           "IA3", "LoRA", "Muon", "Partial", "PrefixTuning", "PromptTuning", "SGD", "StreamBatches", "Trainer",
           "WordTokenizer", "World", "WorldBatches", "__version__", "evaluate_documents", "evaluate_text",
           "evaluate_world", "generate", "generate_batch", "load", "merge", "recipe_of", "save_model",
           "save_specialist", "trainable_table", "warmup_cosine", "warmup_linear"]
