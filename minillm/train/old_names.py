"""What was called something else when a file was written."""

import re


def current_name(name):
    """Today's name of a parameter, given the name in a file.

    A prefix was once inserted around a whole attention sublayer, and now around the heads in it:
    `blocks.0.attn.prefix.keys` -> `blocks.0.attn.heads.prefix.keys`.
    """
    return re.sub(r"^(blocks\.\d{1,9}\.attn)\.prefix\.(?=(keys|values|gate)\Z)", r"\1.heads.prefix.", name)


def current_recipe(json):
    """A recipe as its JSON would be today.

    LoRA's `targets` once named the six linear maps of a block of GPT-2 where it meant all that there are.
    """
    return json | {"targets": ["all"]} if json.get("targets") == ["q", "k", "v", "o", "fc", "proj"] else json
