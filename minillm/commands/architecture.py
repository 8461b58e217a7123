"""The options that choose what a new model is built of."""

from ..nn.config import ARCHITECTURES, PARTS
from .options import number

ROPE_BASE = 100.0      # for short texts; the field's 10,000 was chosen for contexts of thousands


def add_architecture(parser):
    parser.add_argument("--arch", choices=ARCHITECTURES, default="gpt2",
                        help="whose blocks: GPT-2's (2019), or those that most open models have had since Llama (2023)")
    for part, choices in PARTS.items():
        parser.add_argument(f"--{part}", choices=choices, help=f"{part} of another kind than --arch has")
    parser.add_argument("--kv-heads", type=number(int, 1, 1000), metavar="N",
                        help="heads of keys and values, each shared by several heads of queries (default: as many as --heads)")
    parser.add_argument("--hidden", type=number(int, 1, 1_000_000), metavar="N",
                        help="hidden features of the MLP (default: 4 x width; of a SwiGLU, about 8/3 x width)")
    parser.add_argument("--rope-base", type=number(float, above=0, high=1e12), metavar="N",
                        help="rotary positions: how slow the slowest turn is; for texts of at most a few hundred tokens, 100 is "
                             f"good (default: {ROPE_BASE:g})")
    parser.add_argument("--untied", action="store_true", help="give the output layer a table of its own")


def architecture_of(args):
    """The arguments of Config that the options choose."""
    chosen = {part: getattr(args, part) for part in PARTS} | {"n_kv_head": args.kv_heads, "n_hidden": args.hidden}
    config = ARCHITECTURES[args.arch] | {name: value for name, value in chosen.items() if value is not None}
    if config.get("positions") == "rotary":
        config["rope_base"] = args.rope_base or ROPE_BASE
    elif args.rope_base:
        raise ValueError("--rope-base is for rotary positions; add --positions rotary")
    return config | {"tied": not args.untied}
