"""Forms: what a value from a file must look like. A form is a function form(value, where) -> the value, or a ValueError.

The error says in one sentence what is wrong and where: "config.n_layer is 'four', but must be a whole number from 1 to 1000".
Forms are built from forms: record({"n_layer": whole(1, 1000)}). Values come from JSON: None, bools, numbers, strings, lists and
dictionaries. `where` is the value's name in the message; "it" is the whole file.
"""

import math

LONGEST = 10_000      # characters of a text


def shown(value):
    """A value as a message shows it: shortened if it is long."""
    if isinstance(value, (dict, list)):
        return f"a {'dictionary' if isinstance(value, dict) else 'list'}"
    if isinstance(value, int) and abs(value) >= 10 ** 20:
        return "a whole number of more than 20 digits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def printable(text):
    """A text with escapes in the place of what cannot be printed, such as the end of a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def article(noun):
    """The noun with its article: "a model", "an adapter"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def inside(where, name):
    """The name of a part of a value: `config.n_layer` or `shapes.wte[1]`."""
    name = name if isinstance(name, str) else f"[{name}]"
    return name[:60] if where == "it" else f"{where}{name}" if name.startswith("[") else f"{where}.{name[:60]}"


def wrong(value, where, must):
    return ValueError(f"{where} is {shown(value)}, but must be {must}")


def whole(low=0, high=2 ** 53):
    def form(value, where):
        if type(value) is not int or not low <= value <= high:
            raise wrong(value, where, f"a whole number from {low} to {high}")
        return value
    return form


def number(low=-math.inf, high=math.inf, finite=True):
    """A float or a whole number; with finite=False it may also be NaN or infinite."""
    def form(value, where):
        is_number = type(value) is float or type(value) is int and abs(value) <= 2 ** 53
        if is_number and (low <= value <= high if math.isfinite(value) else not finite):
            return value
        bounds = "" if (low, high) == (-math.inf, math.inf) else f" from {low:g} to {high:g}"
        raise wrong(value, where, f"a number{bounds}")
    return form


def text(longest=LONGEST):
    def form(value, where):
        if not isinstance(value, str) or len(value) > longest:
            raise wrong(value, where, f"a text of at most {longest} characters")
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise wrong(value, where, "a text of whole characters")
        return value
    return form


def flag(value, where):
    if not isinstance(value, bool):
        raise wrong(value, where, "true or false")
    return value


def anything(value, where):
    return value


def one_of(*values):
    def form(value, where):
        if not any(type(value) is type(valid) and value == valid for valid in values):
            raise wrong(value, where, f"one of {', '.join(map(str, values))}")
        return value
    return form


def maybe(inner):
    """None, or a value that `inner` accepts."""
    return lambda value, where: None if value is None else inner(value, where)


def many(inner, least=0, most=10_000_000):
    """A list of `least` to `most` parts, each of which `inner` accepts."""
    def form(value, where):
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise wrong(value, where, f"a list of {least} to {most}" if least != most else f"a list of {most}")
        for i, part in enumerate(value):
            inner(part, inside(where, i))
        return value
    return form


def table(inner, names=None):
    """A dictionary whose values `inner` accepts; its keys must be exactly `names`, if they are given."""
    def form(value, where):
        if not isinstance(value, dict):
            raise wrong(value, where, "a dictionary")
        if names is not None and value.keys() != set(names):
            raise ValueError(f"{where} has the keys {shown(', '.join(value))}, but must have {', '.join(names)}")
        for key, part in value.items():
            inner(part, inside(where, key))
        return value
    return form


def record(parts, exact=False):
    """A dictionary with these keys: {name: form}. A name that ends in ? is optional. Other keys are allowed, unless `exact`."""
    parts = {name.rstrip("?"): (form, name.endswith("?")) for name, form in parts.items()}

    def form(value, where):
        if not isinstance(value, dict):
            raise wrong(value, where, f"a dictionary with {', '.join(parts)}")
        for name, (inner, optional) in parts.items():
            if name in value:
                inner(value[name], inside(where, name))
            elif not optional:
                raise ValueError(f"{name} is missing" if where == "it" else f"{where} has no {name}")
        unknown = [name for name in value if name not in parts]
        if exact and unknown:
            raise ValueError(f"{where} has {shown(unknown[0])}, which is unknown")
        return value
    return form


def either(first, second, must):
    """A value that one of two forms accepts; `must` says in the message what is accepted."""
    def form(value, where):
        for inner in (first, second):
            try:
                return inner(value, where)
            except ValueError:
                continue
        raise wrong(value, where, must)
    return form
