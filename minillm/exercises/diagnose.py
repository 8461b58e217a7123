"""Compare two arrays that should be equal: where do they differ, and what may be the cause?"""

import numpy as np

TOLERANCE = 1e-9      # relative to the larger of an entry and a thousandth of the largest; float32 would be off by more
COUNTS = {2: "twice", 0.5: "half"}


def same(right, got, tolerance=TOLERANCE):
    """Are the arrays equal in shape, and in value up to rounding?"""
    right, got = np.asarray(right), np.asarray(got)
    return right.shape == got.shape and not wrong_entries(right, got, tolerance).any()


def wrong_entries(right, got, tolerance=TOLERANCE):
    """True where two arrays of equal shape differ by more than rounding. NaN is always wrong, infinity unless it is expected."""
    if got.dtype.kind not in "biufc" or right.dtype.kind in "b":
        return right != got
    with np.errstate(all="ignore"):
        right, got = right.astype(float), got.astype(float)
        scale = np.abs(right)
        floor = 1e-3 * np.max(scale[np.isfinite(scale)], initial=0.0) + 1e-9
        return ~((right == got) | (np.abs(right - got) <= tolerance * np.maximum(scale, floor)))


def difference(name, right, got, sizes):
    """Lines that say how a result differs from the right one: the first wrong entry, and what may be the cause.

    sizes   {"N": 5}: named lengths; constant factors and shapes are described in terms of them
    """
    right, got = np.asarray(right), np.asarray(got)
    if right.shape != got.shape:
        line = f"{name} should have the shape {shape(right, sizes)}, and has {shape(got, sizes)}."
        return [line, *likely(of_shape(right, got))]
    wrong = wrong_entries(right, got)
    first = tuple(map(int, np.argwhere(wrong)[0])) if wrong.ndim else ()
    where = f"{name}[{', '.join(map(str, first))}]" if first else name
    relative = np.abs(np.subtract(right[first], got[first], dtype=float) / right[first]) if right[first] else 1
    digits = 6 if not relative < 1e-4 else 10 if not relative < 1e-8 else 17            # enough to show the difference
    lines = [f"{where} should be {number(right[first], digits)}, and is {number(got[first], digits)}."]
    if wrong.ndim and wrong.sum() > 1:
        lines[0] += f" {'All' if wrong.all() else wrong.sum()} of its {wrong.size} numbers are wrong."
    return lines + likely(of_value(right, got, wrong, sizes))


def likely(cause):
    return [f"Likely: {cause}{'' if cause.endswith('?') else '.'}"] if cause else []


def of_shape(right, got):
    """The likely cause of a wrong shape; None if it is not a known one."""
    if got.ndim > right.ndim and got.size == right.size and tuple(n for n in got.shape if n > 1) == right.shape:
        return "an axis of length 1 is left over; keepdims=True, or an index [None], makes one"
    if got.ndim > right.ndim and got.shape[got.ndim - right.ndim:] == right.shape:
        return f"a sum over {axes(got.ndim - right.ndim)} is missing; each example adds to the gradient"
    if got.ndim < right.ndim and right.shape[right.ndim - got.ndim:] == got.shape:
        return "there is a sum over an axis that should stay"
    if got.ndim == right.ndim > 1:
        if got.shape == (*right.shape[:-2], *right.shape[:-3:-1]):
            return "it is the transpose"
        if got.size < right.size and all(g in (1, r) for g, r in zip(got.shape, right.shape)):
            return "there is a sum over an axis that should stay"
    if got.size == right.size:
        return "the numbers are in another shape; look at reshape"
    return None


def axes(n):
    return "the first axis" if n == 1 else f"the first {n} axes"


def of_value(right, got, wrong, sizes):
    """The likely cause of wrong values; None if it is not a known one."""
    if got.dtype.kind not in "biufc" or right.dtype.kind not in "iuf":
        return None
    got = got.astype(float)
    if np.isnan(got).any():
        return "a division 0/0, a logarithm of 0, or a difference of infinities on the way"
    if np.isinf(got).any():
        return "an overflow: the exponential of a large number, or a division by 0"
    if not got.any():
        return "nothing was written into it: it is all zeros"
    if same(-right, got):
        return "the sign"
    ratio = factor(right, got)
    named = None if ratio is None else times(ratio, sizes)
    if named or ratio is not None and right.size > 1:              # any two single numbers differ by some factor
        return f"a constant factor: it is {named or f'{ratio:.4g} times'} what it should be"
    if same(right, got, 3e-6):
        return "it is right to some six digits. Is something rounded on the way, to float32, say?"
    if right.ndim and wrong.sum() < wrong.size and right[~wrong].any():
        return "it is right in some places; what do the wrong ones have in common?"
    if same(right, got, 1e-2):
        return "it is nearly right: a constant that is a little off, or left out, or a step too coarse"
    return None


def factor(right, got):
    """The number c, if got = c right; else None."""
    norm = float(np.sum(right * right))
    if not norm or not np.isfinite(norm):
        return None
    c = float(np.sum(got * right)) / norm
    return c if c and abs(c - 1) > 1e-5 and same(c * right, got, 1e-6) else None


def times(c, sizes):
    """A factor in words, in terms of the sizes if possible; None if it is not a known one."""
    known = [(value, text) for name, n in sizes.items() for value, text in (
        (n, f"{name} = {n} times"), (1 / n, f"1/{name} = 1/{n} of"), (2 * n, f"2 {name} = {2 * n} times"))]
    known += COUNTS.items()
    known += [(value, text) for name, n in sizes.items() for root in [n ** 0.5] for value, text in (
        (root, f"sqrt({name}) = {root:.4g} times"), (1 / root, f"1/sqrt({name}) = {1 / root:.4g} of"))]
    return next((text for value, text in known if abs(c - value) < 1e-6 * value), None)


def shape(array, sizes=()):
    """The shape of an array as text, with the names of its lengths if they have any: (N = 2, 5)"""
    if not np.ndim(array):
        return "() of a single number"
    names = {n: name for name, n in dict(sizes).items()}
    text = ", ".join(f"{names[n]} = {n}" if n in names else str(n) for n in np.shape(array))
    return f"({text},)" if np.ndim(array) == 1 else f"({text})"


def number(value, digits=6):
    value = np.asarray(value).item()
    return f"{value:.{digits}g}" if isinstance(value, float) else repr(value)
