"""minillm import: read a model, or an adapter, from a folder of transformers or peft."""

from pathlib import Path

from ..finetune.adapter_file import save_specialist
from ..finetune.methods import from_json
from ..finetune.summary import parameter_counts
from ..ground.ownership import not_others
from ..hub.folders import ADAPTER_CONFIG, from_pretrained, is_adapter
from ..text.tokenizer import IdTokenizer
from ..train.checkpoint import save_model
from .inputs import keep_base, load_base
from .options import COUNT, path
from .output import print_json

SUMMARY = "Read a model, or an adapter, from a folder of Hugging Face's transformers or peft."
EXAMPLES = ("SmolLM2-135M --out runs/smol/base.npz", "SmolLM2-135M --context 1024 --out runs/smol/base.npz",
            "my-lora --base runs/smol/base.npz --out runs/smol/lora.npz")
NOTES = ("A model's folder holds config.json, model.safetensors (or its shards) and tokenizer.json. Known are GPT-2, Llama,\n"
         "Mistral, Qwen2 and StarCoder2; what cannot be computed here is refused by its name. An adapter's folder holds\n"
         "adapter_config.json and adapter_model.safetensors; if minillm wrote it, it goes onto its own base only, and else onto\n"
         "any base of the right shape. Needs the package safetensors: pip install 'minillm[hub]'")
WRITES_FILES = True


def add_options(parser):
    parser.add_argument("folder", type=path, help="folder of a model, or of an adapter")
    parser.add_argument("--out", required=True, type=path, metavar="FILE", help="file to write (.npz)")
    parser.add_argument("--base", type=path, metavar="FILE", help="file of the adapter's base (.npz)")
    parser.add_argument("--context", type=COUNT, metavar="N",
                        help="read at most so many tokens, to save memory (default: the model's own context)")
    parser.add_argument("--ids", action="store_true", help="leave the tokenizer out: texts are then numbers")


def summary(loaded):
    """The model in a few words."""
    config = loaded.model.config
    numbers = parameter_counts(loaded.model)["total_parameters"]
    return f"{config.n_layer} blocks, width {config.n_embd}, context {config.context:,d}, {numbers:,d} numbers"


def run(args):
    not_others(args.out, kinds=("model", "adapter"))
    if not Path(args.folder).exists():
        raise ValueError(f"there is no folder {args.folder}; minillm downloads nothing: get it first, as with   hf download "
                         "HuggingFaceTB/SmolLM2-135M --local-dir SmolLM2-135M")
    adapter = is_adapter(args.folder)
    if adapter and args.base is None:
        raise ValueError(f"{args.folder} is an adapter; name the model that it belongs to with --base")
    odd = [option for option in (("context", "ids") if adapter else ("base",)) if option in args.given]
    if odd:
        what = "an adapter" if adapter else f"no adapter, for there is no {ADAPTER_CONFIG} in it"
        raise ValueError(f"{args.folder} is {what}, so --{odd[0]} has no meaning for it")
    if adapter and Path(args.base).is_dir():
        raise ValueError(f"{args.base} is a folder; import the base first, and name the .npz file that you get")
    base = load_base(args.base) if adapter else None
    if adapter:
        keep_base(args.base, args.out, "--out")
    loaded = from_pretrained(args.folder, base, args.context, args.ids)
    if adapter:
        save_specialist(args.out, loaded.model, loaded.tokenizer, from_json(loaded.meta["recipe"]), args.base,
                        loaded.meta["base"]["fingerprint"])
    else:
        save_model(args.out, loaded.model, loaded.tokenizer, imported=loaded.meta["imported"])
        if isinstance(loaded.tokenizer, IdTokenizer):
            why = "without its tokenizer" if args.ids else f"there is no tokenizer.json in {args.folder}"
            print(f"{why}: the texts of this model are ids, numbers with spaces between them")
    what = f"an adapter, {loaded.meta['recipe']['method']}" if adapter else loaded.meta["imported"]
    print(f"{args.out}: {what}; {summary(loaded)}")
    print_json(args, parameter_counts(loaded.model))
