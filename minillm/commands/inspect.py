"""minillm inspect: what a file contains, or what a method would train in it."""

from ..finetune.methods import recipe_of
from ..finetune.specialist import prepare
from ..finetune.summary import announcement, parameter_counts, parameter_table
from ..nn.block import MLPS
from ..runs.saved import load
from ..train.optimizers import OPTIMIZERS
from ..train.trainer import Trainer
from ..train.workers import even_pieces
from .options import COUNT, add_model, add_workers
from .output import print_json
from .recipes import METHODS_HELP, add_method

SUMMARY = "Show what a model contains, or with --method what would train and how much memory that would take."
EXAMPLES = ("runs/demo/pretrained.npz", "runs/demo/adapter.npz", "runs/demo/pretrained.npz --method lora:rank=8 --batch 32")
NOTES = METHODS_HELP


def add_options(parser):
    add_model(parser)
    add_method(parser, "--method", help="method of fine-tuning to try, as for finetune (see below)")
    parser.add_argument("--batch", type=COUNT, default=12, help="texts in a batch, for the memory of activations")
    parser.add_argument("--context", type=COUNT, help="tokens in each text (default: the context of the model)")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="adamw", help="optimizer, for the memory of its state")
    add_workers(parser)


def run(args):
    loaded = load(args.checkpoint, args.base)
    if args.method:
        model = prepare(loaded.model, recipe_of(args.method))
        print("\n".join(plan(model, args)))
        print_json(args, parameter_counts(model))
    else:
        print("\n".join(description(loaded)))
        print_json(args, parameter_counts(loaded.model) | {"kind": loaded.meta["kind"], "recipe": loaded.meta.get("recipe")})


def plan(model, args):
    """Lines about what would train, and how much memory that would take."""
    trainer = Trainer(model, OPTIMIZERS[args.optimizer](), workers=args.workers)
    T = min(args.context or model.config.context, model.config.context)
    return announcement(trainer, even_pieces(args.batch, T, trainer.workers.n))


def description(loaded):
    """Lines about the content of a file."""
    meta, config = loaded.meta, loaded.model.config
    lines = [f"{name:18s}{value}" for name, value in facts_of(config).items()]
    lines += [f"{'tokens':18s}{loaded.tokenizer.unit}s"]
    if "recipe" in meta:
        options = ", ".join(f"{name} {words(value)}" for name, value in meta["recipe"].items() if name != "method")
        lines += [f"{'made by':18s}{meta['recipe']['method']}{f' ({options})' if options else ''}"]
    if "task" in meta:
        lines += [f"{'learned':18s}{', '.join(f'{name} {words(value)}' for name, value in meta['task'].items())}"]
    return [*lines, "", *parameter_table(loaded.model, meta["kind"] == "adapter")]


def facts_of(config):
    """The fields of a Config that count, with what goes without saying."""
    facts = vars(config) | {"n_kv_head": config.kv_heads, "n_hidden": config.hidden,
                            "activation": MLPS[config.mlp].activation or config.activation}
    return {name: value for name, value in facts.items() if name != "rope_base" or config.positions == "rotary"}


def words(value):
    """A value of JSON: a dictionary by what its values say, but for the digest (bpe 2048), a list as it is typed (q+v)."""
    if isinstance(value, dict):
        return " ".join(str(part) for name, part in value.items() if name != "digest")
    return ("+".join(map(str, value)) or "all") if isinstance(value, list) else value
