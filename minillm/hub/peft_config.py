"""adapter_config.json of peft: what it may say for an adapter to mean here what it means there.

Dropout, how the first weights were drawn and the like change nothing once an adapter is trained. Which modules it is for is read
from the names of its weights; where the settings leave out one of these, peft would, too, so it is refused.
"""

from ..ground.files import JSON_BYTES, CheckpointError, parsed, read_bytes
from ..ground.schema import anything, either, flag, many, maybe, number, one_of, record, shown, table, text, whole
from .config_file import SIZE

FORMS = {
    "LORA": record({"r": SIZE, "lora_alpha": number(), "use_rslora?": flag, "use_dora?": flag,
                    "rank_pattern?": maybe(table(SIZE)), "alpha_pattern?": maybe(table(number())),
                    "init_lora_weights?": anything}),
    "IA3": record({"feedforward_modules?": anything}),
    "PREFIX_TUNING": record({"num_virtual_tokens": SIZE}),
    "PROMPT_TUNING": record({"num_virtual_tokens": SIZE})}
READ = {"LORA": ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "init_lora_weights",
                 "lora_dropout", "layers_to_transform", "layers_pattern", "megatron_core", "qalora_group_size", "loftq_config",
                 "eva_config", "corda_config", "lora_ga_config", "runtime_config", "ensure_weight_tying"),
        "IA3": ("init_ia3_weights", "feedforward_modules"),
        "PREFIX_TUNING": ("encoder_hidden_size", "init_weights"),
        "PROMPT_TUNING": ("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs")}
OF_ALL = ("peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "peft_version",
          "target_modules", "exclude_modules", "fan_in_fan_out")
OF_PROMPTS = ("num_virtual_tokens", "num_layers", "num_attention_heads", "token_dim", "num_transformer_submodules")
STARTS = ("gaussian", "orthogonal", "eva")      # of LoRA, which leave the base as it is; PiSSA, OLoRA and others change it, too
NAMES = maybe(either(text(), many(text()), "a text or a list of texts"))
NUMBERS = maybe(either(whole(), many(whole()), "a whole number or a list of them"))
COMMON = record({"peft_type": one_of(*FORMS), "task_type?": maybe(text(100)), "target_modules?": NAMES, "exclude_modules?": NAMES,
                 "layers_to_transform?": NUMBERS})


def read_adapter_config(path):
    """The content of an adapter_config.json. CheckpointError names what is missing, wrong, or has no place here."""
    json = parsed(read_bytes(path, JSON_BYTES, "adapter_config.json"), path)
    try:
        kind = COMMON(json, "it")["peft_type"]
        FORMS[kind](json, "it")
        if json.get("task_type") not in (None, "CAUSAL_LM"):
            raise ValueError(f"it is for the task {shown(json['task_type'])}, and minillm has language models (CAUSAL_LM)")
        if "num_virtual_tokens" in json and json.get("task_type") is None:
            raise ValueError("it names no task_type, without which peft puts nothing before a text; it should be CAUSAL_LM")
        known = {*OF_ALL, *READ[kind], *(OF_PROMPTS if "num_virtual_tokens" in json else ())}
        for name, value in json.items():
            if name not in known and value not in (None, False, "none", [], {}):
                raise ValueError(f"it has {shown(name)} set to {shown(value)}, which minillm does not know")
        start = json.get("init_lora_weights", True)
        if not isinstance(start, bool) and start not in STARTS:
            raise ValueError(f"it was begun as {shown(start)}, for which the base was changed as well, so it belongs to no base "
                             "that is at hand")
        return json
    except ValueError as error:
        raise CheckpointError(f"{path} does not describe an adapter that minillm can read: {error}") from None


def endings(module):
    """The name of a module, and all that it ends with: "a.b.c", "b.c", "c"."""
    words = module.split(".")
    return [".".join(words[i:]) for i in range(len(words))]


def must_be_targets(config, blocks):
    """ValueError if the settings leave out a module for which there are weights: peft would compute without them.

    blocks      {full name of a module: number of its block}
    What is one text there is a regular expression, which is not tried: some take forever.
    """
    targets, excluded, numbers = (config.get(name) for name in ("target_modules", "exclude_modules", "layers_to_transform"))
    if targets is None:
        raise ValueError("it has no target_modules, so peft would choose the modules itself")
    targets, excluded = (set(names) if isinstance(names, list) else None for names in (targets, excluded))
    numbers = [numbers] if isinstance(numbers, int) else numbers
    for module, block in blocks.items():
        names = endings(module)
        for setting, out in (("target_modules", targets is not None and targets.isdisjoint(names)),
                             ("exclude_modules", excluded is not None and not excluded.isdisjoint(names)),
                             ("layers_to_transform", numbers and block not in numbers)):
            if out:
                raise ValueError(f"it holds weights for {module}, which its {setting} leaves out")


def values_of(patterns, modules):
    """{module: value} by a rank_pattern or alpha_pattern: of each module that has one, that of the first key that names it.

    Keys are ends of names, or whole names after ^, whose first word may be left out, as in names of weights. There they are
    regular expressions. ValueError for one that is more than a name.
    """
    named, values = {}, {}
    for module in modules:
        for i, end in enumerate(endings(module)):
            named.setdefault(end, []).append((module, i < 2))
    for key, value in (patterns or {}).items():
        name = key.removeprefix("^").replace("\\.", ".")
        if not all(part.replace("_", "a").isalnum() for part in name.split(".")):
            raise ValueError(f"its pattern {shown(key)} is a regular expression, where minillm reads plain names of modules")
        for module, whole_name in named.get(name, ()):
            if whole_name or not key.startswith("^"):
                values.setdefault(module, value)
    return values


def adapter_config(kind, **settings):
    """adapter_config.json for a new adapter."""
    return {"peft_type": kind, "task_type": "CAUSAL_LM", "base_model_name_or_path": None, "inference_mode": True} | settings
