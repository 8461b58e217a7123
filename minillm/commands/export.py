"""minillm export: write a model, or an adapter, as a folder of transformers or peft."""

from ..hub.folders import export
from ..runs.saved import load
from ..text.tokenizer import IdTokenizer
from .options import add_model, path
from .output import print_json

SUMMARY = "Write a model, or an adapter, as a folder of Hugging Face's transformers or peft."
EXAMPLES = ("runs/demo/pretrained.npz --out to-share", "runs/demo/lora.npz --out lora-to-share")
NOTES = ("A model becomes GPT-2, Llama or StarCoder2, whichever computes the same. Of adapters, peft has lora, dora, ia3 and,\n"
         "if the base has rotary positions, prefix:gate=no and prompt; whoever loads one needs its base, so export that, too,\n"
         "or merge the two first. Needs the package safetensors: pip install 'minillm[hub]'")
WRITES_FILES = True


def add_options(parser):
    add_model(parser)
    parser.add_argument("--out", required=True, type=path, metavar="FOLDER",
                        help="folder to write: a new one, or that of an earlier export")


def run(args):
    loaded = load(args.checkpoint, args.base)
    kind = export(loaded, args.out)
    if kind == "model" and isinstance(loaded.tokenizer, IdTokenizer):
        print("this model has no tokenizer, so none is written")
    reader = "PeftModel.from_pretrained, onto its base" if kind == "adapter" else "AutoModelForCausalLM.from_pretrained"
    print(f"{args.out}: for {reader}")
    print_json(args, {"kind": kind})
