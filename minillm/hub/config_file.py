"""config.json of transformers: which model it describes, as a Config; and the inverse.

A model is read only if it computes here what it computes there. So each setting that would change that is looked at, and what
minillm does not know is refused by its name.
"""

from typing import NamedTuple

from ..ground.files import JSON_BYTES, CheckpointError, parsed, read_bytes
from ..ground.schema import anything, flag, many, maybe, number, shown, table, text, whole
from ..nn import Config
from ..nn.block import BIASES, SUBLAYERS
from ..nn.config import FORMS, OPTIONAL
from .names import GPT2, LLAMA, STARCODER2, Family

ACTIVATIONS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu"}      # of an MLP: theirs, ours
BIASES_OF = {tuple(sublayer in biased for sublayer in SUBLAYERS): name for name, biased in BIASES.items()}
SIZE = whole(1, 10_000_000)
CONTEXT = whole(1)      # in a file; how much of it is read is decided later
HIDDEN = whole(1, OPTIONAL["n_hidden"])


class ModelType(NamedTuple):
    """A model of transformers.

    parts       what all such models are built of, as arguments of Config
    fields      {argument of Config: (name in config.json, its form, its value if it is missing, or ... if it may not be)}
    biases      the flags that say whether attention and MLP have biases, unless `parts` says it
    usual       what else holds if it is missing
    lacks       endings of names that its files do not have, and that are zero here
    aliases     {second name: first name} of settings that have two; there, the second wins
    ignores     settings of other types, which change nothing here
    """

    architecture: str
    family: Family
    parts: dict
    fields: dict
    biases: tuple = ()
    usual: dict = {}
    lacks: tuple = ()
    aliases: dict = {}
    ignores: tuple = ()


def sizes(kv_heads, tied):
    """Fields of all models since Llama, with what differs in value if it is left out."""
    return {"vocab_size": ("vocab_size", FORMS["vocab_size"], ...), "context": ("max_position_embeddings", CONTEXT, ...),
            "n_layer": ("num_hidden_layers", FORMS["n_layer"], ...), "n_head": ("num_attention_heads", FORMS["n_head"], ...),
            "n_embd": ("hidden_size", FORMS["n_embd"], ...), "n_kv_head": ("num_key_value_heads", FORMS["n_kv_head"], kv_heads),
            "n_hidden": ("intermediate_size", HIDDEN, ...), "tied": ("tie_word_embeddings", FORMS["tied"], tied)}


RMS = {"norm_eps": ("rms_norm_eps", FORMS["norm_eps"], 1e-6)}
ROTARY = {"positions": "rotary"}
SWIGLU = ROTARY | {"norm": "rmsnorm", "mlp": "swiglu"}
MODEL_TYPES = {
    "gpt2": ModelType("GPT2LMHeadModel", GPT2, {"biases": "all"}, {
        "context": ("n_positions", CONTEXT, ...), "n_hidden": ("n_inner", FORMS["n_hidden"], None),
        "activation": ("activation_function", text(), "gelu_new"), "norm_eps": ("layer_norm_epsilon", FORMS["norm_eps"], 1e-5),
        "tied": ("tie_word_embeddings", FORMS["tied"], True)} | {
        name: (name, FORMS[name], ...) for name in ("vocab_size", "n_layer", "n_head", "n_embd")}, aliases={
            "hidden_size": "n_embd", "max_position_embeddings": "n_positions", "num_attention_heads": "n_head",
            "num_hidden_layers": "n_layer"}),
    "llama": ModelType("LlamaForCausalLM", LLAMA, SWIGLU, sizes(None, False) | RMS,
                       ("attention_bias", "mlp_bias"), {"attention_bias": False, "mlp_bias": False}),
    "mistral": ModelType("MistralForCausalLM", LLAMA, SWIGLU | {"biases": "none"}, sizes(..., False) | RMS,
                         usual={"sliding_window": 4096}, ignores=("use_sliding_window",)),
    "qwen2": ModelType("Qwen2ForCausalLM", LLAMA, SWIGLU | {"biases": "attention"}, sizes(..., False) | RMS,
                       usual={"use_sliding_window": False, "sliding_window": 4096}, lacks=("self_attn.o_proj.bias",)),
    "starcoder2": ModelType("Starcoder2ForCausalLM", STARCODER2, ROTARY, sizes(..., True) | {
        "activation": ("hidden_act", text(), "gelu_pytorch_tanh"), "norm_eps": ("norm_epsilon", FORMS["norm_eps"], 1e-5)},
        ("use_bias", "use_bias"), {"use_bias": True}, ignores=("use_sliding_window",))}

# What else such a file may say. Of each the form, and the values with which nothing changes; or else the model is refused.
NEUTRAL = {
    "scale_attn_weights": (maybe(flag), (None, True)), "scale_attn_by_inverse_layer_idx": (maybe(flag), (None, False)),
    "add_cross_attention": (maybe(flag), (None, False)), "is_encoder_decoder": (maybe(flag), (None, False)),
    "pretraining_tp": (maybe(number()), (None, 1)), "partial_rotary_factor": (maybe(number()), (None, 1)),
    "num_local_experts": (maybe(number()), (None, 0, 1)), "num_experts": (maybe(number()), (None, 0, 1)),
    "n_routed_experts": (maybe(number()), (None, 0, 1)), "vision_config": (anything, (None,)),
    "audio_config": (anything, (None,)), "text_config": (anything, (None,)), "quantization_config": (anything, (None,)),
    "no_rope_layers": (anything, (None,)), "qk_norm": (anything, (None, False)), "use_qk_norm": (anything, (None, False)),
    "is_causal": (flag, (True,)), "attention_chunk_size": (anything, (None,)), "per_layer_config": (anything, (None, {})),
    "transformers_weights": (anything, (None,)), "configuration_files": (anything, (None, [])), "attribute_map": (anything, ())}
WHY = {"quantization_config": "its weights are quantised, and minillm reads plain numbers (F32, F16, BF16) only",
       "add_cross_attention": "it also attends to another text (cross-attention)",
       "is_encoder_decoder": "it is an encoder with a decoder", "pretraining_tp": "its layers were split for several machines",
       "partial_rotary_factor": "only a part of each head is turned by its position",
       "is_causal": "its attention also looks ahead", "attention_chunk_size": "its attention is cut into chunks",
       "per_layer_config": "its layers differ from each other", "transformers_weights": "its weights are in another file",
       "configuration_files": "its settings are in another file", "attribute_map": "its settings have other names"}
WHY |= dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), "it is a mixture of experts")
WHY |= dict.fromkeys(("vision_config", "audio_config", "text_config"), "it reads more than text")
ROPE = ("rope_type", "type", "rope_theta", "partial_rotary_factor")      # of a table for rotary positions


class Described(NamedTuple):
    """What a config.json says."""

    config: Config
    model_type: ModelType
    ends: tuple          # the ids after which a text is over; the first is the usual one


def read_config(path, context=None):
    """What a config.json says. CheckpointError names what is missing, wrong or unknown here.

    context     a smaller one than the model's own
    """
    json = parsed(read_bytes(path, JSON_BYTES, "config.json"), path)
    try:
        if not isinstance(json, dict):
            raise ValueError("it is not a dictionary")
        for name, (form, neutral) in NEUTRAL.items():
            if name in json and form(json[name], name) not in neutral:
                raise ValueError(f"{name} is {shown(json[name])}: {WHY.get(name, 'minillm cannot compute that')}")
        model_type = type_of(json)
        settings = {name: value for name, value in json.items() if name not in model_type.ignores}
        return Described(config_of(model_type.usual | settings, model_type, context), model_type, ends_of(json))
    except ValueError as error:
        raise CheckpointError(f"{path} does not describe a model that minillm can read: {error}") from None


def ends_of(json):
    """eos_token_id, which is one id, several or none."""
    ends = json.get("eos_token_id")
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    return tuple(many(whole())(ends, "eos_token_id"))


def type_of(json):
    """The ModelType that a file names. ValueError lists those that are known."""
    name = text(100)(json.get("model_type", ""), "model_type")
    if name not in MODEL_TYPES:
        own_code = " (it needs program code of its own)" if json.get("auto_map") else ""
        raise ValueError(f"its model_type is {shown(name)}{own_code}, and minillm knows {', '.join(MODEL_TYPES)}")
    model_type = MODEL_TYPES[name]
    bare = model_type.architecture.replace("LMHeadModel", "Model").replace("ForCausalLM", "Model")
    for architecture in maybe(many(text(200)))(json.get("architectures"), "architectures") or ():
        if architecture not in (model_type.architecture, bare):
            raise ValueError(f"it is a {architecture[:60]}, and minillm has language models only: {model_type.architecture}")
    return model_type


def config_of(json, model_type, context):
    """The Config. ValueError for a value of a wrong type, and for what minillm does not compute."""
    config = dict(model_type.parts)
    for name, (theirs, form, missing) in model_type.fields.items():
        if theirs not in json and missing is ...:
            raise ValueError(f"{theirs} is missing")
        config[name] = form(json.get(theirs, missing), theirs)
    for alias, name in model_type.aliases.items():
        if json.get(alias, json[name]) != json[name]:
            raise ValueError(f"{name} is {json[name]}, and {alias}, another name for it, is {shown(json[alias])}")
    if "activation" in config:
        config["activation"] = activation_of(config["activation"])
    elif text()(json.get("hidden_act", "silu"), "hidden_act") not in ("silu", "swish"):
        raise ValueError(f"its activation is {shown(json['hidden_act'])}, where minillm's gated MLP knows silu")
    config["context"] = context_of(config["context"], model_type.fields["context"][0], context)
    if config.get("positions") == "rotary":
        config["rope_base"] = rope_base(json)
    check_windows(json, config["context"])
    if model_type.biases:
        config["biases"] = BIASES_OF[tuple(flag(json[name], name) for name in model_type.biases)]
    head_dim = maybe(SIZE)(json.get("head_dim"), "head_dim")
    config = Config(**config)
    if head_dim not in (None, config.head_dim):
        raise ValueError(f"head_dim is {head_dim}, where minillm's heads share the width: {config.n_embd} / {config.n_head} = "
                         f"{config.head_dim}")
    return config


def context_of(own, name, wanted):
    """The context: the model's own, whose name in the file is given, or a smaller one that is wanted."""
    if wanted and wanted > own:
        raise ValueError(f"its own context is {own}, and --context can only make it smaller")
    try:
        return FORMS["context"](wanted or own, name)
    except ValueError as error:
        raise ValueError(f"{error}; --context N reads it with fewer tokens") from None


def activation_of(name):
    if name not in ACTIVATIONS:
        hint = ": it is GELU by the error function, where minillm has the form by tanh" if name == "gelu" else ""
        raise ValueError(f"its activation is {shown(name)}{hint}; minillm knows {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def rope_base(json):
    """theta, wherever a file of any year has it. ValueError for positions that are stretched in some way, and for two thetas."""
    tables = {name: maybe(table(anything))(json.get(name), name) or {} for name in ("rope_scaling", "rope_parameters")}
    for where, part in tables.items():
        for name, value in part.items():
            if name in ("rope_type", "type") and value not in (None, "default"):
                raise ValueError(f"its rotary positions are of the type {shown(value)}, and minillm has the plain ones")
            if name == "partial_rotary_factor" and value not in (None, 1):
                raise ValueError(f"partial_rotary_factor is {shown(value)}: {WHY[name]}")
            if name not in ROPE and value is not None:      # a table for each type of layer, say
                raise ValueError(f"{where} has {shown(name)}, which minillm does not know")
    thetas = {FORMS["rope_base"](part["rope_theta"], "rope_theta") for part in (json, *tables.values()) if "rope_theta" in part}
    if len(thetas) > 1:
        raise ValueError(f"it has two values of rope_theta, {min(thetas):g} and {max(thetas):g}")
    return thetas.pop() if thetas else 10_000.0


def check_windows(json, context):
    """ValueError if a text as long as the context would be seen through a window that slides over it."""
    window = maybe(SIZE)(json.get("sliding_window"), "sliding_window")
    if not flag(json.get("use_sliding_window", True), "use_sliding_window"):
        window = None
    kinds = set(maybe(many(text(100)))(json.get("layer_types"), "layer_types") or ()) - {"full_attention"}
    if kinds - {"sliding_attention"}:
        raise ValueError(f"it has layers of the type {shown(min(kinds))}, which minillm does not know")
    if window is not None and window < context:
        raise ValueError(f"its attention looks back through a sliding window of {window} tokens, which minillm does not have; "
                         f"with --context {window} it makes no difference")
    if kinds and window is None:
        raise ValueError("it has layers of sliding_attention, and does not say how wide their window is")


# Writing.

def type_for(config):
    """(name, ModelType) of the model of transformers that computes what this one does. ValueError says why there is none."""
    rotary = config.positions == "rotary"
    if not rotary and (config.norm, config.mlp) == ("layernorm", "mlp"):
        if config.kv_heads != config.n_head:
            raise ValueError("GPT-2, as transformers has it, has keys and values for each head of queries, and in this model "
                             f"{config.n_head} heads share {config.kv_heads}")
        return "gpt2", MODEL_TYPES["gpt2"]
    if rotary and (config.norm, config.mlp) == ("rmsnorm", "swiglu"):
        return "llama", MODEL_TYPES["llama"]
    if rotary and (config.norm, config.mlp) == ("layernorm", "mlp"):
        return "starcoder2", MODEL_TYPES["starcoder2"]
    raise ValueError(f"no model of transformers that minillm knows has {config.positions} positions, {config.norm} and "
                     f"{config.mlp} together: GPT-2 has learned, layernorm and mlp, Llama rotary, rmsnorm and swiglu, and "
                     "StarCoder2 rotary, layernorm and mlp")


def biases_for(config):
    """The biases that a file has. Those that the model lacks are zeros, where transformers knows them only together."""
    _, model_type = type_for(config)
    together = len(set(model_type.biases)) < 2
    return "all" if model_type.parts.get("biases") == "all" or together and config.biases != "none" else config.biases


def config_json(config, dtype):
    """config.json for a model, whose biases are those of `biases_for`."""
    name, model_type = type_for(config)
    activations = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    values = {ours: getattr(config, ours) for ours in model_type.fields}
    values |= {"n_kv_head": config.kv_heads, "n_hidden": config.hidden, "activation": activations[config.activation]}
    json = {"architectures": [model_type.architecture], "model_type": name, "dtype": str(dtype)}
    json |= {theirs: values[ours] for ours, (theirs, _, _) in model_type.fields.items()}
    json |= {flag: sublayer in BIASES[config.biases] for flag, sublayer in zip(model_type.biases, SUBLAYERS)}
    if config.positions == "rotary":
        return json | {"head_dim": config.head_dim, "hidden_act": json.get("hidden_act", "silu"), "attention_dropout": 0.0,
                       "rope_theta": config.rope_base,
                       "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_base}}
    return json | dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
