"""minillm merge: merge an adapter into its base."""

from pathlib import Path

from ..finetune.merge import merge
from ..finetune.summary import parameter_counts
from ..finetune.wrapper import inserted
from ..ground.ownership import not_others
from ..runs.saved import load
from ..train.checkpoint import save_model
from .inputs import keep_base
from .options import add_base_of_adapter, path
from .output import print_json

SUMMARY = "Merge an adapter into its base: one model, as small and as fast as the base."
EXAMPLES = ("runs/demo/lora.npz --out runs/demo/merged.npz",)
WRITES_FILES = True


def add_options(parser):
    parser.add_argument("checkpoint", type=path, help="file of an adapter made by lora, dora, ia3 or frozen")
    add_base_of_adapter(parser)
    parser.add_argument("--out", required=True, type=path, metavar="FILE", help="file to write (.npz)")


def run(args):
    loaded = load(args.checkpoint, args.base)
    keep_base(args.checkpoint, args.out, "--out")
    not_others(args.out, kinds=("model", "adapter"))
    if loaded.meta["kind"] == "adapter":
        keep_base(args.base or Path(args.checkpoint).parent / loaded.meta["base"]["path"], args.out, "--out")
    if inserted(loaded.model) or loaded.meta["kind"] != "adapter":          # an adapter may be only new values of old weights
        merge(loaded.model)
    origin = {name: loaded.meta[name] for name in ("task", "recipe", "seed") if name in loaded.meta}
    save_model(args.out, loaded.model, loaded.tokenizer, **origin, merged=True)
    print(args.out)
    print_json(args, parameter_counts(loaded.model))
