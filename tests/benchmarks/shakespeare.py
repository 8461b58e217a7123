"""What do today's blocks and byte-pair tokens give on a real text, in equal time?

    python tests/benchmarks/shakespeare.py --text tinyshakespeare.txt [--seconds 60] [--seeds 3]

Models of the sizes of nanoGPT's CPU recipe (4 blocks, width 128, 4 heads, 64 tokens, batches of 12): with the blocks of GPT-2 and
of Llama (2 heads of keys and values), and with characters or byte-pair tokens. Each trains with Muon for as many steps as fit
into the time, which a trial of a few steps tells beforehand. They take turns of about five seconds, so that they meet the same
machine. Losses of different tokens compare only by the byte: nats per token, by the bytes that a token stands for.
"""

import sys
import time

import numpy as np
import report
from time_to_loss import CONTEXT, HEADS, LAYERS, WIDTH, Run

from minillm.commands.pretrain import vocabulary_of
from minillm.ground.processes import default_workers
from minillm.nn import ARCHITECTURES, GPT, Config
from minillm.tasks.evaluate import evaluate_text
from minillm.tasks.text import TextTask
from minillm.text.batches import StreamBatches
from minillm.train.optimizers.muon import Muon
from minillm.train.schedule import warmup_linear
from minillm.train.trainer import Trainer

QUICK = dict(seconds=3.0, seeds=1, slice=1.0, tokenizers=["char", "bpe:size=512"])
BLOCKS = {"GPT-2": {}, "Llama": ARCHITECTURES["llama"] | {"n_kv_head": HEADS // 2, "rope_base": 100.0}}
TRIAL = 20      # steps


def trainer_of(task, parts, batch, seed, steps, lr, adamw_lr):
    config = Config(len(task.tokenizer), CONTEXT, LAYERS, HEADS, WIDTH, **parts)
    model = GPT(config, np.random.default_rng([seed, 0]))
    trainer = Trainer(model, Muon(lr, adamw_lr=adamw_lr), warmup_linear(steps), workers=default_workers())
    batches = StreamBatches(task.train, CONTEXT, batch, seed)
    return model, lambda i: trainer.step(*batches.at(i))


def steps_in(seconds, *args):
    """How many steps fit into a time."""
    _, step = trainer_of(*args[:4], TRIAL, *args[4:])
    step(0)                                        # forks the workers
    start = time.perf_counter()
    for i in range(1, TRIAL):
        step(i)
    return max(TRIAL, int(seconds / ((time.perf_counter() - start) / (TRIAL - 1))))


def measure(text=None, seconds=60.0, seeds=3, tokenizers=("char", "bpe:size=1024"), batch=12, lr=0.025, adamw_lr=0.01, slice=5.0):
    if text is None:
        print("say with --text FILE what to learn: the complete plays of Shakespeare (tinyshakespeare, 1.1 MB), for example",
              file=sys.stderr)
        return []
    rows = []
    for tokenizer in tokenizers:
        task = TextTask(text, vocabulary=vocabulary_of(tokenizer))
        for seed in range(1, seeds + 1):
            runs = {}
            for blocks, parts in BLOCKS.items():
                steps = steps_in(seconds, task, parts, batch, seed, lr, adamw_lr)
                runs[blocks] = Run(blocks, *trainer_of(task, parts, batch, seed, steps, lr, adamw_lr), steps)
            while any(run.done < run.steps for run in runs.values()):
                for run in runs.values():
                    run.advance(slice)
            rows += [row(blocks, tokenizer, seed, run, task) for blocks, run in runs.items()]
    return rows


def row(blocks, tokenizer, seed, run, task):
    score = evaluate_text(run.model, task.validation)
    said = task.tokenizer.bytes_of(task.validation[-score.tokens:].tolist())
    return {"blocks": blocks, "tokens": tokenizer, "seed": seed, "numbers": sum(p.size for p in run.model.parameters().values()),
            "s": run.seconds, "steps": run.steps, "nats a token": f"{score.loss:.3f}",
            "bits a byte": f"{score.loss * score.tokens / len(said) / np.log(2):.4f}"}


def main():
    number, share = dict(type=int), dict(type=float)
    report.command(
        __doc__, measure, QUICK, text=dict(metavar="FILE", help="what to learn, in UTF-8"),
        seconds=share | dict(help="of training, for each (default: 60)"), seeds=number | dict(help="trainings of each kind"),
        tokenizers=dict(nargs="+", metavar="TOKENIZER", help="as pretrain takes them (default: char bpe:size=1024)"),
        batch=number | dict(help="windows in a step (default: 12)"), lr=share | dict(help="of Muon (default: 0.025)"),
        adamw_lr=share | dict(help="of its AdamW (default: 0.01)"), slice=share | dict(help="seconds of a turn (default: 5)"))


if __name__ == "__main__":
    main()
