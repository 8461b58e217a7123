"""Options as a text that is easy to type, `name:option=value,option=a+b`: they are the fields of a dataclass."""

import math
from dataclasses import fields
from difflib import get_close_matches
from typing import get_args, get_origin, get_type_hints

from ..ground.schema import flag, many, number, record, text, whole

USUAL = "usual"      # what a user writes for the default of an option that is stored as 0, where 0 itself would make no sense
WORDS = {"yes": True, "true": True, "no": False, "false": False}


def named(name, table, noun, nouns):
    """What has this name in a table. ValueError lists the names, and says which of them may have been meant."""
    if name not in table:
        near = get_close_matches(name, table, n=1)
        raise ValueError(f"there is no {noun} {name!r}{f'; did you mean {near[0]}?' if near else ''}; {nouns} are "
                         f"{', '.join(table)}")
    return table[name]


def from_options(kind, name, options):
    """An instance of the dataclass `kind`, from a text `option=value,...`. ValueError names the option and its valid values."""
    hints = get_type_hints(kind)
    valid = {field.name: hints[field.name] for field in fields(kind)}
    values, nonzero = {}, getattr(kind, "nonzero", ())
    for pair in filter(None, options.split(",")):
        option, equals, value = pair.partition("=")
        if option not in valid:
            if not equals:
                raise ValueError(f"{name}: {pair!r} is not option=value; join options by commas, and several values by +")
            known = {0: "it has no options", 1: "its only option is "}.get(len(valid), "it has the options ")
            raise ValueError(f"{name} has no option {option!r}; {known}{', '.join(valid)}")
        if not equals or not value:
            raise ValueError(f"the option {option} of {name} has no value; write {option}=VALUE")
        if value == USUAL and option in nonzero:
            continue
        try:
            values[option] = converted(value, valid[option])
        except (ValueError, KeyError):
            raise ValueError(f"the option {option} of {name} cannot be {value!r}: it takes {described(valid[option])}") from None
    for option in nonzero:
        if values.get(option) == 0:
            raise ValueError(f"the option {option} of {name} is 0, so nothing could ever change; write {option}={USUAL} or "
                             "leave it out")
    return kind(**values)


def converted(value, kind):
    """A text as a value of a field's type. ValueError or KeyError if that is impossible."""
    if get_origin(kind) is tuple:
        return tuple(converted(part, get_args(kind)[0]) for part in value.split("+"))
    result = WORDS[value.lower()] if kind is bool else kind(value)
    if kind is float and not math.isfinite(result):
        raise ValueError
    return result


def restored(kind, values):
    """An instance of the dataclass `kind`, from its fields in JSON. ValueError if a value is not of its field's type."""
    hints = get_type_hints(kind)
    valid = {field.name: form_of(hints[field.name]) for field in fields(kind)}
    record({f"{name}?": form for name, form in valid.items()}, exact=True)(values, "it")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def form_of(kind):
    """The schema of a field of this type in JSON (ground/schema.py)."""
    if get_origin(kind) is tuple:
        return many(form_of(get_args(kind)[0]), most=1000)
    return {bool: flag, int: whole(-2 ** 53), float: number(), str: text(1000)}[kind]


def described(kind):
    """The values of a type, in words."""
    if get_origin(kind) is tuple:
        return f"{described(get_args(kind)[0])}, or several joined by +"
    return {bool: "yes or no", int: "a whole number", float: "a number", str: "a word"}[kind]


def text_of(method):
    """The text of a recipe or a remedy: its name, and the options that differ from their defaults."""
    options = [f"{field.name}={shown(getattr(method, field.name))}" for field in fields(method)
               if getattr(method, field.name) != field.default]
    return f"{method.method}:{','.join(options)}" if options else method.method


def shown(value):
    """A value as it is typed."""
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    if isinstance(value, bool):
        return ("no", "yes")[value]
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def options_of(kind):
    """The options of a dataclass with their defaults, as a text for help."""
    def default(field):
        return USUAL if field.name in getattr(kind, "nonzero", ()) and not field.default else shown(field.default) or "all"

    return "  ".join(f"{field.name}={default(field)}" for field in fields(kind))
