"""The options that choose what a new model is built of."""

from ..nn.block import MLPS
from ..nn.config import ARCHITECTURES, NUMBERS, OPTIONAL, PARTS
from .options import number

HELP = {"norm": "what brings features to one size before each sublayer", "positions": "how a model knows them: by a learned "
        "table, or by rotation", "mlp": "kind of MLP", "activation": "of an MLP of the kind mlp", "biases": "which linear layers "
        "have biases"}
LEAST_BASE = 100.0      # of rotary positions; the field's 10,000 was chosen for contexts of thousands


def add_architecture(parser):
    parser.add_argument("--arch", choices=ARCHITECTURES, default="gpt2",
                        help="whose blocks: GPT-2's (2019), or those that most open models have had since Llama (2023)")
    for part, choices in PARTS.items():
        parser.add_argument(f"--{part}", choices=choices, help=f"{HELP[part]} (default: as in --arch)")
    for option, name, text in (
            ("--kv-heads", "n_kv_head", "heads of keys and values, each shared by several heads of queries (default: as many as "
             "--heads)"),
            ("--hidden", "n_hidden", "hidden features of the MLP (default: 4 x width; of a SwiGLU, about 8/3 x width)")):
        parser.add_argument(option, type=number(int, 1, OPTIONAL[name]), metavar="N", help=text)
    parser.add_argument("--rope-base", type=number(float, *NUMBERS["rope_base"]), metavar="N",
                        help=f"base of the angles of rotary positions (default: the context, but at least {LEAST_BASE:g})")
    parser.add_argument("--untied", action="store_true", help="give the output layer a table of its own")


def architecture_of(args, context):
    """The arguments of Config that the options choose, for texts of this length."""
    chosen = {part: getattr(args, part) for part in PARTS} | {"n_kv_head": args.kv_heads, "n_hidden": args.hidden}
    config = ARCHITECTURES[args.arch] | {name: value for name, value in chosen.items() if value is not None}
    own = MLPS[config.get("mlp", "mlp")].activation
    if args.activation and own:
        raise ValueError(f"--activation is of an MLP of the kind mlp; {config['mlp']} always has {own}")
    if config.get("positions") == "rotary":
        config["rope_base"] = args.rope_base or max(LEAST_BASE, float(context))
    elif args.rope_base:
        raise ValueError("--rope-base is for rotary positions; add --positions rotary")
    return config | {"tied": not args.untied}
