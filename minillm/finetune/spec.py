"""Settings as a text that is easy to type: `name:option=value,option=a+b`. What can be set are the fields of a dataclass."""

import math
from dataclasses import fields
from typing import get_args, get_origin, get_type_hints

from ..ground.schema import flag, many, number, record, text, whole

USUAL = "usual"      # of an option that is 0 inside, and for which 0 would make no sense
WORDS = {"yes": True, "true": True, "no": False, "false": False}


def made_of(kind, name, options):
    """kind(**options) for a dataclass, from `option=value,...`. ValueError names the option and what it can be."""
    hints = get_type_hints(kind)
    valid = {field.name: hints[field.name] for field in fields(kind)}
    values, nonzero = {}, getattr(kind, "nonzero", ())
    for pair in filter(None, options.split(",")):
        option, equals, value = pair.partition("=")
        if option not in valid:
            if not equals:
                raise ValueError(f"{name}: {pair!r} is no option=value; options are joined by commas, several values of one by +")
            known = f"has the options {', '.join(valid)}" if valid else "has no options"
            raise ValueError(f"{name} has no option {option!r}; it {known}")
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
            raise ValueError(f"the option {option} of {name} is 0, so that nothing could ever change; write {option}={USUAL} or "
                             "leave it out")
    return kind(**values)


def converted(value, kind):
    if get_origin(kind) is tuple:
        return tuple(converted(part, get_args(kind)[0]) for part in value.split("+"))
    found = WORDS[value.lower()] if kind is bool else kind(value)
    if kind is float and not math.isfinite(found):
        raise ValueError
    return found


def restored(kind, values):
    """kind(**values) from what JSON has kept of a dataclass. ValueError if a value is not of its field's type."""
    hints = get_type_hints(kind)
    valid = {field.name: form_of(hints[field.name]) for field in fields(kind)}
    record({f"{name}?": form for name, form in valid.items()}, exact=True)(values, "it")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def form_of(kind):
    """What a field may be in JSON (schema.py)."""
    if get_origin(kind) is tuple:
        return many(form_of(get_args(kind)[0]), most=1000)
    return {bool: flag, int: whole(-2 ** 53), float: number(), str: text(1000)}[kind]


def described(kind):
    if get_origin(kind) is tuple:
        return f"{described(get_args(kind)[0])}, or several joined by +"
    return {bool: "yes or no", int: "a whole number", float: "a number", str: "a word"}[kind]


def text_of(thing):
    """The inverse: name and options, without those that are at their defaults."""
    chosen = [f"{field.name}={shown(getattr(thing, field.name))}" for field in fields(thing)
              if getattr(thing, field.name) != field.default]
    return f"{thing.method}:{','.join(chosen)}" if chosen else thing.method


def shown(value):
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    if isinstance(value, bool):
        return ("no", "yes")[value]
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def options_of(kind):
    """What can be set of a dataclass, and to what it is set at first, as a text for help."""
    def first(field):
        return USUAL if field.name in getattr(kind, "nonzero", ()) and not field.default else shown(field.default) or "all"

    return "  ".join(f"{field.name}={first(field)}" for field in fields(kind))
